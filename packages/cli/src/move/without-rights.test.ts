import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { findProgram, needProgram } from "@dualmesh/fleet/host/programs";
import { seeGuard } from "@dualmesh/fleet/move/guard-post";
import { processesSeen, type SeenProcess } from "@dualmesh/fleet/process/testing";
import { endGuard } from "./testing.ts";
import { isRoot } from "./users.ts";

const uid = 4_155;
const main = join(import.meta.dirname, "../main.ts");
const netAdmin = 1n << 12n;

/** The processes of Node whose words name a directory, without those that have ended. */
function partsOf(moves: string, node = process.execPath): readonly SeenProcess[] {
  return processesSeen().filter(({ words }) => words[0] === node && words.includes(moves));
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

const somebody: readonly string[] = ["--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];

function start(words: readonly string[]): ChildProcess {
  const rights = "-all,+net_admin";
  const become = [...somebody, "--inh-caps", rights];
  const program = [process.execPath, "--disable-sigusr1", main, ...words];
  return spawn(needProgram("setpriv"), [...become, "--ambient-caps", rights, "--", ...program], {
    cwd: "/",
    stdio: "ignore",
  });
}

/** That user's, with what cannot be read, which keeps a guard at work. */
function openMoves(home: string): string {
  const moves = join(home, "moves");
  const move = join(moves, "p4711-99");
  mkdirSync(move, { recursive: true, mode: 0o700 });
  writeFileSync(join(move, "record.document"), "garbage");
  for (const path of [home, moves, move, join(move, "record.document")]) chownSync(path, uid, uid);
  return moves;
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
  const moves = openMoves(home);
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
  await nobodyLeft(moves);
});

async function nobodyLeft(moves: string, node?: string): Promise<void> {
  const end = systemClock.now() + 10_000;
  while (partsOf(moves, node).length > 0) {
    assert.ok(systemClock.now() < end, "they are still there");
    await sleep(systemClock, 20);
  }
}

/** Processes and threads of that user: some ten Nodes, of those that would start one another without end. */
const maxThreads = 128;

test("a Node that gives capabilities to whoever runs it gives a mover and a guard none, and by sudo it is refused with what mends it", async (t) => {
  const [setcap, prlimit] = [pathOf("setcap"), pathOf("prlimit")];
  const missing = whyNot();
  if (missing !== undefined) return t.skip(missing);
  if (setcap === undefined || prlimit === undefined) return t.skip("needs setcap and prlimit");
  const home = mkdtempSync("/tmp/dma-");
  t.after(() => rmSync(home, { recursive: true }));
  const node = join(home, "node");
  copyFileSync(realpathSync(process.execPath), node);
  execFileSync(setcap, ["cap_net_admin,cap_net_bind_service=+ep", node]);
  const moves = openMoves(home);
  const run = (...words: string[]): ChildProcess =>
    spawn(
      prlimit,
      [`--nproc=${maxThreads}`, needProgram("setpriv"), ...somebody, "--", node, main, ...words, "--moves", moves],
      { cwd: "/", stdio: ["ignore", "pipe", "pipe"] },
    );
  const told = await said(run("move", "recover"));
  assert.match(told, /^the move p4711-99 of process 4711 cannot be read/m);
  await endGuard(moves); // of what nobody can read
  const refused = await said(run("move", "recover", "--sudo"));
  assert.match(
    refused,
    new RegExp(`given capabilities by that file \\(getcap ${node} shows them\\).*setcap -r ${node}`),
  );

  const parent = run("move", "guard");
  const ended = once(parent, "exit");
  const guard = await rightsOfGuard(moves, node);
  assert.deepEqual([guard.parent, guard.rights], [parent.pid, 0n]);
  parent.kill("SIGKILL");
  await ended;
  await nobodyLeft(moves, node);
});

function pathOf(program: string): string | undefined {
  return ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map((path) => join(path, program)).find((path) => existsSync(path));
}

/** All that a program says until it ends, on either stream. */
async function said(child: ChildProcess): Promise<string> {
  const pieces: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece) => void pieces.push(String(piece)));
  await once(child, "close");
  return pieces.join("");
}

/** Of the guard that is at work. */
async function rightsOfGuard(moves: string, node: string): Promise<SeenProcess> {
  const end = systemClock.now() + 20_000;
  for (;;) {
    const seen = await seeGuard(moves, systemClock);
    const part = seen.kind === "at work" && partsOf(moves, node).find(({ pid }) => pid === seen.pid);
    if (part) return part;
    if (systemClock.now() > end) throw new Error(`no guard is at work: ${JSON.stringify(seen)}`);
    await sleep(systemClock, 10);
  }
}
