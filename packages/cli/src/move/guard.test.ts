import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import { findProgram } from "@dualmesh/fleet/host/programs";
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
  const guard = home.start("move", "guard", "--moves", moves);
  await guard.saw("the guard is at work");
  await guard.saw("the guard has mended a move");
  assert.deepEqual(await records.list(), []);
  assert.match(await readFile(join(moves, "history.jsonl"), "utf8"), /"state":"gone"/);
  const second = await home.run("move", "guard", "--moves", moves);
  assert.equal(second.code, 0);
  assert.match(second.stderr, /another guard is at work/);
  guard.child.kill("SIGTERM");
  assert.equal(await guard.ended(), 0);
});
