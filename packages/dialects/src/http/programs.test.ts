/** The door as programs in other languages use it: `examples/` in Python, Go and Node, as they are, over a real port. */
import assert from "node:assert/strict";
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { openHttpHost } from "@dualmesh/base/http/host";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { openHttpDoor } from "./door.ts";

const examples = join(import.meta.dirname, "../../../../examples");
const hasPython = run("python3", ["--version"]).status === 0;
const hasGo = run("go", ["version"]).status === 0;

function run(command: string, words: readonly string[], env = process.env): SpawnSyncReturns<string> {
  return spawnSync(command, words, { env, encoding: "utf8", timeout: 120_000 });
}

interface Said {
  readonly event: string;
  readonly started?: number;
  readonly calls?: readonly { readonly by: string; readonly error: string }[];
}

interface Running {
  readonly child: ChildProcess;
  readonly said: Said[];
  readonly errors: string[];
}

function start(command: readonly string[], role: string, environment: Readonly<Record<string, string>>): Running {
  const [program = "", ...words] = command;
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...environment };
  const child = spawn(program, [...words, role], { env, stdio: ["pipe", "pipe", "pipe"] });
  const running: Running = { child, said: [], errors: [] };
  createInterface({ input: child.stdout }).on("line", (line) => running.said.push(JSON.parse(line) as Said));
  createInterface({ input: child.stderr }).on("line", (line) => running.errors.push(line));
  child.stdin.on("error", () => {}); // it has ended, which is waited for elsewhere
  return running;
}

async function until(what: string, { errors }: Running, holds: () => boolean): Promise<void> {
  for (const end = systemClock.now() + 30_000; !holds(); await sleep(systemClock, 20)) {
    if (systemClock.now() > end) throw new Error(`waited in vain: ${what}\n${errors.join("\n")}`);
  }
}

/** Asks for an orderly end, as a supervisor that goes does: standard input ends. */
async function end(running: Running): Promise<void> {
  running.child.stdin?.end();
  await until(
    "an orderly end",
    running,
    () => running.child.exitCode !== null && running.said.at(-1)?.event === "ended",
  );
  assert.equal(running.child.exitCode, 0);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

async function play(provider: readonly string[], consumer: readonly string[]): Promise<void> {
  const directory = new MemoryDirectory({ clock: systemClock });
  const context = { directory, journal: new MemoryJournal(), clock: systemClock, random: systemRandom, log: silentLog };
  await using door = await openHttpDoor({ ...context, place: "sidecar", epoch: 1 });
  const host = await openHttpHost({
    host: "127.0.0.1",
    port: 0,
    service: door.handle,
    clock: systemClock,
    maxConnections: 100,
    maxBodyBytes: 65_536,
    onlyLocal: { names: [] },
  });
  const running: Running[] = [];
  const begin = (command: readonly string[], role: string, more: Readonly<Record<string, string>>): Running => {
    const one = start(command, role, { DUALMESH: `http://127.0.0.1:${host.port}`, ...more });
    running.push(one);
    return one;
  };
  try {
    const one = begin(provider, "provider", { NAME: "one", PORT: String(await freePort()) });
    await until("one is ready", one, () => one.said.some(({ event }) => event === "ready"));
    const caller = begin(consumer, "consumer", { NAME: "caller", RATE: "50" });
    const calls = () => caller.said.flatMap((line) => line.calls ?? []);
    const answeredBy = (name: string) => () => calls().some(({ by }) => by === name);
    await until("one is called", caller, answeredBy("one"));
    const two = begin(provider, "provider", { NAME: "two", PORT: String(await freePort()) });
    await until("two is called", caller, answeredBy("two"));
    await end(one);
    assert.deepEqual(
      directory.instances().map(({ application }) => application),
      ["two"],
    );
    two.child.kill("SIGKILL");
    await until("a killed one is withdrawn", caller, () => directory.instances().length === 0);
    await end(caller);
    const before = calls().slice(0, calls().findLastIndex(({ by }) => by !== "") + 1);
    assert.deepEqual(
      before.filter(({ error }) => error !== ""),
      [],
      "no call is lost while instances come and go in order",
    );
    assert.equal(caller.said.at(-1)?.started, calls().length);
  } finally {
    for (const { child } of running) child.kill("SIGKILL");
    await host.close();
  }
}

const node = [process.execPath, join(examples, "node/hello.ts")];
const python = ["python3", join(examples, "python/hello.py")];

test("a service in Python and its caller on Node", {
  skip: hasPython ? false : "no Python on this machine",
}, async () => {
  await play(python, node);
});

test("a service on Node and its caller in Python", {
  skip: hasPython ? false : "no Python on this machine",
}, async () => {
  await play(node, python);
});

test("a service and its caller in Go", { skip: hasGo ? false : "no Go on this machine" }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "go-"));
  try {
    const program = join(folder, "hello");
    const env = { ...process.env, GOFLAGS: "-mod=mod", GOPROXY: "off", GOTOOLCHAIN: "local" };
    const built = run("go", ["build", "-o", program, join(examples, "go/hello.go")], env);
    assert.equal(built.status, 0, built.stderr);
    await play([program], [program]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
