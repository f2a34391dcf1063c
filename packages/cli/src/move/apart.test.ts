import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { findProgram, needProgram } from "@dualmesh/fleet/host/programs";
import { isRoot } from "./users.ts";

const uid = 4_155;
const main = join(import.meta.dirname, "../main.ts");
const netAdmin = 1n << 12n;

interface Part {
  readonly pid: number;
  readonly parent: number;
  readonly rights: bigint;
}

/** The processes whose words name a directory, without those that have ended. */
function partsOf(moves: string): readonly Part[] {
  return readdirSync("/proc").flatMap((name) => {
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "latin1").split("\0");
      const status = readFileSync(`/proc/${name}/status`, "latin1");
      const field = (line: RegExp): string => line.exec(status)?.[1] ?? "";
      const part = {
        pid: Number(name),
        parent: Number(field(/^PPid:\t(\d+)$/m)),
        rights: BigInt(`0x${field(/^CapEff:\t(\w+)$/m)}`),
      };
      return words.includes(moves) && words[0] === process.execPath ? [part] : [];
    } catch {
      return []; // no process, or one that has ended meanwhile
    }
  });
}

interface Guard {
  /** Without rights. */
  readonly guard: number;
  readonly agent: number;
  readonly parent: number;
}

/** Once there are three of them, each the parent of the next, and the guard is another one than `besides`. */
async function guardIn(moves: string, besides = 0): Promise<Guard> {
  const end = systemClock.now() + 20_000;
  for (;;) {
    const parts = partsOf(moves);
    const [guard, ...more] = parts.filter(({ rights }) => rights === 0n);
    const agent = parts.find(({ pid }) => pid === guard?.parent);
    const parent = parts.find(({ pid }) => pid === agent?.parent);
    const isWhole =
      parts.length === 3 && more.length === 0 && agent?.rights === netAdmin && parent?.rights === netAdmin;
    if (isWhole && guard !== undefined && guard.pid !== besides)
      return { guard: guard.pid, agent: agent.pid, parent: parent.pid };
    if (systemClock.now() > end) throw new Error(`there is no guard without rights among ${parts.length} processes`);
    await sleep(systemClock, 10);
  }
}

function start(words: readonly string[]): ChildProcess {
  const rights = "-all,+net_admin";
  const become = ["--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups", "--inh-caps", rights];
  const program = [process.execPath, "--disable-sigusr1", main, ...words];
  return spawn(needProgram("setpriv"), [...become, "--ambient-caps", rights, "--", ...program], {
    cwd: "/",
    stdio: "ignore",
  });
}

function whyNot(): string | undefined {
  if (!isRoot()) return "needs root, which makes a user with one capability";
  if (findProgram("setpriv") === undefined) return "needs setpriv";
  process.seteuid?.(uid);
  try {
    accessSync(main);
    accessSync(process.execPath);
    return undefined;
  } catch {
    return "needs a checkout that other users may read";
  } finally {
    process.seteuid?.(0);
  }
}

test("the guard of a user with a capability has none itself, is back whichever of its three is killed, and leaves nobody", async (t) => {
  const missing = whyNot();
  if (missing !== undefined) return t.skip(missing);
  const home = mkdtempSync("/tmp/dma-");
  t.after(() => rmSync(home, { recursive: true }));
  const moves = join(home, "moves");
  mkdirSync(join(moves, "p4711-99"), { recursive: true, mode: 0o700 });
  // What cannot be read keeps a guard at work.
  writeFileSync(join(moves, "p4711-99", "record.document"), "garbage");
  for (const path of [home, moves, join(moves, "p4711-99")]) chownSync(path, uid, uid);
  const started = start(["move", "guard", "--moves", moves, "--supervised"]);
  const ended = once(started, "exit");
  const first = await guardIn(moves);
  process.kill(first.guard, "SIGKILL");
  const second = await guardIn(moves, first.guard);
  process.kill(second.agent, "SIGKILL");
  const third = await guardIn(moves, second.guard);
  process.kill(third.parent, "SIGKILL");
  await ended;
  const fourth = await guardIn(moves, third.guard);
  process.kill(fourth.parent, "SIGTERM"); // the guard itself may not listen yet
  const end = systemClock.now() + 10_000;
  while (partsOf(moves).length > 0) {
    assert.ok(systemClock.now() < end, "they are still there");
    await sleep(systemClock, 20);
  }
});
