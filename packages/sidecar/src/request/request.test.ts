import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import v8 from "node:v8";
import { systemClock } from "@dualmesh/base/clock";
import { frameKind } from "@dualmesh/wire/rpc";
import type { EndpointCell, Snapshot } from "../snapshot.ts";
import {
  bodyText,
  boltHeartbeat,
  boltRequest,
  boltResponse,
  boltRoute,
  boltService,
  cell,
  codecOf,
  echo,
  endpointAt,
  type Peer,
  type Provider,
  type Received,
  TestPlane,
} from "./testing.ts";

test("a call is answered under the id that its caller gave it, whatever ids callers share", async () => {
  await using world = new TestPlane();
  const provider = await world.provider((peer, frame) => peer.send(boltResponse(frame.id, frame.bytes.subarray(-2))));
  world.apply(boltRoute(cell(1, [provider.port])));
  const [one, two] = [await world.caller(), await world.caller()];
  one.send(boltRequest({ id: 7, body: Buffer.from("a1") }), boltRequest({ id: 0xffffffff, body: Buffer.from("a2") }));
  two.send(boltRequest({ id: 7, body: Buffer.from("b1") }));
  await Promise.all([one.received(2), two.received(1)]);
  assert.deepEqual(
    one.frames.map((frame) => [frame.id, bodyText(frame, 2)]),
    [
      [7, "a1"],
      [0xffffffff, "a2"],
    ],
  );
  assert.deepEqual(
    two.frames.map((frame) => [frame.id, bodyText(frame, 2)]),
    [[7, "b1"]],
  );
  assert.equal(provider.peers.length, 1, "both callers share one upstream connection");
  assert.deepEqual(world.metrics.series("caller", boltService, "bolt", "outbound").totals(), { ok: 3 });
});

test("a service name beyond every limit is answered with the limit, and the connection serves the next call", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1, service: "x".repeat(60_000) }), boltRequest({ id: 2, service: "x".repeat(30_000) }));
  caller.send(boltRequest({ id: 3 }));
  await caller.received(3);
  const answers = new Map(caller.frames.map((frame) => [frame.id, frame.bytes.toString("latin1")]));
  assert.match(answers.get(1) ?? "", /a header of \d+ bytes is not accepted, the limit is 32767/);
  assert.match(answers.get(2) ?? "", /no provider of x+/);
  assert.equal(
    provider.peers.flatMap((peer) => peer.frames).length,
    1,
    "only the call with a name that fits was sent on",
  );
});

test("a request that arrives a byte at a time is sent whole", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  for (const byte of boltRequest({ id: 1 })) {
    caller.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await caller.received(1);
  assert.equal(caller.frames[0]?.id, 1);
});

test("a call without a provider is answered at once, with the service and the reason", async () => {
  await using world = new TestPlane();
  world.apply(boltRoute(cell(1, [])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 3 }), boltRequest({ id: 4, service: "test.Unknown:1.0" }));
  await caller.received(2);
  assert.match(textOf(caller.frames[0]), /no provider of bolt\/test\.Echo:1\.0: is known/);
  assert.match(textOf(caller.frames[1]), /test\.Unknown:1\.0/);
  assert.deepEqual(world.asked, ["bolt test.Unknown:1.0 "]);
});

test("the deadline of the frame is kept, and a late answer finds nobody", async () => {
  await using world = new TestPlane();
  const late: (() => void)[] = [];
  const provider = await world.provider(
    (peer, frame) => void late.push(() => peer.send(boltResponse(frame.id, Buffer.from("late")))),
  );
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  const before = systemClock.now();
  caller.send(boltRequest({ id: 5, timeoutMs: 60 }));
  await caller.received(1);
  assert.ok(systemClock.now() - before >= 60);
  assert.equal(caller.frames[0]?.status, boltStatusTimeout);
  for (const answer of late) answer();
  await until(() => world.metrics.eventCount("late_reply") === 1);
  assert.equal(caller.frames.length, 1);
});

test("a connect failure tries another endpoint once, since nothing was sent", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [await closedPort(), provider.port])));
  const caller = await world.caller();
  for (let id = 1; id <= 20; id++) caller.send(boltRequest({ id }));
  await caller.received(20);
  assert.ok(caller.frames.every((frame) => bodyText(frame, 4) === "echo"));
  assert.deepEqual(world.metrics.series("caller", boltService, "bolt", "outbound").totals(), { ok: 20 });
});

test("when nobody can be reached the answer says who was tried and why", async () => {
  await using world = new TestPlane();
  world.apply(boltRoute(cell(1, [await closedPort(), await closedPort()])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1 }));
  await caller.received(1);
  assert.match(textOf(caller.frames[0]), /can be reached|ECONNREFUSED/);
});

test("when a provider's sidecar says that its application never saw the request, another provider gets it, once", async () => {
  await using world = new TestPlane();
  const codec = codecOf("bolt");
  const unreached = (peer: Peer, frame: Received): void => {
    const view = codec.view();
    codec.decode(frame.bytes, 0, frame.bytes.length, view);
    peer.send(codec.errorReply(view, "unreached", "nobody home"));
  };
  const gone = [await world.provider(unreached), await world.provider(unreached)];
  const there = await world.provider();
  const mesh = (...ports: readonly number[]): EndpointCell => ({
    revision: ports.length,
    known: true,
    endpoints: ports.map((port) => ({ ...endpointAt(port), mode: "mesh" })),
  });
  world.apply(boltRoute(mesh((gone[0] as Provider).port, there.port)));
  const caller = await world.caller();
  for (let id = 1; id <= 10; id++) {
    caller.send(boltRequest({ id }));
    await caller.received(id);
  }
  assert.ok(caller.frames.every((frame) => bodyText(frame, 4) === "echo"));
  assert.ok(gone[0]?.requests() === 1, "it is passed over for a while");
  world.plane.replaceCell(boltService, { ...mesh(...gone.map(({ port }) => port)), revision: 9 });
  caller.send(boltRequest({ id: 11 }));
  await caller.received(11);
  assert.match(textOf(caller.frames[10]), /nobody home/);
});

test("callers of different libraries never share a connection to a provider", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const definition = (...fields: readonly string[]): Buffer =>
    Buffer.from(
      `O\x95fx.Us${String.fromCharCode(0x90 + fields.length)}${fields.map((field) => String.fromCharCode(field.length) + field).join("")}o\x90rest`,
      "latin1",
    );
  const [java, node, javaToo] = [await world.caller(), await world.caller(), await world.caller()];
  java.send(boltRequest({ id: 1, body: definition("name", "id") }));
  node.send(boltRequest({ id: 1, body: definition("id", "name") }));
  javaToo.send(boltRequest({ id: 1, body: definition("name", "id") }));
  await Promise.all([java, node, javaToo].map((caller) => caller.received(1)));
  assert.equal(provider.peers.length, 2);
});

test("requests on a connection that breaks are answered, and never sent twice", async () => {
  await using world = new TestPlane();
  const provider = await world.provider((peer, frame) => {
    if (textOf(frame).endsWith("kill")) peer.socket.destroy();
  });
  const other = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1 }), boltRequest({ id: 2, body: Buffer.from("kill") }));
  await caller.received(2);
  for (const frame of caller.frames) assert.notEqual(frame.status, 0);
  assert.equal(other.requests(), 0);
  world.plane.replaceCell(boltService, cell(2, [other.port]));
  caller.send(boltRequest({ id: 3 }));
  await caller.received(3);
  assert.equal(bodyText(caller.frames[2] as never, 4), "echo");
});

test("oneway requests arrive exactly once and nobody answers them", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  for (let id = 1; id <= 10; id++)
    caller.send(boltRequest({ id, oneway: true, body: Buffer.from(`n${id}`.padStart(4)) }));
  caller.send(boltRequest({ id: 11 }));
  await caller.received(1);
  const oneways = provider.peers.flatMap((peer) => peer.frames).filter((frame) => frame.kind === frameKind.oneway);
  assert.deepEqual(
    oneways.map((frame) => bodyText(frame, 4).trim()),
    Array.from({ length: 10 }, (_, index) => `n${index + 1}`),
  );
  assert.equal(caller.frames.length, 1);
});

test("heartbeats of the caller are answered here", async () => {
  await using world = new TestPlane();
  world.apply();
  const caller = await world.caller();
  caller.send(boltHeartbeat);
  await caller.received(1);
  assert.equal(caller.frames[0]?.kind, frameKind.heartbeatReply);
  assert.equal(caller.frames[0]?.id, 10);
});

test("an idle upstream connection gets heartbeats, and one that does not answer them is given up", async () => {
  await using world = new TestPlane({ heartbeatMs: 300, deadMs: 2_200 });
  const provider = await world.provider((peer, frame) => {
    if (frame.kind === frameKind.request) peer.send(boltResponse(frame.id, Buffer.from("echo")));
  });
  world.apply(boltRoute(cell(1, [provider.port])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1 }));
  await caller.received(1);
  const peer = provider.peers[0] as Peer;
  await peer.until(() => peer.frames.some((frame) => frame.kind === frameKind.heartbeat), "a heartbeat");
  await peer.until(() => peer.closed, "the silent connection is given up");
  assert.equal(world.metrics.eventCount("upstream_dead"), 1);
  caller.send(boltRequest({ id: 2 }));
  await caller.received(2);
  assert.equal(bodyText(caller.frames[1] as never, 4), "echo");
});

test("a call to a service of which nothing is known waits until it is, and no longer than its limit", async () => {
  await using world = new TestPlane(
    { waitMs: 300, waitingCalls: 2 },
    { unknownService: (_protocol, head) => `bolt/${head}:` },
  );
  const provider = await world.provider();
  world.apply();
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1 }), boltRequest({ id: 2 }), boltRequest({ id: 3 }));
  await caller.received(1);
  assert.equal(caller.frames[0]?.id, 3);
  assert.equal(caller.frames[0]?.status, boltStatusBusy);
  world.apply(boltRoute(cell(1, [], false)));
  world.plane.replaceCell(boltService, cell(2, [provider.port]));
  await caller.received(3);
  assert.deepEqual(
    caller.frames.slice(1).map((frame) => [frame.id, bodyText(frame, 4)]),
    [
      [1, "echo"],
      [2, "echo"],
    ],
  );
  caller.send(boltRequest({ id: 4, service: "test.Never:1.0" }));
  await caller.received(4);
  assert.match(textOf(caller.frames[3]), /no provider of .* is known yet/);
});

test("a caller that does not take its replies is cut, and nobody else notices", async () => {
  await using world = new TestPlane();
  const big = Buffer.alloc(200_000, 0x61);
  const provider = await world.provider((peer, frame) =>
    peer.send(boltResponse(frame.id, frame.size > 1_000 ? big : Buffer.from("echo"))),
  );
  world.apply(boltRoute(cell(1, [provider.port])));
  const stuck = await world.caller();
  const lively = await world.caller();
  stuck.socket.pause();
  for (let id = 1; id <= 200; id++) stuck.send(boltRequest({ id, body: Buffer.alloc(2_000) }));
  const slowest: number[] = [];
  for (let id = 1; id <= 50; id++) {
    const before = systemClock.now();
    lively.send(boltRequest({ id }));
    await lively.received(id);
    slowest.push(systemClock.now() - before);
  }
  await until(() => world.metrics.eventCount("downstream_cut") === 1);
  assert.ok(Math.max(...slowest) < 1_000, `the slowest call took ${Math.max(...slowest)} ms`);
  assert.equal(lively.frames.length, 50);
});

test("a caller in the middle of a large frame holds up nobody, and large frames take a connection of their own", async () => {
  await using world = new TestPlane();
  const provider = await world.provider();
  world.apply(boltRoute(cell(1, [provider.port])));
  const slow = await world.caller();
  const lively = await world.caller();
  const large = boltRequest({ id: 1, body: Buffer.alloc(1 << 20) });
  slow.socket.write(large.subarray(0, 500_000));
  for (let id = 1; id <= 20; id++) {
    lively.send(boltRequest({ id }));
    await lively.received(id);
  }
  assert.equal(provider.peers.length, 1);
  slow.socket.write(large.subarray(500_000));
  await slow.received(1);
  assert.equal(provider.peers.length, 2);
});

test("a frame that does not end in time costs its sender the connection", async () => {
  await using world = new TestPlane({ frameMs: 200 });
  world.apply();
  const caller = await world.caller();
  caller.socket.write(boltRequest({ id: 1 }).subarray(0, 30));
  await caller.until(() => caller.closed, "closed");
  assert.equal(world.metrics.eventCount("slow_frame"), 1);
});

test("bytes that belong to no protocol, and frames that make no sense, close the connection", async () => {
  await using world = new TestPlane();
  world.apply();
  const stranger = await world.caller();
  stranger.socket.write("\0\0\0\0 of no protocol");
  await stranger.until(() => stranger.closed, "closed");
  assert.equal(world.metrics.eventCount("unknown_protocol"), 1);
  const liar = await world.caller();
  const frame = boltRequest({ id: 1 });
  frame.writeInt32BE(-1, 18);
  liar.send(frame);
  await liar.until(() => liar.closed, "closed");
  assert.equal(world.metrics.eventCount("malformed"), 1);
});

test("an endpoint that leaves keeps its connection until its last answer", async () => {
  await using world = new TestPlane();
  const answers: (() => void)[] = [];
  const leaving = await world.provider(
    (peer, frame) => void answers.push(() => peer.send(boltResponse(frame.id, Buffer.from("slow")))),
  );
  const staying = await world.provider(echo);
  world.apply(boltRoute(cell(1, [leaving.port])));
  const caller = await world.caller();
  caller.send(boltRequest({ id: 1 }));
  await until(() => answers.length === 1);
  world.plane.replaceCell(boltService, cell(2, [staying.port]));
  caller.send(boltRequest({ id: 2 }));
  await caller.received(1);
  assert.equal(caller.frames[0]?.id, 2);
  answers[0]?.();
  await caller.received(2);
  assert.equal(bodyText(caller.frames[1] as never, 4), "slow");
  const peer = leaving.peers[0] as Peer;
  await peer.until(() => peer.closed, "the connection to the endpoint that left has ended");
});

test("a snapshot is plain data: it survives serialisation, and an endpoint change touches no rule", () => {
  const snapshot: Snapshot = {
    revision: 4,
    defaultTimeoutMs: 1,
    outbound: [boltRoute(cell(9, [1, 2]))],
    inbound: [{ port: 20881, routes: [] }],
  };
  assert.deepEqual(v8.deserialize(v8.serialize(snapshot)), snapshot);
});

const boltStatusTimeout = 7;
const boltStatusBusy = 4;

function textOf(frame: Received | undefined): string {
  return frame?.bytes.toString("latin1") ?? "";
}

async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(condition: () => boolean): Promise<void> {
  const end = systemClock.now() + 10_000;
  while (!condition()) {
    assert.ok(systemClock.now() < end, "not within 10 s");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
