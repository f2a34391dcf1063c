/** Runs that want their turn at the same moment, some of which die while they have it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "turn-"));
const diary = join(folder, "diary");

const run = `
  import { appendFileSync } from "node:fs";
  import { setTimeout as pass } from "node:timers/promises";
  import { takeTurn } from "${new URL("./turn.ts", import.meta.url).href}";
  const [directory, diary, fate] = process.argv.slice(1);
  {
    using _turn = await takeTurn(directory);
    appendFileSync(diary, "in " + process.pid + "\\n");
    if (fate === "dies") process.kill(process.pid, "SIGKILL");
    await pass(20);
    appendFileSync(diary, "out " + process.pid + "\\n");
  }
  process.exit();`;

test("one run has its turn at a time, and one that dies with it is followed by exactly one", {
  timeout: 60_000,
}, async () => {
  const fates = ["ends", "dies", "ends", "dies", "dies", "ends"];
  const words = ["--input-type=module", "-e", run, join(folder, "turn"), diary];
  const runs = fates.map((fate) =>
    spawn(process.execPath, [...words, fate], { stdio: ["ignore", "ignore", "inherit"] }),
  );
  try {
    await Promise.all(runs.map((child) => once(child, "exit")));
    const lines = readFileSync(diary, "utf8").trim().split("\n");
    const expected = lines
      .filter((line) => line.startsWith("in "))
      .flatMap((line) => {
        const pid = line.slice(3);
        const dies = fates[runs.findIndex((child) => String(child.pid) === pid)] === "dies";
        return dies ? [line] : [line, `out ${pid}`];
      });
    assert.deepEqual(lines, expected);
    assert.equal(lines.filter((line) => line.startsWith("in ")).length, fates.length);
  } finally {
    for (const child of runs) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});
