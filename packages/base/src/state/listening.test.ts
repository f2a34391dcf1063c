import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { listeningDirectories } from "./listening.ts";

test("the directories of parts that listen are found, and none whose name would move the cursor of a terminal", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-listening-"));
  try {
    const names = ["plain", "with blanks", "red\u001b[31m", "connected", "empty", "former", "other"];
    const lines = ["Num       RefCount Protocol Flags    Type St Inode Path"];
    for (const name of names) {
      const directory = join(folder, name);
      await mkdir(directory);
      if (name !== "empty") await writeFile(join(directory, "epoch.document"), "");
      const flags = name === "connected" ? "00000000" : "00010000";
      const file = name === "former" ? "control.sock" : name === "other" ? "other.sock" : "ctl-4194304";
      lines.push(`0000000000000000: 00000002 00000000 ${flags} 0001 01 12345 ${directory}/${file}`);
    }
    const table = join(folder, "table");
    await writeFile(table, `${lines.join("\n")}\n`);
    assert.deepEqual(
      await listeningDirectories(table),
      ["former", "plain", "with blanks"].map((name) => join(folder, name)),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
