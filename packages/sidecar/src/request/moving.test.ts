/** Connections go from one data plane to another and back, in this process, by copies of their descriptors: as between two processes. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { seededRandom } from "@dualmesh/base/random";
import { frameKind } from "@dualmesh/wire/rpc";
import { openSystemCalls, type SystemCalls, whyNoHandles } from "../transport/native.ts";
import { adoptTransport } from "../transport/tcp.ts";
import type { Downstream, Entrance } from "./downstream.ts";
import { FrameWay } from "./frame-way.ts";
import { HttpWorld, httpService, RawServer } from "./http-testing.ts";
import { type Frozen, isObstacle, type Obstacle } from "./moving.ts";
import type { DataPlane } from "./plane.ts";
import { TcpWorld } from "./tcp-testing.ts";
import { boltRequest, boltResponse, boltRoute, cell, TestPlane } from "./testing.ts";

const why = whyNoHandles(process);

describe("a connection that goes to another data plane", { skip: why ?? false }, () => {
  let calls: SystemCalls;
  before(async () => {
    calls = await openSystemCalls();
  });
  const seed = Number(process.env["SEED"] ?? 1);

  /** Moves what can go; returns what stands in the way of the others. */
  function moveAll(from: DataPlane, to: DataPlane, entrance: Entrance): readonly Obstacle[] {
    return from.connections().flatMap((downstream) => {
      const frozen = downstream.freeze();
      if (isObstacle(frozen)) return [frozen];
      go(downstream, frozen, to, entrance);
      return [];
    });
  }

  function go(
    downstream: Downstream,
    { state, descriptors, wroteAll }: Frozen,
    to: DataPlane,
    entrance: Entrance,
  ): void {
    const [caller, endpoint] = descriptors.map((descriptor, index) =>
      adoptTransport(calls.duplicate(descriptor), wroteAll[index] === true, () => {}),
    );
    assert.ok(caller !== undefined);
    const adopted = to.prepare(caller, entrance, state.protocol);
    assert.ok(to.adopt(adopted, state, endpoint));
    downstream.surrender((bytes, start, end) => {
      assert.ok(adopted.way instanceof FrameWay);
      adopted.way.reply(bytes, start, end);
    });
    adopted.begin();
  }

  test("keeps its frames whole and its replies in one piece, wherever they are cut and however often it goes", async () => {
    const random = seededRandom(seed);
    await using one = new TestPlane();
    await using other = new TestPlane();
    const late: (() => void)[] = [];
    const provider = await one.provider((peer, frame) => {
      if (frame.kind !== frameKind.request) return;
      late.push(() => peer.send(boltResponse(frame.id, Buffer.from("echo"))));
    });
    for (const world of [one, other]) world.apply(boltRoute(cell(1, [provider.port])));
    const callers = [await one.caller()];
    while (callers.length < 8) callers.push(await one.caller());
    const perCaller = 60;
    const bytes = callers.map((_, index) =>
      Buffer.concat(
        Array.from({ length: perCaller }, (__, at) =>
          boltRequest({
            id: index * 1_000 + at + 1,
            oneway: at % 5 === 4,
            body: Buffer.alloc(Math.floor(random.next() * 3_000), at),
          }),
        ),
      ),
    );
    const sent = callers.map(() => 0);
    let [here, there] = [one.plane, other.plane];
    let moves = 0;
    while (sent.some((at, index) => at < (bytes[index] as Buffer).length) || late.length > 0) {
      for (const [index, caller] of callers.entries()) {
        const all = bytes[index] as Buffer;
        const size = Math.floor(random.next() * 9_000);
        caller.socket.write(all.subarray(sent[index], (sent[index] ?? 0) + size));
        sent[index] = Math.min(all.length, (sent[index] ?? 0) + size);
      }
      await turn();
      for (const answer of late.splice(0, Math.ceil(random.next() * 20))) answer();
      if (random.next() < 0.5) await turn();
      moveAll(here, there, "outbound");
      moves++;
      [here, there] = [there, here];
      await turn();
    }
    const wanted = perCaller - Math.floor(perCaller / 5);
    await Promise.all(callers.map((caller) => caller.received(wanted)));
    for (const [index, caller] of callers.entries()) {
      const ids = caller.frames.map(({ id }) => id).sort((a, b) => a - b);
      const expected = Array.from({ length: perCaller }, (_, at) => index * 1_000 + at + 1).filter(
        (_, at) => at % 5 !== 4,
      );
      assert.deepEqual(ids, expected, "each is answered once");
      assert.equal(caller.closed, false);
    }
    const requests = provider.peers.flatMap(({ frames }) => frames).length;
    assert.equal(requests, callers.length * perCaller, "each arrives once, also those that nobody answers");
    assert.ok(moves > 5, `${moves} moves`);
  });

  test("stays where it is while its caller has not taken what it was sent, and as HTTP while an exchange is under way", async () => {
    await using one = new HttpWorld();
    await using other = new HttpWorld();
    await using server = await RawServer.open();
    for (const world of [one, other]) world.provide([server.port]);
    const caller = await one.caller();
    const entrance = { service: httpService };
    caller.send("GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTT");
    const first = await server.peer(0);
    await first.take("\r\n\r\n");
    assert.deepEqual(moveAll(one.plane, other.plane, entrance), ["exchange"]);
    let moved = 0;
    for (const downstream of one.plane.connections())
      downstream.onQuiet = () => {
        const frozen = downstream.freeze();
        if (isObstacle(frozen)) return false;
        moved++;
        go(downstream, frozen, other.plane, entrance);
        return true;
      };
    first.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    await caller.take("ok");
    assert.equal(moved, 1, "it goes when the exchange is over");
    assert.deepEqual(one.plane.connections(), []);
    caller.send("P/1.1\r\nhost: x\r\n\r\n");
    const second = await server.peer(1);
    assert.match(await second.take("\r\n\r\n"), /^GET \/b HTTP\/1\.1\r\n/);
    second.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nand");
    await caller.take("and");
    assert.equal(other.count("ok"), 1);
    assert.equal(one.count("ok"), 1);
    assert.equal(caller.closed, false);
  });

  test("goes on as if nothing had been when the other process does not take it", async () => {
    await using world = new TestPlane();
    const late: (() => void)[] = [];
    const provider = await world.provider(
      (peer, frame) => void late.push(() => peer.send(boltResponse(frame.id, Buffer.from("echo")))),
    );
    world.apply(boltRoute(cell(1, [provider.port])));
    const caller = await world.caller();
    const frame = boltRequest({ id: 2 });
    caller.send(boltRequest({ id: 1 }), frame.subarray(0, 17));
    await until(() => late.length === 1);
    const [downstream] = world.plane.connections();
    assert.ok(downstream !== undefined && !isObstacle(downstream.freeze()));
    caller.send(frame.subarray(17));
    late.shift()?.();
    for (let turns = 0; turns < 20; turns++) await turn();
    assert.equal(caller.frames.length, 0, "nothing is written to a connection that another process may have");
    assert.equal(late.length, 0, "nor is it read");
    downstream.thaw();
    await caller.received(1);
    await until(() => late.length === 1);
    late.shift()?.();
    await caller.received(2);
    assert.deepEqual(
      caller.frames.map(({ id }) => id),
      [1, 2],
    );
  });

  test("of HTTP that has switched protocols goes as bytes, and each end still hears of the other's", async () => {
    await using one = new HttpWorld();
    await using other = new HttpWorld();
    await using server = await RawServer.open();
    for (const world of [one, other]) world.provide([server.port]);
    const caller = await one.caller();
    const entrance = { service: httpService };
    caller.send("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    const far = await server.peer();
    await far.take("\r\n\r\n");
    assert.deepEqual(moveAll(one.plane, other.plane, entrance), ["exchange"], "it may be answered by anything yet");
    far.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst");
    await caller.take("first");
    let [here, there] = [one.plane, other.plane];
    for (let round = 0; round < 6; round++) {
      if (round < 4) caller.send(`to ${round} `);
      far.send(`from ${round} `);
      if (round === 0) {
        // As when the other process does not take it.
        const [downstream] = here.connections();
        await until(() => !isObstacle(downstream?.freeze() ?? "closing"));
        downstream?.thaw();
      }
      await until(() => moveAll(here, there, entrance).length === 0 && here.connections().length === 0);
      [here, there] = [there, here];
      if (round === 3) caller.socket.end();
      await caller.take(`from ${round} `);
      if (round < 4) await far.take(`to ${round} `);
    }
    await far.until(() => far.ended, "the caller's end");
    far.send("last");
    far.socket.end();
    await caller.take("last");
    await caller.until(() => caller.closed, "the end of both");
    await until(() => one.plane.endpointConnections + other.plane.endpointConnections === 0);
    assert.deepEqual([one.plane.inFlight, other.plane.inFlight], [0, 0]);
    assert.equal(one.count("ok") + other.count("ok"), 1, "it is counted once");
  });

  test("of bytes takes its endpoint's along, and each end still hears of the other's", async () => {
    await using one = new TcpWorld();
    await using other = new TcpWorld();
    await using server = await RawServer.open();
    one.provide([server.port]);
    other.provide([]);
    const caller = await one.caller();
    const entrance = { service: "tcp/redis::" };
    const far = await server.peer();
    far.send("hello ");
    await caller.take("hello ");
    caller.send("one ");
    await far.take("one ");
    let [here, there] = [one.plane, other.plane];
    for (let round = 0; round < 6; round++) {
      if (round < 4) caller.send(`to ${round} `);
      far.send(`from ${round} `);
      await until(() => moveAll(here, there, entrance).length === 0 && here.connections().length === 0);
      [here, there] = [there, here];
      if (round === 3) caller.socket.end();
      await caller.take(`from ${round} `);
      if (round < 4) await far.take(`to ${round} `);
    }
    await far.until(() => far.ended, "the caller's end");
    assert.equal(far.closed, false);
    far.send("last");
    far.socket.end();
    await caller.take("last");
    await caller.until(() => caller.closed, "the end of both");
    await one.until(() => one.count("ok") + other.count("ok") === 1, "it is counted once");
    const left = [one, other].map(({ plane }) => [plane.inFlight, plane.endpointConnections]);
    assert.deepEqual(left, [
      [0, 0],
      [0, 0],
    ]);
  });

  test("of bytes that stands still in the turn in which it came is begun once, by whoever goes on with it", async () => {
    await using one = new TcpWorld();
    await using other = new TcpWorld();
    await using server = await RawServer.open();
    for (const world of [one, other]) world.provide([server.port]);
    const { promise: came, resolve: comes } = Promise.withResolvers<{
      readonly downstream: Downstream;
      readonly frozen: Frozen | Obstacle;
    }>();
    const accept = one.plane.accept.bind(one.plane);
    one.plane.accept = (transport, from) => {
      accept(transport, from);
      const [downstream] = one.plane.connections();
      assert.ok(downstream !== undefined);
      comes({ downstream, frozen: downstream.freeze() });
    };
    const caller = await one.caller();
    const stands = await came;
    await turn();
    await turn();
    assert.deepEqual([one.plane.inFlight, one.plane.callers], [0, 1]);
    if (isObstacle(stands.frozen)) assert.fail(stands.frozen);
    go(stands.downstream, stands.frozen, other.plane, { service: "tcp/redis::" });
    assert.deepEqual([one.plane.callers, other.plane.callers], [0, 1]);
    const far = await server.peer();
    far.send("hello ");
    await caller.take("hello ");
    assert.equal(server.peers.length, 1);
    caller.socket.end();
    far.socket.end();
    await other.until(() => other.plane.inFlight === 0, "the end of both");
  });

  test("of bytes is not begun by what is made for it before anything is known of it", async () => {
    await using one = new TcpWorld();
    await using other = new TcpWorld();
    await using server = await RawServer.open();
    for (const world of [one, other]) world.provide([server.port]);
    const caller = await one.caller();
    const far = await server.peer();
    far.send("hello ");
    await caller.take("hello ");
    const [downstream] = one.plane.connections();
    const frozen = downstream?.freeze() ?? "closing";
    if (isObstacle(frozen)) assert.fail(frozen);
    const [transport, endpoint] = frozen.descriptors.map((descriptor) =>
      adoptTransport(calls.duplicate(descriptor), false, () => {}),
    );
    assert.ok(transport !== undefined);
    const prepared = other.plane.prepare(transport, { service: "tcp/redis::" }, frozen.state.protocol);
    await turn();
    await turn();
    assert.deepEqual([other.plane.inFlight, other.plane.callers], [0, 0]);
    assert.ok(other.plane.adopt(prepared, frozen.state, endpoint));
    assert.deepEqual([other.plane.inFlight, other.plane.callers], [1, 1]);
    downstream?.surrender(() => {});
    prepared.begin();
    caller.send("to the end ");
    await far.take("to the end ");
    assert.equal(server.peers.length, 1);
    caller.socket.end();
    far.socket.end();
    await other.until(() => other.plane.inFlight === 0, "the end of both");
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function until(holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns++) {
    assert.ok(turns < 20_000, "it does not come");
    await turn();
  }
}
