/**
 * `npm test [-- WORD…]`: every test, or those whose path holds a word. Beside what the runner says it prints the seed of the random tests
 * (`SEED=N npm test` runs with the same again) and each skipped test with its reason; it fails if anything is left running or
 * lying about, and with `CI=true` also for a skip, except cells of the matrix that cannot exist.
 */
import { spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Fact } from "./test-facts.ts";

const root = join(import.meta.dirname, "..");
const patterns = ["packages/*/src/**/*.test.ts", "test/**/*.test.ts", "scripts/**/*.test.ts", "bench/**/*.test.ts"];
/** The only reason for which a continuous build may skip. */
const allowedSkip = /^(skipped: )?no SDK mode/;
const testTimeoutMs = 20 * 60_000;
const leftoverGraceMs = 3_000;
const marker = "DUALMESH_TEST_RUN";

process.exit(await main(process.argv.slice(2)));

async function main(words: readonly string[]): Promise<number> {
  const files = globSync(patterns, { cwd: root, exclude: (name) => name.includes("node_modules") })
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .sort();
  if (files.length === 0) {
    console.error("no test file matches");
    return 1;
  }
  const seed = Number(process.env["SEED"] ?? randomInt(2 ** 31));
  const run = randomBytes(8).toString("hex");
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "dm-"))); // short, since paths of sockets are
  const temporary = join(folder, "t");
  mkdirSync(temporary);
  console.log(`${files.length} test files, SEED=${seed}`);
  try {
    const code = await runTests(files, join(folder, "facts"), { SEED: String(seed), TMPDIR: temporary, [marker]: run });
    const facts = readFacts(join(folder, "facts"));
    const problems = [...skipProblems(facts), ...(await leftRunning(`${marker}=${run}`)), ...leftLying(temporary)];
    for (const problem of problems) console.log(`✖ ${problem}`);
    if (code !== 0 || problems.length > 0) console.log(`failed; the seed was SEED=${seed}`);
    return code !== 0 ? code : Math.min(1, problems.length);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runTests(files: readonly string[], facts: string, environment: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(
    process.execPath,
    [
      "--import",
      join(import.meta.dirname, "test-seed.ts"),
      "--test",
      "--test-concurrency=2",
      `--test-timeout=${testTimeoutMs}`,
      "--test-reporter=spec",
      "--test-reporter-destination=stdout",
      `--test-reporter=${join(import.meta.dirname, "test-facts.ts")}`,
      `--test-reporter-destination=${facts}`,
      ...files,
    ],
    { cwd: root, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...environment } },
  );
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  const [code] = await once(child, "exit");
  return typeof code === "number" ? code : 1;
}

function readFacts(path: string): Fact[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Fact);
}

function skipProblems(facts: readonly Fact[]): string[] {
  const byReason = Map.groupBy(facts, ({ reason }) => reason);
  for (const [reason, skipped] of byReason) {
    console.log(`skipped (${skipped.length}): ${reason}`);
    for (const { file, name } of skipped) console.log(`  ${file}: ${name}`);
  }
  if (process.env["CI"] !== "true") return [];
  return [...byReason]
    .filter(([reason]) => !allowedSkip.test(reason))
    .map(([reason, skipped]) => `${skipped.length} tests were skipped, which CI does not allow: ${reason}`);
}

/** Ends what still runs with the mark of this run, after a moment to end by itself. */
async function leftRunning(mark: string): Promise<string[]> {
  const deadline = performance.now() + leftoverGraceMs;
  let found = processesWith(mark);
  while (found.length > 0 && performance.now() < deadline) {
    await delay(50);
    found = processesWith(mark);
  }
  for (const { pid } of found) process.kill(pid, "SIGKILL");
  return found.map(({ pid, command }) => `process ${pid} was left running: ${command}`);
}

function processesWith(mark: string): { pid: number; command: string }[] {
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(mark)) return [];
      return [{ pid, command: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 300) }];
    } catch {
      return []; // it ended meanwhile, or is another user's
    }
  });
}

function leftLying(folder: string): string[] {
  return readdirSync(folder).map((name) => `the tests left ${name} in the temporary folder`);
}
