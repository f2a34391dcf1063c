/** What a server's word that it is going to stop does: Dubbo's read-only event, from another host and from an application of this one. */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { frameKind } from "@dualmesh/wire/rpc";
import type { ServiceRoute } from "../snapshot.ts";
import { listen } from "../transport/listener.ts";
import { cell, codecOf, Peer, type Received, TestPlane } from "./testing.ts";

const inboundPort = 20_881;

function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
}

function dubboRequest(id: number): Buffer {
  const body = Buffer.concat([...["2.0.2", "test.Echo", "0.0.0", "echo", ""].map(text), Buffer.from("HZ")]);
  const head = Buffer.alloc(16);
  head.writeUInt32BE(0xdabbc200, 0);
  head.writeUInt32BE(id, 8);
  head.writeUInt32BE(body.length, 12);
  return Buffer.concat([head, body]);
}

function dubboResponse(id: number): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32BE(0xdabb0214, 0);
  head.writeUInt32BE(id, 8);
  head.writeUInt32BE(2, 12);
  return Buffer.concat([head, Buffer.from([0x92, 0x4e])]);
}

const readOnly = codecOf("dubbo").farewell() as Buffer;

function route(ports: readonly number[], name = "test.Echo"): ServiceRoute {
  return {
    service: `dubbo/${name}::`,
    protocol: "dubbo",
    head: `${name}:`,
    group: "",
    timeoutMs: 0,
    cell: cell(1, ports),
  };
}

function answer(peer: Peer, frame: Received): void {
  if (frame.kind === frameKind.request) peer.send(dubboResponse(frame.id));
}

test("an endpoint elsewhere that says it is going to stop gets no new call while another is there, and ends what it has", async () => {
  await using world = new TestPlane();
  const answers: (() => void)[] = [];
  const slow = await world.provider(
    (peer, frame) => void (frame.kind === frameKind.request && answers.push(() => answer(peer, frame))),
    "dubbo",
  );
  world.apply(route([slow.port]));
  const caller = await world.caller("dubbo");
  caller.send(dubboRequest(1));
  await until(() => answers.length > 0);
  const other = await world.provider(answer, "dubbo");
  world.plane.replaceCell("dubbo/test.Echo::", { ...cell(2, [slow.port, other.port]) });
  slow.peers[0]?.send(readOnly);
  await until(() => world.metrics.eventCount("read_only") > 0);
  for (let id = 2; id <= 11; id++) caller.send(dubboRequest(id));
  await caller.received(10);
  assert.equal(other.requests(), 10);
  answers[0]?.();
  await caller.received(11);
  assert.equal(caller.frames[10]?.id, 1);
});

test("an application of this host that is going to stop gets what still comes, and its callers are told", async () => {
  await using world = new TestPlane();
  const app = await world.provider(answer, "dubbo");
  world.plane.apply({
    revision: 1,
    defaultTimeoutMs: 5_000,
    outbound: [],
    inbound: [{ port: inboundPort, routes: [route([app.port])] }],
  });
  await using port = await inbound(world);
  const caller = await port.caller();
  caller.send(dubboRequest(1));
  await caller.received(1);
  app.peers[0]?.send(readOnly);
  await caller.until(() => caller.frames.some(({ kind }) => kind === frameKind.readOnly), "told");
  caller.send(dubboRequest(2));
  await caller.received(3);
  assert.equal(caller.frames[2]?.id, 2);
  assert.equal(app.peers.length, 1, "no second connection to an application on its way out");
});

test("callers of a port behind which another application stays are not told", async () => {
  await using world = new TestPlane();
  const [leaving, staying] = [await world.provider(answer, "dubbo"), await world.provider(answer, "dubbo")];
  const routes = [route([leaving.port]), route([staying.port], "test.Other")];
  world.plane.apply({ revision: 1, defaultTimeoutMs: 5_000, outbound: [], inbound: [{ port: inboundPort, routes }] });
  await using port = await inbound(world);
  const caller = await port.caller();
  caller.send(dubboRequest(1));
  await caller.received(1);
  leaving.peers[0]?.send(readOnly);
  caller.send(dubboRequest(2));
  await caller.received(2);
  assert.deepEqual(
    caller.frames.map(({ kind }) => kind),
    [frameKind.response, frameKind.response],
  );
});

async function until(condition: () => boolean): Promise<void> {
  const end = systemClock.now() + 5_000;
  while (!condition()) {
    assert.ok(systemClock.now() < end, "not within 5 s");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function inbound(world: TestPlane): Promise<AsyncDisposable & { caller(): Promise<Peer> }> {
  const sockets: net.Socket[] = [];
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 10,
    accept: (transport) => world.plane.accept(transport, { inboundPort }),
    dropped: () => {},
  });
  return {
    async caller() {
      const socket = net.connect({ host: "127.0.0.1", port: listener.port });
      await new Promise((resolve) => socket.once("connect", resolve));
      sockets.push(socket);
      return new Peer(socket, "dubbo");
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await listener.close();
    },
  };
}
