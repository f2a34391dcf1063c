/** What a caller over HTTP costs that is slow, greedy or answered early, and that it can go on afterwards. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteBudget } from "@dualmesh/base/byte-budget";
import { DataMetrics } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import type { Downstream } from "./downstream.ts";
import type { StreamOwner } from "./exchange.ts";
import { HttpWorld, RawServer } from "./http-testing.ts";
import { HttpWay } from "./http-way.ts";
import { testLimits } from "./testing.ts";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("a caller that sends request after request and takes no answer is read no further, until it does", async () => {
  await using world = new HttpWorld({ ports: [] });
  const caller = await world.caller();
  const requests = 60_000;
  let answers = 0;
  caller.socket.removeAllListeners("data");
  caller.socket.on("data", (bytes) => {
    for (let at = bytes.indexOf("known"); at >= 0; at = bytes.indexOf("known", at + 1)) answers++;
  });
  caller.socket.pause();
  caller.send("GET / HTTP/1.1\r\nHost: o\r\n\r\n".repeat(requests));
  const queued = (): number => world.accepted[0]?.queuedBytes ?? 0;
  await caller.until(() => queued() > 256 * 1024, "more than it may leave unread");
  const answered = world.count("no-provider");
  await pause(200);
  assert.equal(world.count("no-provider"), answered, "nothing more is answered");
  assert.ok(queued() < 512 * 1024, `${queued()} bytes wait`);
  caller.socket.resume();
  await caller.until(() => world.count("no-provider") === requests, "an answer to each request");
  await caller.until(() => answers >= 2 * requests - 10, "every answer"); // told in a field and in the body
  assert.equal(world.metrics.gauges.get("dualmesh_partial_frame_bytes")?.read(), 0);
});

test("a connection at rest counts for nothing in the memory of partial heads", async () => {
  await using server = await RawServer.open(({ socket }) => socket.on("data", () => socket.write(answer)));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send("GET / HTTP/1.1\r\nHo");
  const held = (): number => world.metrics.gauges.get("dualmesh_partial_frame_bytes")?.read() ?? -1;
  await caller.until(() => held() > 0, "a partial head");
  caller.send("st: o\r\n\r\n");
  await caller.take("ok");
  await caller.until(() => held() === 0, "its memory to be given back");
});

test("protocols are not switched before the request is whole", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(
    "POST / HTTP/1.1\r\nHost: o\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
  );
  const app = await server.peer();
  await app.take("hello");
  app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  assert.match(await caller.take("\r\n\r\n"), /^HTTP\/1\.1 502 /);
});

test("a caller whose upload was answered while the endpoint had not taken it all is read on", () => {
  let reading = true;
  const transport = {
    ...{ remoteAddress: "127.0.0.1", remotePort: 1, localAddress: "127.0.0.1", localPort: 2, queuedBytes: 0 },
    pause() {
      reading = false;
    },
    resume() {
      reading = true;
    },
  } as unknown as Transport;
  const downstream = {
    direction: "outbound",
    transport,
    finishedOne() {},
    quiet: () => false,
  } as unknown as Downstream;
  const origin = { service: "http/o::", series: new DataMetrics().series("a", "http/o::", "http", "outbound") };
  const way = new HttpWay(downstream, {
    metrics: new DataMetrics(),
    limits: testLimits,
    partialFrames: new ByteBudget(1 << 20),
    now: () => 1,
    take: (caller) =>
      void caller.begin({ ...origin, route: undefined, startedMs: 0, deadlineMs: 1 }, {} as StreamOwner),
  });
  const request = Buffer.from("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n");
  way.onBytes(request, request.length);
  way.pause();
  assert.equal(reading, false);
  way.over();
  assert.equal(reading, true);
});
