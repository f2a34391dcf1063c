import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import { findProgram } from "@dualmesh/fleet/host/programs";
import { ownUser } from "@dualmesh/fleet/host/users";
import { processId } from "@dualmesh/fleet/move/processes";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { openRecords } from "@dualmesh/fleet/move/records";
import { openHome } from "../testing.ts";
import { isRoot } from "./users.ts";

test("a guard takes away what was made for a process that has ended, is one of its kind, and ends when it is told to", async (t) => {
  if (!isRoot()) return t.skip("needs root: the guard looks for rules");
  if (findProgram("nft") === undefined) return t.skip("needs nft");
  await using home = await openHome();
  const child = spawn("true");
  const ended = processId(child.pid as number);
  await once(child, "exit");
  const moves = home.path;
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  const id = { pid: child.pid as number, started: ended?.started ?? 1 };
  const record: MoveRecord = {
    version: 1,
    name: `p${id.pid}-${id.started}`,
    process: { ...id, uid: 0, cgroup: "/", netns: netnsOf("self") as number, command: "true" },
    named: { kind: "pid", pid: id.pid },
    selection: { kind: "uid", uid: 1 },
    exclusive: true,
    servers: ["127.0.0.1:1"],
    chroots: [],
    host: "127.0.0.1",
    sidecar: { state: join(moves, "nobody"), own: undefined },
    only: undefined,
    first: "provider",
    watchBeforeMs: 0,
    watchMs: 0,
    bounds: { addedErrorRatio: 0.01, addedMs: 50, minCalls: 30 },
    calls: [],
    state: "in",
    wanted: "in",
    begun: ["sidecar", "crossing"],
    done: [],
    step: "",
    lists: [],
    sessions: 0,
    doors: [],
    published: [],
    mover: { pid: 1, started: 1 },
    since: 0,
    failed: "",
  };
  await records.write(record);
  const guard = home.start("move", "guard", "--moves", moves, "--owner", "0:0");
  await guard.saw("the guard is at work");
  await guard.saw("the guard has mended a move");
  assert.deepEqual(await records.list(), []);
  assert.match(await readFile(join(moves, "history.jsonl"), "utf8"), /"state":"gone"/);
  const second = await home.run("move", "guard", "--moves", moves, "--owner", "0:0");
  assert.equal(second.code, 0);
  assert.match(second.stderr, /another guard is at work/);
  guard.child.kill("SIGTERM");
  assert.equal(await guard.ended(), 0);
});

test("a guard that begins as root comes down to the user it is told, and no signal opens a debugger in it", async (t) => {
  if (!isRoot()) return t.skip("needs root, from whom it comes down");
  await using home = await openHome();
  // Not in the home, which is closed to everybody else.
  const folder = mkdtempSync("/tmp/dmb-");
  try {
    chmodSync(folder, 0o755);
    const moves = join(folder, "moves");
    mkdirSync(moves, { mode: 0o700 });
    chownSync(moves, 4_160, 4_161);
    const words = ["move", "guard", "--moves", moves];
    const refused = await home.run(...words, "--owner", "0:0");
    assert.match(refused.stderr, /belong to user 4160 of group 4161, and not to user 0 of group 0/);
    const guard = home.start(...words, "--owner", "4160:4161");
    let said = "";
    guard.child.stderr?.on("data", (piece) => {
      said += piece;
    });
    await guard.saw("the guard is at work");
    const status = await readFile(`/proc/${guard.child.pid}/status`, "utf8");
    assert.match(status, /^Uid:\t4160\t4160\t4160\t4160$/m);
    assert.match(status, /^Gid:\t4161\t4161\t4161\t4161$/m);
    assert.match(status, /^CapPrm:\t0+$/m);
    guard.child.kill("SIGUSR1");
    guard.child.kill("SIGTERM");
    assert.equal(await guard.ended(), 0);
    assert.doesNotMatch(said, /Debugger/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a guard whose privileged process dies ends with an error, and status says that there is none", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  mkdirSync(join(moves, "p4711-99"), { recursive: true, mode: 0o700 });
  writeFileSync(join(moves, "p4711-99", "record.document"), "garbage");
  const { uid, gid } = ownUser();
  const guard = home.start("move", "guard", "--moves", moves, "--owner", `${uid}:${gid}`);
  await guard.saw("the guard is at work");
  const before = await home.run("move", "status", "--moves", moves);
  assert.match(before.stdout, new RegExp(`^guard: process ${guard.child.pid}, at work for \\d+ s$`, "m"));
  const children = await readFile(`/proc/${guard.child.pid}/task/${guard.child.pid}/children`, "utf8");
  const [agent, ...others] = children.trim().split(" ").map(Number);
  assert.deepEqual([typeof agent, others], ["number", []]);
  process.kill(agent as number, "SIGKILL");
  assert.equal(await guard.ended(), 1);
  const after = await home.run("move", "status", "--moves", moves);
  assert.match(after.stdout, /^guard: none is at work, .* dualmesh move recover starts one$/m);
});
