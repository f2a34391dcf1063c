/** S11: hostile Hessian where the sidecar reads it: a service in two groups, whose group stands behind the arguments. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Peer } from "@dualmesh/sidecar/request/testing";
import { hessianInt, hessianMap, hessianText } from "@dualmesh/wire/hessian/arbitrary";
import { dubboEcho, dubboHead, dubboRaw, dubboRequest } from "./dubbo.ts";
import { eventually, heldBytes, mebibyte, type Sidecar, World } from "./world.ts";
import { openZooKeeper } from "./zookeeper.ts";

interface Endpoints {
  readonly outbound: readonly { readonly service: string; readonly known: boolean }[];
}

const path = "test.Grouped";
let world: World;
let sidecar: Sidecar;
let caller: Peer;
let nextId = 0;

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar();
  for (const group of ["a", "b"]) await world.provider(`dubbo/${path}:1.0:${group}`, dubboEcho);
  // Both groups are known here as to any consumer: it lists the providers at its door.
  const consumer = await openZooKeeper(await world.socket(sidecar.running.doors.zookeeper as number));
  consumer.list(`/dubbo/${path}/providers`, true);
  await eventually("both groups are known", async () => {
    const { outbound } = (await (await fetch(`http://${sidecar.admin.address}/endpoints`)).json()) as Endpoints;
    return outbound.filter(({ service, known }) => known && service.startsWith(`dubbo/${path}:`)).length >= 2;
  });
  caller = await world.caller(sidecar.running.outboundPort, "dubbo");
  for (const group of ["a", "b"])
    assert.equal((await call(dubboRequest({ id: ++nextId, path, attachments: [["group", group]] }))).status, 20);
  await call(dubboRequest({ id: ++nextId, path })); // no group: from here on it is known that nobody has it
});
after(() => world[Symbol.asyncDispose]());

async function call(frame: Buffer): Promise<{ readonly status: number; readonly ms: number }> {
  const count = caller.frames.length + 1;
  const before = performance.now();
  caller.send(frame);
  await caller.received(count);
  return { status: caller.frames.at(-1)?.status ?? 0, ms: performance.now() - before };
}

const times = (count: number, bytes: Buffer): Buffer => Buffer.alloc(count * bytes.length, bytes);
const list = (length: number): Buffer => Buffer.concat([Buffer.from("X"), hessianInt(length)]);
const groupA = hessianMap([["group", "a"]]);

/** 2^12 texts of one hash in Java, as `Aa` and `BB` have it. */
const colliding = Array.from({ length: 4_096 }, (_, number) =>
  Array.from({ length: 12 }, (__, bit) => ((number >> bit) & 1 ? "Aa" : "BB")).join(""),
);

const bodies: readonly { readonly name: string; readonly args: Buffer; readonly readable: boolean }[] = [
  {
    name: "lists nested 10^5 deep",
    args: Buffer.concat([times(100_000, Buffer.from("W")), times(100_000, Buffer.from("Z")), groupA]),
    readable: false,
  },
  { name: "lists nested 10^5 deep without an end", args: times(100_000, Buffer.from("W")), readable: false },
  { name: "maps nested 10^5 deep", args: times(100_000, Buffer.from("HN")), readable: false },
  {
    name: "a list that holds itself a hundred thousand times",
    args: Buffer.concat([list(100_000), times(100_000, Buffer.from("Q\x90", "latin1")), groupA]),
    readable: true,
  },
  {
    name: "a map that is its own key and value",
    args: Buffer.concat([Buffer.from("HQ\x90Q\x90Z", "latin1"), groupA]),
    readable: true,
  },
  { name: "a list of 2^31-1", args: Buffer.concat([list(2 ** 31 - 1), groupA]), readable: false },
  { name: "a list of -2^31", args: Buffer.concat([list(-(2 ** 31)), groupA]), readable: false },
  { name: "ten thousand lists of 2^31-1 in one another", args: times(10_000, list(2 ** 31 - 1)), readable: false },
  {
    name: "4,096 keys of one hash",
    args: Buffer.concat([hessianMap(colliding.map((key) => [key, "x"])), groupA]),
    readable: true,
  },
  {
    name: "4,096 keys of one hash among the attachments",
    args: hessianMap([...colliding.map((key) => [key, "x"] as const), ["group", "a"]]),
    readable: true,
  },
  {
    name: "a hundred thousand times the key that is looked for, of which the last counts",
    args: hessianMap([["group", "a"], ...Array.from({ length: 100_000 }, () => ["group", "zz"] as const)]),
    readable: false,
  },
  {
    name: "classes of 2^31 fields",
    args: Buffer.concat([Buffer.from("C"), hessianText("x"), hessianInt(2 ** 31 - 1), groupA]),
    readable: false,
  },
  {
    name: "ten thousand classes",
    args: Buffer.concat([
      times(10_000, Buffer.concat([Buffer.from("C"), hessianText("x"), hessianInt(0)])),
      Buffer.from("N"),
      groupA,
    ]),
    readable: false,
  },
  {
    name: "an object of a class that was never defined",
    args: Buffer.concat([Buffer.from("O\x95", "latin1"), groupA]),
    readable: false,
  },
  {
    name: "a text of 2 MiB in one-character pieces",
    args: Buffer.concat([times(500_000, Buffer.from("R\x00\x01a", "latin1")), hessianText("a"), groupA]),
    readable: true,
  },
  { name: "two million nulls", args: Buffer.concat([times(2_000_000, Buffer.from("N")), groupA]), readable: false },
];

for (const { name, args, readable } of bodies) {
  test(`S11: ${name} is answered within 100 ms`, { timeout: 30_000 }, async () => {
    const frame = (): Buffer => dubboRaw(++nextId, Buffer.concat([dubboHead(path), args]));
    const held = heldBytes();
    // The best of a few: what is asserted is the work for the frame, and other tests share the machine.
    let best = Number.POSITIVE_INFINITY;
    for (let tries = 0; tries < 5 && !(best < 100); tries++) {
      const { status, ms } = await call(frame());
      assert.equal(status, readable ? 20 : 60, "answered by the provider of the group, or that nobody provides it");
      best = Math.min(best, ms);
    }
    assert.ok(best < 100, `${best} ms`);
    assert.ok(heldBytes() - held < 64 * mebibyte);
  });
}
