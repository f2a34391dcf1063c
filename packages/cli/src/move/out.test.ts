/** `move out` while another process has the move: a mover as a process of its own, whose machine is in memory and whose records are on disk. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { openRecords } from "@dualmesh/fleet/move/records";
import { openHome } from "../testing.ts";

const name = "p4711-32977";

/** Its time goes ten times as fast as ours, and stands still in the step `until` as long as its input is open; it says how it ended. */
function startMover(moves: string, until = ""): ChildProcess {
  const of = (specifier: string): string => JSON.stringify(import.meta.resolve(specifier));
  const script = `
import { systemClock } from ${of("@dualmesh/base/clock")};
import { silentLog } from ${of("@dualmesh/base/log")};
import { seededRandom } from ${of("@dualmesh/base/random")};
import { Mover } from ${of("@dualmesh/fleet/move/mover")};
import { processId } from ${of("@dualmesh/fleet/move/processes")};
import { openRecords } from ${of("@dualmesh/fleet/move/records")};
import { recordOf } from ${of("@dualmesh/fleet/move/testing/sim-world")};
import { Story } from ${of("@dualmesh/fleet/move/testing/story")};
const story = new Story(seededRandom(1));
const self = processId("self");
const sim = story.machine.clock;
const clock = {
  now: () => sim.now(), wall: () => systemClock.wall(), after: (...given) => sim.after(...given), every: (...given) => sim.every(...given),
};
const world = { ...story.mover().world, clock, self };
const records = openRecords({ path: ${JSON.stringify(moves)}, clock: systemClock, log: silentLog });
const record = { ...recordOf(story.process, self), watchMs: 600_000 };
const hold = await records.take(record.name);
let stands = false;
let isOpen = true;
process.stdin.on("end", () => { isOpen = false; }).resume();
setInterval(() => stands && isOpen || sim.advance(200), 20);
const tell = (event) => {
  if (event.event !== "step" || event.at !== "begin") return;
  stands = event.step === ${JSON.stringify(until)};
  process.stdout.write(event.step + "\\n");
};
const end = await new Mover({ world, records, record, tell }).enter(new AbortController().signal);
await hold.release();
process.stdout.write(JSON.stringify([end.state, end.failed, story.place, story.machine.wrong]));
process.exit(0);`;
  const stdio = ["pipe", "pipe", "inherit"] as const;
  // As a shell does it: in a group of its own, which a terminal stops at once.
  return spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: [...stdio], detached: true });
}

function follow(child: ChildProcess): { readonly text: () => string; readonly until: (what: string) => Promise<void> } {
  let text = "";
  child.stdout?.on("data", (piece) => {
    text += piece;
  });
  const ended = once(child, "close");
  const until = async (what: string): Promise<void> => {
    while (!text.includes(what)) {
      if (child.exitCode !== null) throw new Error(`it ended before "${what}": ${text}`);
      await Promise.race([once(child.stdout as NodeJS.ReadableStream, "data"), ended]);
    }
  };
  return { text: () => text, until };
}

async function openMoves() {
  const home = await openHome();
  const moves = join(home.path, "moves");
  await mkdir(moves, { mode: 0o700 });
  return { home, moves };
}

test("a way in that goes on is taken back at once when its process is wanted out, whoever asks how often", async () => {
  const { home, moves } = await openMoves();
  await using _home = home;
  const child = startMover(moves);
  const mover = follow(child);
  const ended = once(child, "close");
  await mover.until("provide\n");
  const out = ["move", "out", "--pid", "4711", "--moves", moves];
  const [people, program, third] = await Promise.all([home.run(...out), home.run(...out, "--json"), home.run(...out)]);
  await ended;
  const result = JSON.parse(mover.text().split("\n").at(-1) ?? "");
  assert.deepEqual(result, ["undone", "dualmesh move out was asked for", "out", []]);
  assert.deepEqual([people.code, program.code, third.code], [0, 0, 0], `${people.stderr}${program.stderr}`);
  const said = `${people.stdout}${third.stdout}`;
  assert.match(said, /^process 4711 \(java\) out of the mesh\n {2}note: process \d+/);
  assert.match(
    `${said}${program.stdout}`,
    new RegExp(`process ${child.pid}, which moves it in, is told to take that back: this may take two minutes`),
  );
  assert.match(people.stdout, /process 4711 is as it was before, after .* s: dualmesh move out was asked for\n$/);
  const lines = program.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const { event, state, pid, failed } = lines.at(-1);
  assert.deepEqual([event, state, pid, failed], ["end", "undone", 4711, "dualmesh move out was asked for"]);
  assert.match(await readFile(join(moves, "history.jsonl"), "utf8"), /^[^\n]*"state":"undone"[^\n]*\n$/);
  assert.deepEqual(await readdir(moves), ["history.jsonl"]);
});

test("a mover that is stopped is named with what to do, and takes the move back when it goes on", async (t) => {
  const { home, moves } = await openMoves();
  await using _home = home;
  const child = startMover(moves);
  // One that stands still would be waited for when a line below fails.
  t.after(() => child.kill("SIGKILL"));
  const mover = follow(child);
  const ended = once(child, "close");
  await mover.until("settle\n");
  process.kill(-(child.pid as number), "SIGSTOP");
  const { code, stderr } = await home.run("move", "out", "--pid", "4711", "--moves", moves);
  assert.equal(code, 1);
  const [, group = ""] = /is stopped: let it go on \(fg at its terminal, or kill -CONT -- (-\d+)\)/.exec(stderr) ?? [];
  assert.equal(group, `-${child.pid}`, stderr);
  for (const word of ["status", "recover"]) {
    const { stdout } = await home.run("move", word, "--moves", moves);
    assert.match(
      stdout,
      new RegExp(`process ${child.pid},? is stopped: let it go on .*kill -CONT -- ${group}\\)`),
      word,
    );
    assert.match(stdout, new RegExp(`or end it \\(kill -KILL ${child.pid}\\), and the guard does`));
  }
  process.kill(Number(group), "SIGCONT");
  await ended;
  assert.match(mover.text(), /\["undone","dualmesh move out was asked for","out",\[\]\]$/);
});

test("a mover that takes its process back already is waited for, and how it ended is said", async () => {
  const { home, moves } = await openMoves();
  await using _home = home;
  const child = startMover(moves, "provide-back");
  const mover = follow(child);
  await mover.until("settle\n");
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  const { mover: at } = (await records.read(name)) as MoveRecord;
  await records.tellToUndo(name, at);
  await mover.until("provide-back\n");
  const { child: leaving, ended } = home.start("move", "out", "--pid", "4711", "--moves", moves);
  const said = follow(leaving);
  await said.until(`note: process ${child.pid} takes it out already, and is waited for\n`);
  const impatient = home.start("move", "out", "--pid", "4711", "--moves", moves);
  await follow(impatient.child).until("and is waited for\n");
  impatient.child.kill("SIGINT");
  const why = /SIGINT: the move is not waited for\n.*it was interrupted by SIGINT: nothing was changed\n$/;
  assert.match(await impatient.saw("nothing was changed\n"), why);
  assert.equal(await impatient.ended(), 1);
  child.stdin?.end();
  assert.equal(await ended(), 0, said.text());
  assert.match(said.text(), /process 4711 is as it was before, after .* s: dualmesh move out was asked for\n$/);
});
