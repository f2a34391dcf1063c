/** The demo as a newcomer runs it, from outside: its own processes, real ports, npm's real clients. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const storyLimitMs = 60_000;
/** A step and the couple of seconds around it; the story's own limit is asserted, this only keeps a test from hanging. */
const testLimitMs = 90_000;
/** A service without its parent takes 10 s at most; a sidecar drains. */
const orphansLimitMs = 25_000;

interface Wishes {
  readonly interruptWhen?: (errors: string) => boolean;
  readonly signal?: "SIGINT" | "SIGKILL";
}

interface Ran {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
  readonly ms: number;
  /** Processes and files that were still there afterwards. */
  readonly left: readonly string[];
}

/** Runs the demo with a folder for temporary files of its own, which also marks every process that it starts. */
async function run(words: readonly string[], wishes: Wishes = {}): Promise<Ran> {
  const { interruptWhen, signal = "SIGINT" } = wishes;
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-demo-test-"));
  const begin = performance.now();
  const child = spawn(process.execPath, [main, "demo", ...words], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    let output = "";
    let errors = "";
    let interrupted = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
      if (interrupted || interruptWhen?.(errors) !== true) return;
      interrupted = true;
      child.kill(signal);
    });
    const [code] = (await once(child, "close")) as [number | null];
    const ms = performance.now() - begin;
    // What nobody could end any more ends by itself, in its own order.
    if (signal === "SIGKILL") await untilNone(() => processesOf(folder));
    const files = signal === "SIGKILL" ? [] : await readdir(folder);
    return { code, output, errors, ms, left: [...files, ...(await processesOf(folder))] };
  } finally {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

/** Until nothing is left, or for so long that the caller sees what is. */
async function untilNone(left: () => Promise<readonly string[]>): Promise<void> {
  const end = performance.now() + orphansLimitMs;
  while ((await left()).length > 0 && performance.now() < end) await wait(100);
}

/** The processes whose temporary folder is `folder`; none where there is no /proc to ask. */
async function processesOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const environment = await readFile(`/proc/${pid}/environ`, "utf8");
      if (environment.split("\0").includes(`TMPDIR=${folder}`))
        found.push(await readFile(`/proc/${pid}/cmdline`, "utf8"));
    } catch {
      // It has ended meanwhile, or is not ours to look at.
    }
  }
  return found;
}

describe("dualmesh demo", { timeout: 4 * testLimitMs }, () => {
  it("tells its story within a minute, loses no call, and leaves nothing behind", {
    timeout: testLimitMs,
  }, async () => {
    const { code, output, errors, ms, left } = await run(["--script", "--json"]);
    assert.equal(code, 0, errors);
    const result = JSON.parse(output.trimEnd().split("\n").at(-1) ?? "");
    assert.equal(result.story, "migrate");
    assert.equal(result.failed, 0);
    assert.deepEqual(
      result.steps.map(({ name, failed }: { name: string; failed: number }) => ({ name, failed })),
      ["consumer-in", "provider-in", "sidecar-upgrade", "provider-out"].map((name) => ({ name, failed: 0 })),
    );
    assert.ok(
      result.steps.every(({ calls }: { calls: number }) => calls > 0),
      "calls go on in each step",
    );
    assert.ok(result.calls >= result.steps.reduce((sum: number, { calls }: { calls: number }) => sum + calls, 0));
    assert.ok(ms < storyLimitMs, `it took ${ms} ms`);
    assert.deepEqual(left, []);
  });

  it("leaves nothing behind when it is interrupted in the middle of a move", { timeout: testLimitMs }, async () => {
    const interruptWhen = (text: string): boolean => text.includes("Step 3 of 5");
    const { code, errors, left } = await run(["--script", "--json"], { interruptWhen });
    assert.equal(code, 130, errors);
    assert.deepEqual(left, []);
  });

  it("leaves no process behind when it is killed, of whatever language", { timeout: testLimitMs }, async () => {
    const interruptWhen = (text: string): boolean => text.includes("Step 3 of 5");
    const { left } = await run(["--script", "--json"], { interruptWhen, signal: "SIGKILL" });
    assert.deepEqual(left, []);
  });

  it("refuses an argument that it does not know", async () => {
    const { code, errors } = await run(["--scrpt"]);
    assert.equal(code, 2);
    assert.match(errors, /does not know --scrpt/);
  });
});
