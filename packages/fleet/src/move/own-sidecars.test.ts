import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeDocument } from "@dualmesh/base/state/document";
import { systemFiles } from "@dualmesh/base/state/files";
import { movesOf, readOwnConfiguration } from "./own-sidecars.ts";

test("a sidecar below the moves directory that a mover has started is told by its place, and nothing else is", async () => {
  const moves = await mkdtemp(join(tmpdir(), "dm-own-"));
  try {
    const started = join(moves, "sidecar-0badcafe");
    await mkdir(started);
    await writeFile(join(started, "sidecar.yaml"), "directory: zookeeper\n");
    assert.equal(await readOwnConfiguration(moves, join(started, "state")), undefined, "nobody has started it");
    await writeDocument(systemFiles, join(started, "process.document"), { pid: 4711, started: 99 });
    assert.equal(await readOwnConfiguration(moves, join(started, "state")), "directory: zookeeper\n");
    assert.equal(await movesOf(join(started, "state")), moves);
    assert.equal(await movesOf(join(moves, "sidecar", "state")), undefined);
    for (const [from, state] of [
      [moves, join(started, "other")],
      [moves, join(moves, "sidecar", "state")],
      [join(moves, "elsewhere"), join(started, "state")],
      [moves, join(started, "deeper", "sidecar-0badcafe", "state")],
    ] as const) {
      assert.equal(await readOwnConfiguration(from, state), undefined, state);
    }
  } finally {
    await rm(moves, { recursive: true });
  }
});
