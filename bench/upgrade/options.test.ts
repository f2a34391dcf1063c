import assert from "node:assert/strict";
import test from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { parseUpgradeOptions } from "./options.ts";

test("ten upgrades under a thousand connections of every protocol are measured unless told otherwise", () => {
  assert.deepEqual(parseUpgradeOptions([]), {
    connections: 1_000,
    upgrades: 10,
    rate: 4_000,
    works: ["bolt", "dubbo", "http"],
    seconds: 10,
    pauseSeconds: 2,
    json: false,
  });
});

test("numbers and works are read", () => {
  const options = parseUpgradeOptions(
    "--connections 5000 --upgrades 5 --rate 2500.5 --work bolt --seconds 3 --pause 0.5 --json".split(" "),
  );
  assert.deepEqual(options, {
    connections: 5_000,
    upgrades: 5,
    rate: 2_500.5,
    works: ["bolt"],
    seconds: 3,
    pauseSeconds: 0.5,
    json: true,
  });
});

test("help is no run", () => {
  assert.equal(parseUpgradeOptions(["--help"]), undefined);
});

test("what is not understood is a usage error that names it", () => {
  for (const [args, named] of [
    [["--connections", "0"], "--connections"],
    [["--connections", "1.5"], "--connections"],
    [["--connections", "2"], "3 works"],
    [["--upgrades", "many"], "--upgrades"],
    [["--rate", "0"], "--rate"],
    [["--work", "tcp"], "tcp"],
    [["--work", "bolt,bolt"], "twice"],
    [["--pause", "-1"], "--pause"],
    [["--nope"], "--nope"],
  ] as const) {
    assert.throws(
      () => parseUpgradeOptions(args),
      (error) => isMeshError(error, "bench.usage") && error.message.includes(named),
      args.join(" "),
    );
  }
});
