/** Two data planes in this process, and between them the channel that two processes have: what is moved, and what is left when either fails. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { frameKind } from "@dualmesh/wire/rpc";
import { boltRequest, boltResponse, boltRoute, cell, type Peer, TestPlane } from "../request/testing.ts";
import { listen } from "../transport/listener.ts";
import { openSystemCalls, whyNoHandles } from "../transport/native.ts";
import { type StillConnection, StillConnections } from "../transport/still-connections.ts";
import { adoptTransport } from "../transport/tcp.ts";
import type { Transport } from "../transport/transport.ts";
import { Arriving } from "./arriving.ts";
import { Channel } from "./channel.ts";
import { Leaving } from "./leaving.ts";
import type { Message } from "./messages.ts";

const why = whyNoHandles(process);
const clock = systemClock;

describe("connections on their way to a new process", { skip: why ?? false }, () => {
  const seed = Number(process.env["SEED"] ?? 1);

  test("all go, with what is under way on each, and every call is answered once", async () => {
    const random = seededRandom(seed);
    const perCaller = 40;
    await using world = await open();
    const provider = await world.one.provider((peer, frame) => {
      if (frame.kind === frameKind.request)
        setTimeout(
          () => peer.send(boltResponse(frame.id, Buffer.alloc(frame.id % 7 === 0 ? 150_000 : 20))),
          random.next() * 60,
        );
    });
    for (const plane of [world.one, world.other]) plane.apply(boltRoute(cell(1, [provider.port])));
    const callers: Peer[] = [];
    while (callers.length < 150) callers.push(await world.one.caller());
    const sent = callers.map(() => 0);
    const rest: Buffer[] = callers.map(() => Buffer.alloc(0));
    const pump = clock.every(2, () => {
      for (const [index, caller] of callers.entries()) {
        caller.socket.write(rest[index] as Buffer);
        rest[index] = Buffer.alloc(0);
        const at = sent[index] as number;
        if (random.next() > 0.1 || at >= perCaller) continue;
        sent[index] = at + 1;
        const frame = boltRequest({ id: at + 1, body: Buffer.alloc(Math.floor(random.next() * 2_000)) });
        const cut = Math.floor(random.next() * frame.length);
        caller.socket.write(frame.subarray(0, cut));
        rest[index] = frame.subarray(cut);
      }
    });
    await until(() => sent.reduce((sum, at) => sum + at, 0) > 300);
    await world.leaving.share();
    await world.leaving.freeze();
    world.leaving.commit();
    await until(() => world.committed && world.one.plane.callers === 0);
    await until(() => sent.every((at) => at === perCaller) && rest.every(({ length }) => length === 0));
    pump.cancel();
    const left = await world.leaving.left();
    assert.deepEqual(left, { moved: callers.length, movedOfDoors: 0, stayed: {}, cut: {} });
    await Promise.all(callers.map((caller) => caller.received(perCaller)));
    for (const caller of callers) {
      assert.deepEqual(
        caller.frames.map(({ id, status }) => [id, status]).sort((a, b) => (a[0] as number) - (b[0] as number)),
        Array.from({ length: perCaller }, (_, at) => [at + 1, 0]),
      );
      assert.equal(caller.closed, false);
    }
    assert.equal(world.other.plane.callers, callers.length);
    assert.equal(world.arriving.begun, callers.length);
    assert.equal(world.one.plane.inFlight, 0);
  });

  test("of doors go with both ends and whatever is said of them, and are not begun before it is told to", async () => {
    await using world = await open();
    const state = { long: "x".repeat(300_000) };
    const unread = [Buffer.from("ask"), Buffer.from("answer")];
    const peers = [await connected(), await connected()];
    for (const { transport } of peers) assert.equal(transport.freeze(), true);
    world.still.one.keep({
      key: "a",
      transports: peers.map(({ transport }) => transport),
      standing: { state, unread },
    });
    const [taken, begun]: [StillConnection[], Buffer[]] = [[], []];
    world.still.other.open("a", (still) => {
      taken.push(still);
      for (const transport of still.transports)
        transport.open({
          onBytes: (bytes, size) => void begun.push(Buffer.from(bytes.subarray(0, size))),
          onDrain() {},
          onPeerEnd: () => undefined,
          onClose() {},
        });
      return true;
    });
    for (const { far } of peers) far.write("later");
    await world.leaving.share();
    await world.leaving.freeze();
    assert.equal(taken.length, 0);
    world.leaving.commit();
    await until(() => world.committed && begun.length === 2);
    assert.deepEqual(taken[0]?.standing, { state, unread });
    assert.deepEqual(begun.map(String), ["later", "later"]);
    for (const transport of taken[0]?.transports ?? []) transport.write(Buffer.from("back"), 0, 4);
    await until(() => peers.every(({ heard }) => heard() === "back"));
    const left = await world.leaving.left();
    assert.deepEqual([left.moved, left.movedOfDoors], [1, 1]);
    for (const transport of taken[0]?.transports ?? []) transport.destroy("the test is over");
  });

  test("stay, and go on as they were, when the new process dies before it has said that it goes on", async () => {
    await using world = await open();
    const provider = await world.one.provider();
    for (const plane of [world.one, world.other]) plane.apply(boltRoute(cell(1, [provider.port])));
    const callers = [await world.one.caller(), await world.one.caller()];
    const frame = boltRequest({ id: 1 });
    for (const caller of callers) caller.send(frame.subarray(0, 20));
    await world.leaving.share();
    await world.leaving.freeze();
    for (const caller of callers) caller.send(frame.subarray(20));
    world.there.close();
    world.arriving.end(false);
    await until(() => world.ended !== undefined);
    world.leaving.thaw();
    await Promise.all(callers.map((caller) => caller.received(1)));
    assert.equal(world.one.plane.callers, 2);
    assert.equal(world.other.plane.callers, 0);
    for (const caller of callers) caller.send(boltRequest({ id: 2 }));
    await Promise.all(callers.map((caller) => caller.received(2)));
  });

  test("are answered by the new process when the former one dies with their requests", async () => {
    await using world = await open();
    const provider = await world.one.provider(() => {});
    for (const plane of [world.one, world.other]) plane.apply(boltRoute(cell(1, [provider.port])));
    const caller = await world.one.caller();
    caller.send(boltRequest({ id: 7 }), boltRequest({ id: 8, oneway: true }));
    await until(() => provider.requests() === 2);
    await world.leaving.freeze();
    world.leaving.commit();
    await until(() => world.committed);
    world.here.close();
    await until(() => world.thereEnded !== undefined);
    world.arriving.end(false);
    await caller.received(1);
    assert.equal(caller.frames[0]?.id, 7);
    assert.notEqual(caller.frames[0]?.status, 0);
    assert.match(caller.frames[0]?.bytes.toString("latin1") ?? "", /has died/);
  });

  test("that end while both have them end for their peer, and a caller that goes takes its requests along", async () => {
    await using world = await open();
    const provider = await world.one.provider(() => {});
    for (const plane of [world.one, world.other]) plane.apply(boltRoute(cell(1, [provider.port])));
    const cut = await world.one.caller();
    await until(() => world.one.plane.callers === 1);
    await world.leaving.share();
    for (const downstream of world.one.plane.connections()) downstream.transport.destroy("cut");
    await until(() => cut.closed);
    const goes = await world.one.caller();
    goes.send(boltRequest({ id: 1 }));
    await until(() => provider.requests() === 1);
    await world.leaving.freeze();
    world.leaving.commit();
    await until(() => world.committed);
    assert.equal(world.one.plane.inFlight, 1);
    goes.socket.destroy();
    await until(() => world.other.plane.callers === 0);
    provider.peers[0]?.send(boltResponse(provider.peers[0].frames[0]?.id ?? 0, Buffer.from("late")));
    const left = await world.leaving.left();
    assert.equal(left.moved, 1);
    assert.equal(world.one.plane.inFlight, 0);
  });
});

/** A connection that is accepted here, and its far end. */
async function connected() {
  const accepted = Promise.withResolvers<Transport>();
  const port = { host: "127.0.0.1", port: 0, maxConnections: 1, dropped: () => {} };
  const listener = await listen({ ...port, accept: (transport) => accepted.resolve(transport) });
  const far = net.connect({ host: listener.host, port: listener.port });
  let text = "";
  far.on("data", (bytes) => {
    text += String(bytes);
  });
  const transport = await accepted.promise;
  await listener.close();
  return { transport, far, heard: () => text };
}

interface Worlds extends AsyncDisposable {
  readonly still: { readonly one: StillConnections; readonly other: StillConnections };
  readonly one: TestPlane;
  readonly other: TestPlane;
  readonly here: Channel;
  readonly there: Channel;
  readonly leaving: Leaving;
  readonly arriving: Arriving;
  readonly committed: boolean;
  readonly ended: string | undefined;
  readonly thereEnded: string | undefined;
}

async function open(): Promise<Worlds> {
  const calls = await openSystemCalls();
  const directory = mkdtempSync(join(tmpdir(), "dualmesh-upgrade-"));
  const path = join(directory, "socket");
  const listening = calls.listenAt(path);
  const socket = calls.connectTo(path);
  const accepted = calls.accept(listening) as number;
  calls.close(listening);
  const [one, other] = [new TestPlane(), new TestPlane()];
  const state = {
    committed: false,
    ended: undefined as string | undefined,
    thereEnded: undefined as string | undefined,
  };
  const nowhere = { log: silentLog, lost: () => {} };
  const still = { one: new StillConnections(nowhere), other: new StillConnections(nowhere) };
  const silenceMs = (): undefined => undefined;
  const here: Channel = new Channel({
    ...{ calls, clock, socket, silenceMs },
    events: {
      onMessage: (message: Message) => {
        if (message.say === "committed") {
          state.committed = true;
          void leaving.surrender();
        } else leaving.hear(message);
      },
      onEnd: (reason) => {
        state.ended = reason;
      },
    },
  });
  const there: Channel = new Channel({
    ...{ calls, clock, socket: accepted, silenceMs },
    events: {
      onMessage: (message, body, descriptors) => {
        if (message.say === "commit") {
          there.say({ say: "committed" });
          arriving.commit();
        } else arriving.hear(message, body, descriptors);
      },
      onEnd: (reason) => {
        state.thereEnded = reason;
      },
    },
  });
  const leaving = new Leaving({
    ...{ channel: here, clock, log: silentLog, drainMs: 5_000 },
    plane: one.plane,
    still: still.one,
    metrics: one.metrics,
  });
  const arriving = new Arriving({
    ...{ channel: there, calls, clock, log: silentLog, plane: other.plane },
    still: still.other,
    collect: () => {},
    adopt: (descriptor, wroteAll) => adoptTransport(descriptor, wroteAll, () => {}),
  });
  return {
    ...{ one, other, still, here, there, leaving, arriving },
    get committed() {
      return state.committed;
    },
    get ended() {
      return state.ended;
    },
    get thereEnded() {
      return state.thereEnded;
    },
    [Symbol.asyncDispose]: async () => {
      arriving.end(true);
      here.close();
      there.close();
      await other[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function until(holds: () => boolean): Promise<void> {
  const end = clock.now() + 60_000;
  while (!holds()) {
    assert.ok(clock.now() < end, "it does not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
