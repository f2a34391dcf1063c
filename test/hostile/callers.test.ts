/** Callers that never read, send slowly, or vanish: each is cut at its bound, and everybody else is answered within a second. */
import assert from "node:assert/strict";
import type net from "node:net";
import { after, before, test } from "node:test";
import { boltRequest, boltResponse, echo, type Peer, type Received } from "@dualmesh/sidecar/request/testing";
import { frameKind } from "@dualmesh/wire/rpc";
import {
  boltEchoService,
  callOnce,
  dialects,
  event,
  eventually,
  heldBytes,
  keepCalling,
  mebibyte,
  metric,
  type Provider,
  type Sidecar,
  untilClosed,
  World,
} from "./world.ts";

const bigService = "bolt/test.Big:1.0:";
const big = Buffer.alloc(64 * 1024, "b");
let world: World;
let sidecar: Sidecar;
let provider: Provider;
let bigProvider: Provider;

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar({ timeouts: { frameMs: 2_000, idleMs: 4_000, heartbeatMs: 1_000, deadMs: 1_000 } });
  provider = await world.provider(boltEchoService, echo);
  bigProvider = await world.provider(bigService, (peer: Peer, frame: Received) => {
    if (frame.kind === frameKind.request) peer.send(boltResponse(frame.id, big));
  });
  await world.provider("dubbo/test.Echo:1.0:", dialects[1]?.answer);
  for (const dialect of dialects) await callOnce(world, sidecar.running.outboundPort, dialect);
});
after(() => world[Symbol.asyncDispose]());

const bigCall = (id: number): Buffer => boltRequest({ id, service: "test.Big:1.0", body: Buffer.from("x") });

/** Asks for as many large answers as it takes and reads none. */
async function neverReads(): Promise<net.Socket> {
  const socket = await world.socket(sidecar.running.outboundPort);
  socket.pause();
  for (let id = 1; id <= 180; id++) {
    socket.write(bigCall(id));
    if (id % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return socket;
}

test("five callers that never read are cut at 1 MiB each, while one that shares their upstream is answered within 1 s", {
  timeout: 30_000,
}, async () => {
  const caller = await world.caller(sidecar.running.outboundPort);
  caller.send(bigCall(1));
  await caller.received(1);
  assert.equal(bigProvider.peers.length, 1, "all share one upstream connection");
  const cutBefore = await event(sidecar.admin, "downstream_cut");
  let most = 0;
  const stuck = Promise.all(Array.from({ length: 5 }, neverReads)).then(() =>
    eventually("all five are cut", async () => {
      most = Math.max(most, heldBytes());
      return (await event(sidecar.admin, "downstream_cut")) - cutBefore === 5;
    }),
  );
  const held = heldBytes();
  const longest = await keepCalling(caller, bigCall, stuck);
  await stuck;
  assert.ok(longest < 1_000, `the longest wait was ${longest} ms`);
  // Callers, sidecar and provider share this process: five stages, and what the provider may not have sent yet of its 180 answers.
  assert.ok(most - held < 256 * mebibyte, `${(most - held) / mebibyte} MiB more`);
  assert.equal(bigProvider.peers.filter(({ closed }) => !closed).length, 1, "the shared upstream stays");
  // An upstream that were paused would leave answers of others unread: none is late, none is lost.
  assert.equal(await event(sidecar.admin, "upstream_lost"), 0);
});

test("one sender of 1 MiB at a byte a time is cut at its deadline, and every other call is answered within 1 s", {
  timeout: 30_000,
}, async () => {
  for (const dialect of dialects) {
    const large = dialect.protocol === "bolt" ? boltRequest({ id: 1, body: Buffer.alloc(mebibyte) }) : undefined;
    const bytes = large ?? Buffer.concat([dialect.request(1).subarray(0, 12), Buffer.from([0, 16, 0, 0])]);
    const slow = await world.socket(sidecar.running.outboundPort);
    let at = 0;
    const drip = setInterval(() => slow.write(bytes.subarray(at % bytes.length, (at++ % bytes.length) + 1)), 20);
    const caller = await world.caller(sidecar.running.outboundPort, dialect.protocol);
    const cut = untilClosed(slow, 10_000);
    const longest = await keepCalling(caller, (id) => dialect.request(id), cut);
    clearInterval(drip);
    assert.ok((await cut) < 4_500, `the frame's 2 s and two looks at it, was ${await cut} ms`);
    assert.ok(longest < 1_000, `the longest wait was ${longest} ms`);
    caller.socket.destroy();
  }
  assert.ok((await event(sidecar.admin, "slow_frame")) >= 2);
  assert.equal(provider.peers.length, 1, "nothing of it reached the provider");
});

test("first bytes that never become a protocol, or that never come, are cut at the bounds of a frame and of silence", {
  timeout: 30_000,
}, async () => {
  const half = await world.socket(sidecar.running.outboundPort);
  half.write(Buffer.from([0xda]));
  const silent = await world.socket(sidecar.running.outboundPort);
  const [halfMs, silentMs] = await Promise.all([untilClosed(half, 10_000), untilClosed(silent, 10_000)]);
  assert.ok(halfMs < 4_500, `${halfMs} ms`);
  assert.ok(silentMs > 3_000 && silentMs < 6_000, `${silentMs} ms`);
});

test("200 callers that vanish with calls under way leave no exchange, no connection and no byte behind within 5 s", {
  timeout: 30_000,
}, async () => {
  const slowService = "bolt/test.Slow:1.0:";
  const kept: (() => void)[] = [];
  await world.provider(slowService, (peer, frame) => {
    if (frame.kind === frameKind.request) kept.push(() => peer.send(boltResponse(frame.id, Buffer.from("late"))));
  });
  const callers = await Promise.all(Array.from({ length: 200 }, () => world.socket(sidecar.running.outboundPort)));
  for (const [index, socket] of callers.entries()) {
    socket.write(boltRequest({ id: 1, service: "test.Slow:1.0", timeoutMs: 3_000 }));
    socket.write(boltRequest({ id: 2, body: Buffer.alloc(10_000) }).subarray(0, 5_000)); // and in the middle of a frame
    if (index % 2 === 0) socket.end();
  }
  await eventually("the provider has them", () => kept.length === 200);
  for (const socket of callers) socket.resetAndDestroy();
  for (const answer of kept) answer();
  await eventually(
    "they are gone",
    async () => (await metric(sidecar.admin, "dualmesh_requests_in_flight")) === 0,
    5_000,
  );
  await eventually(
    "no partial frame",
    async () => (await metric(sidecar.admin, "dualmesh_partial_frame_bytes")) === 0,
    5_000,
  );
  await eventually(
    "no connection",
    async () => (await metric(sidecar.admin, "dualmesh_downstream_connections")) <= 2,
    6_000,
  );
  assert.ok((await event(sidecar.admin, "reply_dropped")) >= 100);
  const answer = await callOnce(world, sidecar.running.outboundPort, dialects[0] as (typeof dialects)[0]);
  assert.equal(answer.status, 0);
});

test("a frame budget that hostile callers have used up costs them their connections, and whole frames still pass", {
  timeout: 30_000,
}, async () => {
  const small = await world.sidecar({ limits: { partialFramesBytes: mebibyte } });
  const dialect = dialects[1] as (typeof dialects)[0];
  await callOnce(world, small.running.outboundPort, dialect);
  const head = Buffer.from("dabbc20000000000000000010070000000", "hex"); // a body of 7 MiB
  const greedy = await Promise.all(Array.from({ length: 8 }, () => world.socket(small.running.outboundPort)));
  for (const socket of greedy) socket.write(Buffer.concat([head, Buffer.alloc(400 * 1024)]));
  await eventually("some are cut", async () => (await event(small.admin, "frame_budget")) >= 5);
  assert.ok((await metric(small.admin, "dualmesh_partial_frame_bytes")) <= mebibyte);
  await callOnce(world, small.running.outboundPort, dialect);
});
