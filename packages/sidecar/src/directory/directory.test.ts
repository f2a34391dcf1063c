import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { openState } from "@dualmesh/base/state/state";
import { sidecarConfig } from "../config.ts";
import { openDirectory } from "./directory.ts";

test("the registry is the directory, and the sidecar keeps its name", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-directory-"));
  const config = sidecarConfig.parse({ registry: { address: "127.0.0.1:1" } });
  const common = { clock: systemClock, random: systemRandom, log: silentLog };
  try {
    const names: unknown[] = [];
    for (let start = 0; start < 2; start += 1) {
      await using state = await openState({ path: folder, part: "sidecar" });
      const directory = await openDirectory(config, { state, ...common });
      assert.equal(directory.kind, "registry");
      assert.notEqual(directory.status().ready, "fresh");
      names.push(await state.readDocument("node"));
      await directory.close({ orderly: false });
    }
    assert.deepEqual(names[0], names[1]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("an existing ZooKeeper is the directory where it is asked for, reachable or not", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-directory-"));
  const config = sidecarConfig.parse({ directory: "zookeeper", zookeeper: { addresses: ["127.0.0.1:1"] } });
  try {
    await using state = await openState({ path: folder, part: "sidecar" });
    const directory = await openDirectory(config, {
      state,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    assert.equal(directory.kind, "zookeeper");
    assert.equal(directory.readiness, "no");
    assert.equal(directory.status().registry, "127.0.0.1:1");
    assert.throws(() => directory.watch("http/shop::", () => {}), /use directory: registry/);
    await directory.close({ orderly: false });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
