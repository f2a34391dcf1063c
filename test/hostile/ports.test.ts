/** Garbage, oversize and slow clients on every port: each is closed or answered in time, and the next client is served. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { helloOf } from "@dualmesh/registry/testing/peer";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import {
  callOnce,
  type Dialect,
  dialects,
  event,
  eventually,
  heldBytes,
  mebibyte,
  type Sidecar,
  untilClosed,
  World,
} from "./world.ts";
import { openZooKeeper } from "./zookeeper.ts";

interface Door {
  readonly name: string;
  readonly port: () => number;
  /** How long a client may take that sends one byte every 100 ms, and one that is silent after its first bytes; undefined where silence is allowed. */
  readonly slowMs: number;
  /** The first bytes of something that is never finished. */
  readonly begin: Buffer;
  readonly answers: () => Promise<unknown>;
}

let world: World;
let sidecar: Sidecar;

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar({ timeouts: { frameMs: 2_000 } });
  for (const { service, answer } of dialects) await world.provider(service, answer);
});
after(() => world[Symbol.asyncDispose]());

const head = Buffer.from("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ");
const bolt = dialects[0] as Dialect;

async function httpAnswers(port: number, path: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  await response.text();
  assert.ok(response.status < 500, `status ${response.status}`);
}

async function zookeeperAnswers(port: number): Promise<void> {
  const client = await openZooKeeper(await world.socket(port));
  const xid = client.exists("/dubbo");
  await eventually("an answer", () => client.error(xid) !== undefined);
  client.drop();
}

async function streamAnswers(port: number): Promise<void> {
  const socket = await world.socket(port);
  socket.write(encodeMessage(helloOf(`node-${port}`)));
  await new Promise((resolve) => socket.once("data", resolve));
  socket.destroy();
}

const boltFrame = bolt.request(1);
const connectBegin = Buffer.from([0, 0, 0, 45, 0, 0, 0, 0]);
const doors: readonly Door[] = [
  {
    name: "outbound",
    port: () => sidecar.running.outboundPort,
    slowMs: 4_500,
    begin: boltFrame.subarray(0, 30),
    answers: () => callOnce(world, sidecar.running.outboundPort, bolt),
  },
  {
    name: "inbound",
    port: () => sidecar.running.inboundPort,
    slowMs: 4_500,
    begin: boltFrame.subarray(0, 30),
    answers: () => callOnce(world, sidecar.running.inboundPort, bolt),
  },
  {
    name: "ZooKeeper door of the sidecar",
    port: () => sidecar.running.doors.zookeeper as number,
    slowMs: 11_500,
    begin: connectBegin,
    answers: () => zookeeperAnswers(sidecar.running.doors.zookeeper as number),
  },
  {
    name: "mesh:// door",
    port: () => sidecar.running.doors.mesh as number,
    slowMs: 8_000,
    begin: head,
    answers: () => httpAnswers(sidecar.running.doors.mesh as number, "/services/query"),
  },
  {
    name: "admin of the sidecar",
    port: () => sidecar.admin.port,
    slowMs: 8_000,
    begin: head,
    answers: () => httpAnswers(sidecar.admin.port, "/healthz"),
  },
  {
    name: "ZooKeeper door of the registry",
    port: () => world.registry.doors.zookeeper as number,
    slowMs: 11_500,
    begin: connectBegin,
    answers: () => zookeeperAnswers(world.registry.doors.zookeeper as number),
  },
  {
    name: "stream of the registry",
    port: () => world.registry.streamPort,
    slowMs: 6_500,
    begin: Buffer.from([0xd5, 0x4d, 1, 1, 0, 0, 1, 0]),
    answers: () => streamAnswers(world.registry.streamPort),
  },
  {
    name: "admin of the registry",
    port: () => world.registryAdmin.port,
    slowMs: 8_000,
    begin: head,
    answers: () => httpAnswers(world.registryAdmin.port, "/healthz"),
  },
];

/** Bytes without sense, the same in every run. */
const noise = Buffer.from(Array.from({ length: 4_096 }, (_, index) => (index * 7_919 + (index >> 3) * 31) & 0xff));
const garbage: readonly Buffer[] = [
  noise,
  Buffer.alloc(4_096),
  Buffer.alloc(4_096, 0xff),
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1"),
  Buffer.from("160301020001000000", "hex"),
  Buffer.from(`GET ${"/a".repeat(20_000)} HTTP/1.1\r\n\r\n`),
  Buffer.from("\x7f\xff\xff\xff\x00\x00\x00\x00", "latin1"),
  Buffer.from("ruok"),
];

describe("every port", { concurrency: true, timeout: 60_000 }, () => {
  for (const door of doors) {
    test(`${door.name}: garbage is closed within 1.5 s or said to be such, and the next client is served`, async () => {
      for (const [index, bytes] of garbage.entries()) {
        const socket = await world.socket(door.port());
        let answered = false;
        socket.on("data", () => {
          answered = true;
        });
        // The end of the client's side decides what would otherwise be waited for: a prefix of something possible.
        socket.end(bytes);
        await eventually(`garbage ${index} is closed`, () => answered || socket.closed || socket.readableEnded, 1_500);
        socket.destroy();
      }
      await door.answers();
    });

    test(`${door.name}: a client that drips is cut within ${door.slowMs} ms, and others are served meanwhile`, async () => {
      const socket = await world.socket(door.port());
      socket.write(door.begin);
      const drip = setInterval(
        () => socket.write("\0".length > 0 && door.begin === head ? "x" : Buffer.from([0])),
        100,
      );
      const cut = untilClosed(socket, door.slowMs + 5_000);
      await door.answers();
      const ms = await cut.finally(() => clearInterval(drip));
      assert.ok(ms < door.slowMs, `${ms} ms`);
    });
  }

  test("ZooKeeper doors: a session whose client drips in the middle of a request ends at its timeout, 4 s and two looks", async () => {
    for (const port of [sidecar.running.doors.zookeeper as number, world.registry.doors.zookeeper as number]) {
      const socket = await world.socket(port);
      await openZooKeeper(socket, 4_000);
      socket.write(Buffer.from([0, 0, 16, 0]));
      const drip = setInterval(() => socket.write(Buffer.from([0])), 100);
      const ms = await untilClosed(socket, 10_000).finally(() => clearInterval(drip));
      assert.ok(ms < 5_500, `${ms} ms`);
    }
  });
});

test("outbound: what is no protocol is counted, once for each connection", async () => {
  const before = await event(sidecar.admin, "unknown_protocol");
  const socket = await world.socket(sidecar.running.outboundPort);
  socket.write("\u0000\u0000\u0000\u0000 of no protocol");
  await untilClosed(socket, 1_500);
  assert.equal((await event(sidecar.admin, "unknown_protocol")) - before, 1);
});

describe("every port, one client after the other", { timeout: 60_000 }, () => {
  for (const door of doors) {
    test(`${door.name}: 16 MiB without an end are not kept`, async () => {
      const held = heldBytes();
      const socket = await world.socket(door.port());
      socket.resume();
      socket.write(door.begin);
      const piece = Buffer.alloc(64 * 1024, door.begin === head ? "x" : 0);
      for (let count = 0; count < 256 && !socket.destroyed && socket.writable; count++) {
        if (!socket.write(piece))
          await Promise.race([
            new Promise((r) => socket.once("drain", r)),
            new Promise((r) => socket.once("close", r)),
          ]);
      }
      socket.destroy();
      await door.answers();
      assert.ok(
        heldBytes() - held < 128 * mebibyte,
        `${(heldBytes() - held) / mebibyte} MiB more, with all that runs beside`,
      );
    });
  }

  test("ZooKeeper doors: a client that asks and never reads has answers that cost less than 64 MiB, and others are served", async () => {
    for (const port of [sidecar.running.doors.zookeeper as number, world.registry.doors.zookeeper as number]) {
      const held = heldBytes();
      const socket = await world.socket(port);
      const client = await openZooKeeper(socket, 30_000);
      socket.pause();
      let sent = 0;
      while (!socket.closed && sent < 50_000) {
        for (let count = 0; count < 500; count++) client.exists("/dubbo/nothing/here");
        sent += 500;
        if (socket.writableNeedDrain)
          await Promise.race([
            new Promise((r) => socket.once("drain", r)),
            new Promise((r) => setTimeout(r, 500).unref()),
          ]);
        if (socket.writableLength > 4 * mebibyte) break; // the door reads no further: it waits for its client
      }
      assert.ok(
        heldBytes() - held < 192 * mebibyte,
        `${(heldBytes() - held) / mebibyte} MiB more, those of the client among them`,
      );
      socket.destroy();
      await zookeeperAnswers(port);
    }
  });

  test("ZooKeeper door: incomplete requests of all clients together stay below 64 MiB", async () => {
    const port = sidecar.running.doors.zookeeper as number;
    const sockets = await Promise.all(Array.from({ length: 100 }, () => world.socket(port)));
    await Promise.all(sockets.map((socket) => openZooKeeper(socket)));
    const request = Buffer.concat([Buffer.from([0, 15, 255, 255]), Buffer.alloc(1_000_000)]);
    for (const socket of sockets) socket.write(request);
    await eventually(
      "those for whom there was no room are cut",
      () => sockets.filter(({ closed, readableEnded }) => closed || readableEnded).length >= 30,
    );
    await zookeeperAnswers(port);
    for (const socket of sockets) socket.destroy();
  });
});
