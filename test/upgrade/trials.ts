/**
 * What else may come over an upgrade: a process that stands still, strangers, a socket that nobody reads, a full disk, two at once, programs that cannot take
 * over, thousands of connections, and no way to move any. Each trial says what is wrong; nothing when all is as it should be.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { openSystemCalls } from "@dualmesh/sidecar/transport/native";
import type { UpgradeEnd } from "@dualmesh/sidecar/upgrade/old-side";
import { eventually } from "../hostile/world.ts";
import type { LoadEnd } from "./load.ts";
import { SidecarProcess, stateOf } from "./sidecar-process.ts";
import { UpgradeWorld } from "./world.ts";

export interface Trial {
  readonly name: string;
  /** Why it cannot be made here. */
  readonly skip?: string | undefined;
  /** Too long for each commit. */
  readonly isLong?: boolean;
  run(seed: number): Promise<TrialEnd>;
}

interface TrialEnd {
  /** What is to be seen in the table. */
  readonly note: string;
  readonly faults: readonly string[];
}

const isRoot = process.getuid?.() === 0;
/** Not one that only root may enter the folder of. */
const python = "/usr/bin/python3";
const notRoot = isRoot ? undefined : "only root can do this";
const settleMs = 700;
const light = { size: 0.5, slowMs: 800 };

export const trials: readonly Trial[] = [
  { name: "the new process stands still for 2 s before it has anything", run: stands("new", "took states", 2_000) },
  { name: "the new process stands still for ever before it has anything", run: stands("new", "took states") },
  { name: "the new process stands still for 2 s while the old one relays", run: stands("new", "relay", 2_000) },
  {
    name: "the new process stands still for ever while the old one relays",
    isLong: true,
    run: stands("new", "relay", undefined, "its connections"),
  },
  { name: "the old process stands still for 2 s before the new one has anything", run: stands("old", "share", 2_000) },
  {
    name: "the old process stands still for 8 s before the new one has anything",
    isLong: true,
    run: stands("old", "share", 8_000),
  },
  { name: "the old process stands still for 2 s having told to go on", run: stands("old", "said commit", 2_000) },
  {
    name: "the old process stands still for 12 s having told to go on",
    isLong: true,
    run: stands("old", "said commit", 12_000, "what it owed"),
  },
  { name: "strangers of the same user call at the socket", run: (seed) => under({ seed }, strangers) },
  {
    name: "a stranger of another user calls at the socket",
    skip: notRoot ?? (existsSync(python) ? undefined : `there is no ${python}`),
    run: foreign,
  },
  { name: "the disk is full", skip: notRoot, run: (seed) => fullDisk(seed, "before") },
  { name: "the disk fills up in the midst", skip: notRoot, run: (seed) => fullDisk(seed, "in the midst") },
  { name: "the command is given twice at once", run: (seed) => under({ seed }, twice) },
  {
    name: "the program is not there",
    run: (seed) =>
      under({ seed }, (world) => refused(world, [process.execPath, "/nowhere/main.ts"], /not-started|has ended/)),
  },
  {
    name: "the program is not there, under a parent",
    run: (seed) =>
      under({ seed, supervised: true }, (world) =>
        refused(world, ["/nowhere/node", "main.ts"], /could not start|has ended/),
      ),
  },
  {
    name: "the program ends at once",
    run: (seed) => under({ seed }, (world) => refused(world, ["/bin/true", "x"], /has ended/)),
  },
  {
    name: "the new process speaks an older version that nobody knows",
    run: (seed) =>
      under({ seed, fault: "speaks:0:0" }, (world) =>
        refused(world, SidecarProcess.program({ fault: true }), /speaks 0 to 0|upgrade by a version in between|gone/),
      ),
  },
  {
    name: "the new process speaks this version and the next",
    run: (seed) => under({ seed, fault: "speaks:2:3" }, (world) => upgraded(world, { fault: true })),
  },
  { name: "nothing can be moved, and callers end their connections themselves", run: (seed) => drained(seed, false) },
  {
    name: "nothing can be moved, and callers stay as long as they may",
    isLong: true,
    run: (seed) => drained(seed, true),
  },
  { name: "5,000 connections, and a new process that reads nothing for 1.5 s", isLong: true, run: crowd },
];

// ---- under load ----

interface Under {
  readonly seed: number;
  readonly state?: string;
  readonly supervised?: boolean;
  readonly fault?: string;
}

interface Said {
  readonly note: string;
  readonly faults: readonly string[];
}

/** Nothing may be lost. */
async function under(options: Under, act: (world: UpgradeWorld) => Promise<Said>): Promise<TrialEnd> {
  await using world = await UpgradeWorld.open(options);
  const load = await world.load(light);
  await pause(settleMs);
  const { note, faults } = await act(world);
  await pause(settleMs);
  const end = await load.end();
  const left = await oneLeft(world);
  return { note: `${note}; ${figures(end)}`, faults: [...faults, ...end.broken, ...end.lost, ...left].slice(0, 20) };
}

function figures({ calls, failed, closed, worstMs }: LoadEnd): string {
  return `${failed} of ${calls} failed, ${closed} closed, worst ${worstMs} ms`;
}

/** One process is left, which can be upgraded and ends in order. */
async function oneLeft({ sidecar }: UpgradeWorld): Promise<readonly string[]> {
  const faults: string[] = [];
  try {
    await sidecar.report();
    await sidecar.upgrade();
  } catch (error) {
    faults.push(`the next upgrade: ${messageOf(error)}`);
  }
  await eventually("one process is left", () => sidecar.processes().length === 1, 10_000);
  const code = await sidecar.end();
  if (code !== undefined && code !== 0) faults.push(`it ended with ${code}`);
  return faults;
}

async function upgraded({ sidecar }: UpgradeWorld, { fault = false } = {}): Promise<Said> {
  const before = sidecar.pid;
  const { moved, ms } = await sidecar.upgrade(SidecarProcess.program({ fault }));
  return { note: `${moved} moved in ${ms} ms`, faults: before === sidecar.pid ? ["it is the same process"] : [] };
}

async function refused({ sidecar }: UpgradeWorld, program: readonly string[], why: RegExp): Promise<Said> {
  const before = sidecar.pid;
  try {
    await sidecar.upgrade(program);
    return { note: "upgraded", faults: ["it was upgraded to what cannot take over"] };
  } catch (error) {
    const text = messageOf(error);
    const { pid } = await sidecar.report();
    const faults = [
      ...(why.test(text) ? [] : [`it says: ${text}`]),
      ...(pid === before ? [] : ["another process serves"]),
    ];
    return { note: text.slice(0, 90), faults };
  }
}

async function twice({ sidecar }: UpgradeWorld): Promise<Said> {
  const both = await Promise.allSettled([sidecar.upgrade(), sidecar.upgrade()]);
  const errors = both.flatMap((one) => (one.status === "rejected" ? [messageOf(one.reason)] : []));
  const isRight = errors.length === 1 && /under way already/.test(errors[0] ?? "");
  return {
    note: errors.join(", ").slice(0, 90),
    faults: isRight ? [] : [`of two ${errors.length} were refused: ${errors}`],
  };
}

// ---- who stands still ----

/** Stops itself at that place, and is woken after so long, or never. */
function stands(
  side: "old" | "new",
  place: string,
  forMs?: number,
  cost: "nothing" | "its connections" | "what it owed" = "nothing",
): Trial["run"] {
  return async (seed) => {
    const fault = `${side}:${place}:stop`;
    await using world = await UpgradeWorld.open({ seed, fault, faultAtOnce: side === "old" });
    const { sidecar } = world;
    const load = await world.load(light);
    await pause(settleMs);
    const began = performance.now();
    const upgrading = sidecar.upgrade(SidecarProcess.program({ fault: side === "new" })).then(
      ({ ms }) => `upgraded in ${ms} ms`,
      (error: unknown) => messageOf(error),
    );
    let stopped: number | undefined;
    await eventually(
      "it stands still",
      () => {
        stopped = sidecar.processes().find((pid) => stateOf(pid) === "T");
        return stopped !== undefined;
      },
      60_000,
    );
    if (forMs !== undefined) {
      await pause(forMs);
      wake(stopped as number);
    }
    const outcome = await upgrading;
    const tookMs = Math.round(performance.now() - began);
    await eventually("one is left", () => sidecar.processes().length === 1, 15_000);
    await sidecar.serves("it serves", 15_000);
    await pause(settleMs);
    const end = await load.end();
    const lost = cost === "nothing" ? end.lost : [];
    const faults = [...end.broken, ...lost, ...(await oneLeft(world))].slice(0, 20);
    return { note: `after ${tookMs} ms: ${outcome.slice(0, 80)}; ${figures(end)}`, faults };
  };
}

function wake(pid: number): void {
  try {
    process.kill(pid, "SIGCONT");
  } catch {
    // it was killed meanwhile
  }
}

// ---- strangers ----

async function strangers(world: UpgradeWorld): Promise<Said> {
  const { sidecar } = world;
  const calls = await openSystemCalls();
  const path = join(sidecar.state, "upgrade.sock");
  const held: number[] = [];
  let over = false;
  const calling = (async () => {
    while (!over) {
      try {
        if (existsSync(path) && held.length < 20) held.push(calls.connectTo(path));
      } catch {
        // nobody listens, or as many wait as may
      }
      await pause(20);
    }
  })();
  try {
    const said = await upgraded(world);
    const turned = sidecar.output().split("a stranger at the socket").length - 1;
    const faults = held.length > 0 && turned > 0 ? [] : [`${held.length} called, and ${turned} were turned away`];
    return { note: `${turned} strangers turned away; ${said.note}`, faults: [...said.faults, ...faults] };
  } finally {
    over = true;
    await calling;
    for (const socket of held) calls.close(socket);
  }
}

/** Where others could come if the state directory let them, which the folder for temporary files need not be. */
async function foreign(seed: number): Promise<TrialEnd> {
  const place = mkdtempSync("/tmp/upgrade-foreign-");
  try {
    return await under({ seed, state: join(place, "state") }, (world) => foreigner(world, place));
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** The directory keeps others out; here it is opened to them, and the socket still turns them away. */
async function foreigner(world: UpgradeWorld, place: string): Promise<Said> {
  const { sidecar } = world;
  const path = join(sidecar.state, "upgrade.sock");
  const script = `
import socket, sys, time
end = time.time() + 30
while time.time() < end:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        s.connect(sys.argv[1])
        s.settimeout(10)
        print("connected", s.recv(1000) == b"")
        break
    except PermissionError:
        print("kept out", flush=True)
    except OSError:
        pass
    time.sleep(0.005)
`;
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", script, path];
  const child = spawn("setpriv", words, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (piece) => {
    output += String(piece);
  });
  // By now the state directory is all that keeps it out.
  chmodSync(place, 0o755);
  const opened = setInterval(() => {
    if (!output.includes("kept out")) return;
    chmodSync(sidecar.state, 0o755);
    if (existsSync(path)) chmodSync(path, 0o777);
  }, 5);
  try {
    const said = await upgraded(world);
    await eventually("it has called", () => child.exitCode !== null, 30_000);
    const faults = [
      ...(output.includes("kept out") ? [] : ["the directory keeps nobody out"]),
      ...(output.includes("connected True") ? [] : [`it was not turned away: ${output.slice(-200)}`]),
    ];
    return { note: said.note, faults: [...said.faults, ...faults] };
  } finally {
    clearInterval(opened);
    child.kill("SIGKILL");
    if (existsSync(sidecar.state)) chmodSync(sidecar.state, 0o700);
  }
}

// ---- a full disk ----

async function fullDisk(seed: number, when: "before" | "in the midst"): Promise<TrialEnd> {
  const place = join(process.env["TMPDIR"] ?? "/tmp", `upgrade-disk-${process.pid}`);
  mkdirSync(place);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", place]);
  try {
    if (mounted.status !== 0) return { note: "", faults: [`no tmpfs: ${mounted.stderr}`] };
    await using world = await UpgradeWorld.open({ seed, state: join(place, "state") });
    const { sidecar } = world;
    const load = await world.load(light);
    await pause(settleMs);
    const filler = join(place, "filler");
    const fill = (): void => {
      const { bavail, bsize } = statfsSync(place);
      writeFileSync(filler, Buffer.alloc(bavail * bsize));
    };
    if (when === "before") fill();
    let isOver = false;
    const upgrading = sidecar
      .upgrade()
      .then(
        ({ ms }) => `upgraded in ${ms} ms`,
        (error: unknown) => messageOf(error),
      )
      .finally(() => {
        isOver = true;
      });
    if (when === "in the midst") {
      // It has found room, and the new process loads its code.
      await eventually(
        "it waits for the new process",
        () => isOver || existsSync(join(place, "state", "upgrade.sock")),
      );
      fill();
      await pause(6_000);
    } else await pause(settleMs);
    rmSync(filler);
    const outcome = await upgrading;
    await sidecar.serves("it can be told what to do", 20_000);
    const end = await load.end();
    const isRefused = when === "before" ? outcome.includes("no space left") : !outcome.startsWith("upgraded");
    const faults = [
      ...(isRefused ? [] : [`it was not refused: ${outcome}`]),
      ...[...end.broken, ...end.lost, ...(await oneLeft(world))].slice(0, 20),
    ];
    return { note: `${outcome.slice(0, 90)}; ${figures(end)}`, faults };
  } finally {
    spawnSync("umount", ["-l", place]);
    rmSync(place, { recursive: true, force: true });
  }
}

// ---- without a way to move connections ----

/** Nothing is lost while callers go by themselves; those that stay are cut at the deadline, and what they had under way then is all that fails. */
async function drained(seed: number, stay: boolean): Promise<TrialEnd> {
  await using world = await UpgradeWorld.open({ seed, fault: "without-koffi", faultAtOnce: true });
  const { sidecar } = world;
  const load = await world.load(light);
  await pause(settleMs);
  const before = sidecar.pid;
  const upgrading = sidecar.upgrade(SidecarProcess.program({ fault: true }));
  upgrading.catch(() => {}); // it is awaited below
  if (stay) await upgrading;
  await pause(3_000);
  const end = await load.end();
  const { ms, stayed, cut } = await upgrading;
  const faults = [
    ...end.broken,
    ...(stay ? [] : end.lost),
    ...(sidecar.pid === before ? ["it is the same process"] : []),
    ...(sidecar.output().includes("connections cannot be moved here") ? [] : ["the log does not say why"]),
  ];
  const code = await sidecar.end();
  if (code !== undefined && code !== 0) faults.push(`it ended with ${code}`);
  const note = `${ms} ms, stayed ${JSON.stringify(stayed)}, cut ${JSON.stringify(cut)}; ${figures(end)}`;
  return { note, faults: faults.slice(0, 20) };
}

// ---- thousands ----

const crowdProcesses = 2;
const crowdEach = 2_500;
const deafMs = 1_500;

async function crowd(seed: number): Promise<TrialEnd> {
  await using world = await UpgradeWorld.open({ seed, fault: `deaf:${deafMs}` });
  const { sidecar } = world;
  const callers = Array.from({ length: crowdProcesses }, () => openCrowd(sidecar.ports.outbound, crowdEach));
  world.defer(() => {
    for (const { child } of callers) child.kill("SIGKILL");
  });
  const count = crowdProcesses * crowdEach;
  const first = await Promise.all(callers.map(({ next }) => next()));
  const load = await world.load(light);
  await pause(settleMs);
  const notes: string[] = [`${Math.round(sidecar.pssMib())} MiB PSS before`];
  const faults: string[] = first.flatMap(({ answered }) =>
    answered === crowdEach ? [] : [`${answered} of ${crowdEach} answered`],
  );
  for (const fault of [true, false]) {
    const peak = watchMemory(sidecar);
    const { moved, stillMs, loopMs, ms } = (await callControl(
      controlPath(sidecar.state),
      "upgrade",
      { program: SidecarProcess.program({ fault }) },
      { timeoutMs: 120_000 },
    )) as UpgradeEnd;
    await sidecar.report();
    notes.push(
      `${fault ? "deaf: " : ""}${moved} moved in ${ms} ms, still ${stillMs} ms, loop ${loopMs} ms, ${peak()} MiB PSS at most`,
    );
    if (moved < count) faults.push(`${moved} of ${count} moved`);
    if (loopMs >= 1_000) faults.push(`it took ${loopMs} ms of the old loop`);
    for (const caller of callers) {
      caller.child.stdin?.write("again\n");
      const { answered, closed } = await caller.next();
      if (answered !== crowdEach || closed > 0) faults.push(`${answered} of ${crowdEach} answered, ${closed} closed`);
    }
  }
  const end = await load.end();
  for (const { child } of callers) child.stdin?.end();
  const all = [...faults, ...end.broken, ...end.lost, ...(await oneLeft(world))].slice(0, 20);
  return { note: `${notes.join("; ")}; ${figures(end)}`, faults: all };
}

interface Crowd {
  readonly child: ChildProcess;
  readonly next: () => Promise<{ readonly answered: number; readonly closed: number }>;
}

function openCrowd(port: number, count: number): Crowd {
  const file = join(import.meta.dirname, "crowd-caller.ts");
  const child = spawn(process.execPath, [file, String(port), String(count)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  return { child, next: async () => JSON.parse(String((await lines.next()).value)) };
}

/** The most that all processes of the sidecar have together. */
function watchMemory(sidecar: SidecarProcess): () => number {
  let most = 0;
  const look = setInterval(() => {
    most = Math.max(most, sidecar.pssMib());
  }, 50);
  return () => {
    clearInterval(look);
    return Math.round(most);
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
