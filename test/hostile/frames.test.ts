/** S10: frames that no client writes, at a running sidecar. The connection may be closed or answered; nothing else may change. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { crc32 } from "node:zlib";
import { boltRequest, boltResponse, codecOf, type Received } from "@dualmesh/sidecar/request/testing";
import { frameKind } from "@dualmesh/wire/rpc";
import { dubboRaw, dubboRequest, dubboResponse } from "./dubbo.ts";
import {
  callOnce,
  type Dialect,
  dialects,
  event,
  eventually,
  heldBytes,
  mebibyte,
  metric,
  type Provider,
  type Sidecar,
  untilClosed,
  World,
} from "./world.ts";

let world: World;
let sidecar: Sidecar;
let port: number;
const providers = new Map<string, Provider>();

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar();
  port = sidecar.running.outboundPort;
  for (const dialect of dialects) {
    providers.set(dialect.protocol, await world.provider(dialect.service, dialect.answer));
    await callOnce(world, port, dialect);
  }
});
after(() => world[Symbol.asyncDispose]());

/** Sends the bytes on a connection of their own; resolves when it has been cut. */
async function isCut(bytes: Buffer): Promise<void> {
  const socket = await world.socket(port);
  socket.write(bytes);
  await untilClosed(socket, 1_000);
}

const int32At = (frame: Buffer, at: number, value: number): Buffer => {
  const copy = Buffer.from(frame);
  copy.writeInt32BE(value, at);
  return copy;
};

for (const dialect of dialects) {
  const { protocol } = dialect;
  const lengthAt = protocol === "bolt" ? 18 : 12;
  const normal = dialect.request(7);

  describe(`S10 ${protocol}`, { timeout: 30_000 }, () => {
    test("a length of -1, -2^31, 2^31-1 or one byte over the limit closes the connection within 1 s and allocates less than 8 MiB", async () => {
      const before = heldBytes();
      for (const length of [-1, -(2 ** 31), 2 ** 31 - 1, 8 * mebibyte]) {
        const cut = await event(sidecar.admin, "malformed");
        await isCut(int32At(normal, lengthAt, length));
        assert.equal((await event(sidecar.admin, "malformed")) - cut, 1, `length ${length}`);
      }
      assert.ok(heldBytes() - before < 8 * mebibyte);
      await callOnce(world, port, dialect);
    });

    test("a length of 0 is a request without a body: it is answered, or what follows is no frame and closes", async () => {
      const caller = await world.caller(port, protocol);
      caller.send(int32At(normal, lengthAt, 0));
      await caller.until(() => caller.frames.length > 0 || caller.closed, "an answer or an end");
      await callOnce(world, port, dialect);
      caller.socket.destroy();
    });

    test("a frame cut off at every byte reaches nobody, and leaves nothing when its connection ends", async () => {
      const seen = (): number =>
        providers.get(protocol)?.peers.reduce((sum, { frames }) => sum + frames.length, 0) ?? 0;
      const before = seen();
      for (let length = 1; length < normal.length; length++) {
        const socket = await world.socket(port);
        socket.end(normal.subarray(0, length));
        socket.resume();
      }
      await eventually(
        "they are gone",
        async () => (await metric(sidecar.admin, "dualmesh_downstream_connections")) <= 1,
      );
      assert.equal(await metric(sidecar.admin, "dualmesh_partial_frame_bytes"), 0);
      await callOnce(world, port, dialect);
      assert.equal(seen() - before, 1);
    });

    test("each bit of the head flipped: an answer or an end within 1 s, and the next call passes", async () => {
      const headBytes = protocol === "bolt" ? 22 : 16;
      const sent = [];
      for (let bit = 0; bit < headBytes * 8; bit++) {
        const frame = Buffer.from(normal);
        frame[bit >> 3] = (frame[bit >> 3] as number) ^ (1 << (bit & 7));
        const caller = await world.caller(port, protocol);
        // A frame that claims to be longer waits for its rest; the other side of the connection ends it then.
        caller.socket.end(frame);
        sent.push(caller.until(() => caller.closed || caller.frames.length > 0, `bit ${bit}`));
      }
      await Promise.all(sent);
      await callOnce(world, port, dialect);
    });

    test("a response, a heartbeat's answer and an event from a caller are passed over", async () => {
      const caller = await world.caller(port, protocol);
      const response = protocol === "bolt" ? boltResponse(7, Buffer.from("x")) : dubboResponse(7);
      const ignored = await event(sidecar.admin, "ignored_frame");
      caller.send(response, response, normal);
      await caller.received(1);
      assert.equal(caller.frames.length, 1);
      assert.equal((await event(sidecar.admin, "ignored_frame")) - ignored, 2);
      caller.socket.destroy();
    });

    test("one id used for a thousand requests at once gets a thousand answers, and so do ids that wrap", async () => {
      const caller = await world.caller(port, protocol);
      caller.send(...Array.from({ length: 1_000 }, () => dialect.request(7)));
      await caller.received(1_000);
      assert.ok(caller.frames.every(({ id, kind }) => id === 7 && kind === frameKind.response));
      caller.send(...[0xfffffffe, 0xffffffff, 0, 1].map((id) => dialect.request(id)));
      await caller.received(1_004);
      assert.deepEqual(
        caller.frames.slice(1_000).map(({ id }) => id),
        [0xfffffffe, 0xffffffff, 0, 1],
      );
      caller.socket.destroy();
    });

    test("garbage behind a good frame closes the connection, and the good one was answered or lost, never another's", async () => {
      const caller = await world.caller(port, protocol);
      caller.send(normal);
      await caller.received(1);
      caller.send(Buffer.alloc(100, 0xee));
      await caller.until(() => caller.closed, "cut");
      await callOnce(world, port, dialect);
    });
  });
}

test("S10 Bolt: header lengths that disagree with the header are answered, never crash", {
  timeout: 30_000,
}, async () => {
  const normal = boltRequest({ id: 9 });
  const headerAt = 22 + normal.readUInt16BE(14);
  for (const length of [-1, -(2 ** 31), 2 ** 31 - 1, 0, 1, 5_000]) {
    const caller = await world.caller(port);
    caller.send(int32At(normal, headerAt, length));
    await caller.received(1);
    assert.notEqual(caller.frames[0]?.status, 0, `a key of ${length} bytes`);
    caller.send(int32At(normal, headerAt + 4 + normal.readInt32BE(headerAt), length));
    await caller.received(2);
    assert.notEqual(caller.frames[1]?.status, 0, `a value of ${length} bytes`);
    caller.socket.destroy();
  }
});

test("S10 Bolt v2: a frame whose CRC is wrong reaches the provider with a wrong CRC, a right one with a right one", {
  timeout: 30_000,
}, async () => {
  const codec = codecOf("bolt");
  const service = "bolt/test.Crc:1.0:";
  const got: Buffer[] = [];
  await world.provider(service, (peer, frame) => {
    got.push(frame.bytes);
    peer.send(boltResponse(frame.id, Buffer.from("ok")));
  });
  const v1 = boltRequest({ id: 3, service: "test.Crc:1.0" });
  // Version 2: protocol 2, revision 2, and the switch byte behind the codec.
  const body = Buffer.concat([Buffer.from([2, 2]), v1.subarray(1, 10), Buffer.from([1]), v1.subarray(10)]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(body));
  const caller = await world.caller(port);
  const good = Buffer.concat([body, crc]);
  const corrupt = Buffer.from(good);
  corrupt[corrupt.length - 6] = (corrupt[corrupt.length - 6] as number) ^ 1;
  for (const [index, frame] of [good, corrupt].entries()) {
    caller.send(frame);
    await caller.received(index + 1);
  }
  const holds = got.map((bytes) => crc32(bytes.subarray(0, -4)) === bytes.readUInt32BE(bytes.length - 4));
  assert.deepEqual(holds, [true, false]);
  assert.equal(codec.sniff(good), "yes");
});

test("S10: an unknown serialisation is answered with BAD_REQUEST and the reason, in one round", {
  timeout: 30_000,
}, async () => {
  const caller = await world.caller(port, "dubbo");
  for (const [index, serialization] of [0, 3, 6, 21, 22, 31].entries()) {
    caller.send(dubboRaw(index + 1, Buffer.from("anything"), serialization));
    await caller.received(index + 1);
    const frame = caller.frames[index] as Received;
    assert.deepEqual([frame.id, frame.status], [index + 1, 40]);
    assert.match(frame.bytes.toString("latin1"), new RegExp(`serialization ${serialization} cannot be read`));
  }
  // Bolt names its service in the header, whatever the body is written in: a codec that nobody knows passes untouched.
  const bolt = await world.caller(port);
  const frame = boltRequest({ id: 1 });
  frame[9] = 0x77;
  bolt.send(frame);
  await bolt.received(1);
});

test("S10 Dubbo: texts of the head that promise more than is there are answered with BAD_REQUEST", {
  timeout: 30_000,
}, async () => {
  const caller = await world.caller(port, "dubbo");
  const heads = [
    "",
    "N",
    "S\xff\xff",
    "\x05abc",
    "R\xff\xff",
    "\x05a.b.c\x30",
    "\x03\xff\xfe\xfd\x03\x80\x80\x80",
    "NNNN",
  ];
  for (const [index, text] of heads.entries()) {
    caller.send(dubboRaw(index + 1, Buffer.from(text, "latin1")));
    await caller.received(index + 1);
    assert.ok((caller.frames[index]?.status ?? 20) !== 20, JSON.stringify(text));
  }
});

interface HostileAnswer {
  readonly name: string;
  /** What the provider does with a request, and whether its caller gets an answer all the same. */
  readonly answers: (dialect: Dialect, frame: Received) => readonly Buffer[];
  readonly event: string;
}

const right = (dialect: Dialect, id: number): Buffer =>
  dialect.protocol === "bolt" ? boltResponse(id, Buffer.from("right")) : dubboResponse(id, "right");

const hostileAnswers: readonly HostileAnswer[] = [
  { name: "answers twice", answers: (d, { id }) => [right(d, id), right(d, id)], event: "late_reply" },
  {
    name: "answers ids never asked",
    answers: (d, { id }) => [right(d, (id + 1) >>> 0), right(d, (id + 4_096) >>> 0), right(d, 0), right(d, id)],
    event: "late_reply",
  },
  { name: "answers with a request", answers: (d, { id }) => [d.request(id), right(d, id)], event: "ignored_frame" },
];

for (const dialect of dialects) {
  for (const hostile of hostileAnswers) {
    test(`S10 ${dialect.protocol}: a provider that ${hostile.name} harms no call`, { timeout: 30_000 }, async () => {
      const path = `test.H${hostile.event}${hostile.name.length}`;
      await world.provider(`${dialect.protocol}/${path}:1.0:`, (peer, frame) => {
        if (frame.kind === frameKind.request) peer.send(...hostile.answers(dialect, frame));
      });
      const before = await event(sidecar.admin, hostile.event);
      const call = (id: number): Buffer =>
        dialect.protocol === "bolt" ? boltRequest({ id, service: `${path}:1.0` }) : dubboRequest({ id, path });
      const callers = await Promise.all([1, 2, 3].map(() => world.caller(port, dialect.protocol)));
      for (const [index, caller] of callers.entries()) caller.send(...[1, 2, 3].map((id) => call(index * 10 + id)));
      await Promise.all(callers.map((caller) => caller.received(3)));
      for (const [index, caller] of callers.entries())
        assert.deepEqual(
          caller.frames.map(({ id }) => id).sort(),
          [1, 2, 3].map((id) => index * 10 + id),
        );
      await eventually("counted", async () => (await event(sidecar.admin, hostile.event)) - before >= 9);
    });
  }

  test(`S10 ${dialect.protocol}: a provider that answers with garbage, or ends, fails its own calls within 1 s and no other's`, {
    timeout: 30_000,
  }, async () => {
    for (const [at, bytes] of [
      Buffer.alloc(64, 0xee),
      int32At(right(dialect, 1), dialect.protocol === "bolt" ? 16 : 12, -1),
      undefined,
    ].entries()) {
      const path = `test.Garbage${at}`;
      await world.provider(`${dialect.protocol}/${path}:1.0:`, (peer, frame) => {
        if (frame.kind !== frameKind.request) return;
        if (bytes === undefined) peer.socket.resetAndDestroy();
        else peer.send(bytes);
      });
      const caller = await world.caller(port, dialect.protocol);
      const before = performance.now();
      caller.send(
        dialect.protocol === "bolt" ? boltRequest({ id: 1, service: `${path}:1.0` }) : dubboRequest({ id: 1, path }),
      );
      await caller.received(1);
      assert.ok(performance.now() - before < 1_000);
      assert.ok(caller.frames[0]?.status !== (dialect.protocol === "bolt" ? 0 : 20));
      caller.send(dialect.request(2));
      await caller.received(2);
      caller.socket.destroy();
    }
  });
}

test("a provider that asks without end and reads no answer costs less than 64 MiB, and other calls pass", {
  timeout: 30_000,
}, async () => {
  const path = "test.Asks";
  const dialect = dialects[0] as Dialect;
  const heartbeats = Buffer.concat(Array.from({ length: 2_000 }, (_, id) => codecOf("bolt").heartbeat(id + 1)));
  let sent = 0;
  await world.provider(`bolt/${path}:1.0:`, (peer, frame) => {
    if (frame.kind !== frameKind.request) return;
    peer.send(boltResponse(frame.id, Buffer.from("x")));
    peer.socket.pause();
    const more = (): void => {
      if (++sent > 500 || peer.socket.destroyed) return;
      if (peer.socket.write(heartbeats)) setImmediate(more);
      else peer.socket.once("drain", more);
    };
    more();
  });
  const caller = await world.caller(port);
  caller.send(boltRequest({ id: 1, service: `${path}:1.0` }));
  await caller.received(1);
  const before = heldBytes();
  let most = 0;
  let id = 10;
  await eventually(
    "a million heartbeats have come",
    async () => {
      caller.send(dialect.request(++id));
      await caller.received(id - 9);
      most = Math.max(most, heldBytes());
      return sent > 500;
    },
    20_000,
  );
  assert.ok(most - before < 64 * mebibyte, `${(most - before) / mebibyte} MiB more`);
});
