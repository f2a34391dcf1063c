import assert from "node:assert/strict";
import { test } from "node:test";
import type { MeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import { duration, readWish } from "./wish.ts";

const flags = (values: Readonly<Record<string, string>>): ReadonlyMap<string, string> =>
  new Map(Object.entries(values));

test("a process and nothing else is a whole wish", () => {
  const wish = readWish(flags({ pid: "4711" }));
  assert.deepEqual(wish.named, { kind: "pid", pid: 4711 });
  assert.deepEqual([wish.first, wish.only, wish.watchBeforeMs, wish.watchMs], ["provider", undefined, 60_000, 60_000]);
  assert.deepEqual([wish.bounds.addedErrorRatio, wish.bounds.addedMs], [0.01, 50]);
});

test("everything that can be said is read, and what is wrong is said with what was expected", () => {
  const wish = readWish(
    flags({
      unit: "pay.service",
      zookeeper: "10.0.0.5:2181,zk-2:2182",
      chroot: "/teams/pay",
      only: "consumer",
      before: "0",
      watch: "2m",
      "max-errors": "0.5%",
      "max-added-latency": "20",
    }),
  );
  assert.deepEqual(
    [wish.zookeeper, wish.chroot, wish.only],
    [["10.0.0.5:2181", "zk-2:2182"], "/teams/pay", "consumer"],
  );
  assert.deepEqual(
    [wish.watchBeforeMs, wish.watchMs, wish.bounds.addedErrorRatio, wish.bounds.addedMs],
    [0, 120_000, 0.005, 20],
  );
  const wrong: readonly [Readonly<Record<string, string>>, RegExp][] = [
    [{}, /one of --pid, --unit, --cgroup and --netns/],
    [{ pid: "1", unit: "x" }, /one of --pid/],
    [{ netns: "" }, /^--netns says which process, and nothing stands behind it$/],
    [{ unit: " " }, /^--unit says which process, and nothing/],
    [{ cgroup: "" }, /^--cgroup says which process, and nothing/],
    [{ pid: "none" }, /--pid expects the number of a process, got "none"/],
    [{ pid: "1", zookeeper: "10.0.0.5" }, /--zookeeper expects HOST:PORT,…/],
    [{ pid: "1", only: "both" }, /--only expects provider or consumer/],
    [{ pid: "1", only: "provider", first: "consumer" }, /--only provider moves nothing of the consumer that --first/],
    [{ pid: "1", before: "soon" }, /--before expects a duration as 90s, 2m or 500ms/],
    [{ pid: "1", watch: "25h" }, /--watch expects a duration/],
    [{ pid: "1", "max-errors": "200%" }, /--max-errors expects a ratio/],
    [{ pid: "1", "max-added-latency": "0" }, /--max-added-latency expects milliseconds/],
    [{ pid: "1", chroot: "teams" }, /--chroot expects the path of a node/],
  ];
  for (const [given, expected] of wrong) {
    assert.throws(
      () => readWish(flags(given)),
      (error: MeshError) => error.code === "usage.wrong" && expected.test(error.message),
    );
  }
});

test("durations are what they say in any unit, and garbage is none", () => {
  const units = { ms: 1, s: 1_000, m: 60_000 } as const;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000 }), fc.constantFrom("ms", "s", "m"), (count, unit) => {
      assert.equal(duration(`${count}${unit}`), count * units[unit]);
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => /^\d/.test(text) || duration(text) === undefined));
  assert.deepEqual(
    [duration("1.5s"), duration("0"), duration("90"), duration("1h"), duration("")],
    [1_500, 0, undefined, 3_600_000, undefined],
  );
});
