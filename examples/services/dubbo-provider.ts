/** Offers `demo.Stock` by Dubbo and registers it through ZooKeeper. npm has Dubbo clients but no server, so this is the smallest one. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import * as frames from "./dubbo-frames.ts";
import { registerDubbo } from "./dubbo-registration.ts";
import { onEnd } from "./lifetime.ts";
import { report, setting } from "./report.ts";
import { Traffic } from "./traffic.ts";

const service = "demo.Stock";
const name = setting("NAME");
const workMs = Number(setting("WORK_MS"));
const port = Number(setting("PORT"));
const traffic = new Traffic();
const sockets = new Set<Socket>();

const server = createServer((socket) => {
  sockets.add(socket);
  socket.setNoDelay();
  socket.on("close", () => sockets.delete(socket));
  // A caller that goes away ends its own calls; "close" follows.
  socket.on("error", () => socket.destroy());
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (bytes) => {
    try {
      const taken = frames.takeRequests(rest.length === 0 ? bytes : Buffer.concat([rest, bytes]));
      rest = taken.rest;
      for (const request of taken.requests) void answer(request, socket);
    } catch (error) {
      console.error(error);
      socket.destroy();
    }
  });
});

async function answer(request: frames.Request, socket: Socket): Promise<void> {
  const reply = await replyTo(request);
  if (reply !== undefined && socket.writable) socket.write(reply);
}

async function replyTo(request: frames.Request): Promise<Buffer | undefined> {
  if (request.event) return request.twoWay ? frames.heartbeatReply(request) : undefined;
  if (!frames.isHessian(request)) {
    return frames.errorReply(request, frames.status.badRequest, `${name} speaks hessian2 only`);
  }
  try {
    const { service: called, method, argument } = frames.readInvocation(request.body);
    if (called !== service || method !== "count") {
      return frames.errorReply(request, frames.status.serviceNotFound, `${name} has no ${called}.${method}`);
    }
    return await traffic.serve(async () => {
      await wait(workMs);
      return frames.valueReply(request, { by: name, item: argument, count: (Number(argument) * 3) % 50 });
    });
  } catch (error) {
    return frames.errorReply(request, frames.status.serviceError, String(error));
  }
}

server.listen(port, "127.0.0.1");
await once(server, "listening");
const url =
  `dubbo://127.0.0.1:${port}/${service}?anyhost=true&application=${name}&category=providers&dubbo=2.0.2&interface=${service}` +
  `&methods=count&pid=${process.pid}&side=provider&timestamp=${Date.now()}`;
const registration = await registerDubbo(setting("REGISTRY"), service, url);
report({ event: "ready" });

onEnd(async () => {
  await registration.withdraw();
  for (const socket of sockets) socket.write(frames.readOnlyEvent());
  await traffic.quiet();
  report({ event: "ended", started: 0 });
  registration.close();
  server.close();
  for (const socket of sockets) socket.end();
});
