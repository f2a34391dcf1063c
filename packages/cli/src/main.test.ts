import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { commands } from "./commands.ts";
import { openHome, program, type Running } from "./testing.ts";

const anyPorts = ["stream", "admin", "zookeeper", "eureka", "http"].flatMap((port) => [`--${port}-port`, "0"]);

test("every command has a help with usage, flags, exit codes and an example", async () => {
  await using home = await openHome();
  const overview = await home.run("--help");
  assert.equal(overview.code, 0);
  for (const command of commands) {
    assert.ok(overview.stdout.includes(command.name));
    const { code, stdout } = await home.run(...command.name.split(" "), "--help");
    assert.equal(code, 0, command.name);
    assert.match(stdout, new RegExp(`Usage: dualmesh ${command.name}`));
    assert.match(stdout, /Exit codes?:/);
    if ("flags" in command)
      for (const { name } of command.flags)
        assert.ok(stdout.includes(`--${name} `) || stdout.includes(`--${name}\n`), name);
  }
});

test("what is wrong with the words is said, with what was meant, and ends with 2", async () => {
  await using home = await openHome();
  const wrong: [string[], RegExp][] = [
    [[], /Usage/],
    [["registry"], /needs a verb: registry run/],
    [["regstry", "run"], /did you mean "registry run"/],
    [["registry", "run", "--strem-port", "1"], /did you mean --stream-port/],
    [["registry", "run", "--stream-port"], /needs a value/],
    [["registry", "run", "--state", "a", "--state", "b"], /given twice/],
    [["registry", "run", "extra"], /"extra" is not expected/],
    [["status", "--registry", "nowhere"], /HOST:PORT/],
    [["status", "--sidecar", "127.0.0.1:0"], /the port from 1 to 65535, got "127\.0\.0\.1:0"/],
    [["status", "--sidecar", "127.0.0.1:65536"], /the port from 1 to 65535/],
  ];
  for (const [words, expected] of wrong) {
    const { code, stderr, stdout } = await home.run(...words);
    assert.equal(code, 2, words.join(" "));
    assert.match(stderr, expected);
    assert.equal(stdout, "");
  }
});

test("an answer that is longer than a pipe holds arrives whole", async () => {
  await using home = await openHome();
  const file = join(home.path, "sidecar.yaml");
  const filler = "x".repeat(190);
  const lines = Array.from(
    { length: 1_000 },
    (_, index) => `- { service: ${filler}-${index}, port: 1, host: ${filler} }\n`,
  );
  await writeFile(file, `tcp:\n${lines.join("")}`);
  const words = [process.execPath, program, "sidecar", "run", "--config", file, "--print-config"];
  // A real pipe, of a shell: what Node gives its children is a pair of sockets, which takes everything at once. Its reader is slow.
  const { stdout } = await promisify(execFile)("sh", ["-c", '"$0" "$@" | { sleep 1; cat; }', ...words], {
    maxBuffer: 8_388_608,
  });
  assert.equal(stdout.match(/x-\d+/g)?.length, 1_000);
  assert.match(stdout, /\nstate: \S+\n$/);
});

test("what is wrong with the configuration is said with file and line, and ends with 3", async () => {
  await using home = await openHome();
  const file = join(home.path, "registry.yaml");
  await writeFile(file, "stream:\n  prot: 1\n");
  const { code, stderr } = await home.run("registry", "run", "--config", file, "--admin-port", "x");
  assert.equal(code, 3);
  assert.match(stderr, /registry\.yaml:2:3: stream\.prot: unknown key; did you mean "port"\?/);
  assert.match(stderr, /--admin-port: admin\.port: expected a whole number/);
  assert.equal((await home.run("registry", "run", "--config", join(home.path, "none.yaml"))).code, 3);
});

test("the printed configuration reads back as itself", async () => {
  await using home = await openHome();
  const first = await home.run("registry", "run", "--stream-port", "1234", "--log-level", "warn", "--print-config");
  assert.match(first.stdout, /port: 1234/);
  const file = join(home.path, "printed.yaml");
  await writeFile(file, first.stdout);
  const second = await home.run("registry", "run", "--config", file, "--print-config");
  assert.deepEqual([second.code, second.stdout], [0, first.stdout]);
});

test("a registry runs, shows itself in status by socket and by address, refuses a second one, and ends in order", async () => {
  await using home = await openHome();
  const registry = home.start("registry", "run", ...anyPorts);
  await registry.saw('"msg":"running"');
  const here = await home.run("status", "--json");
  const report = JSON.parse(here.stdout).find(({ pid }: { pid: number }) => pid === registry.child.pid);
  assert.deepEqual(
    [report.part, report.pid, report.state],
    ["registry", registry.child.pid, join(home.path, "dualmesh", "registry")],
  );
  const byAddress = await home.run("status", "--registry", report.admin);
  assert.equal(byAddress.code, 0);
  assert.match(byAddress.stdout, /^registry /);
  assert.equal((await home.run("status", "--sidecar", report.admin)).code, 7);
  assert.equal((await fetch(`http://${report.admin}/readyz`)).status, 200);
  const second = await home.run("registry", "run", ...anyPorts);
  assert.equal(second.code, 4);
  assert.match(second.stderr, new RegExp(`in use by process ${registry.child.pid}: .* with --state`));
  registry.child.kill("SIGTERM");
  assert.equal(await registry.ended(), 0);
  assert.equal((await home.run("status", "--state", join(home.path, "dualmesh", "registry"))).code, 7);
  assert.ok(!(await home.run("status", "--json")).stdout.includes(home.path));
});

test("a port that is taken ends with 5, a state directory that cannot be used with 6", async () => {
  await using home = await openHome();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const taken = await home.run("registry", "run", ...anyPorts.slice(2), "--stream-port", String(port));
  assert.deepEqual([taken.code, taken.stderr.includes(String(port))], [5, true]);
  server.close();
  const file = join(home.path, "file");
  await writeFile(file, "");
  assert.equal((await home.run("registry", "run", "--state", join(file, "state"), ...anyPorts)).code, 6);
});

/** The child of a supervisor, from the process table. */
async function childOf(running: Running): Promise<number> {
  const pid = running.child.pid;
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return Number(text.trim().split(" ")[0]);
}

async function gone(pid: number): Promise<void> {
  const deadline = performance.now() + 5_000;
  while ((await readdir("/proc")).includes(String(pid))) {
    if (performance.now() > deadline) throw new Error(`process ${pid} is still there`);
    await sleep(systemClock, 10);
  }
}

test("flags set keys that exist, and each part's printed configuration reads back", async () => {
  await using home = await openHome();
  const { schemaAt } = await import("@dualmesh/base/config/schema");
  const { registryPart } = await import("./run/registry.ts");
  const { sidecarPart } = await import("./run/sidecar.ts");
  for (const part of [registryPart, sidecarPart]) {
    const command = commands.find(({ name }) => name === `${part.name} run`);
    assert.ok(command !== undefined && "flags" in command);
    for (const { name, key } of command.flags) {
      const isOfEveryPart = key === undefined || key[0] === "state" || key[0] === "log";
      assert.ok(isOfEveryPart || schemaAt(part.schema, key) !== undefined, `${part.name} --${name}`);
    }
    const file = join(home.path, `${part.name}.yaml`);
    const { stdout } = await home.run(part.name, "run", "--print-config");
    await writeFile(file, stdout);
    assert.equal((await home.run(part.name, "run", "--config", file, "--print-config")).stdout, stdout);
  }
});

test("a supervised sidecar without a registry comes back after kill -9 and ends in order", async () => {
  await using home = await openHome();
  const file = join(home.path, "sidecar.yaml");
  await writeFile(
    file,
    `registry: { address: "127.0.0.1:1" }
outbound: { port: 0 }
inbound: { port: 0 }
admin: { port: 0 }
doors: { zookeeper: { port: 0 }, mesh: false, eureka: { port: 0 }, http: { port: 0 } }
drain: { idleMs: 0, lingerMs: 0 }
`,
  );
  const supervisor = home.start("sidecar", "run", "--supervised", "--config", file);
  await supervisor.saw('"msg":"running"');
  process.kill(await childOf(supervisor), "SIGKILL");
  await supervisor.saw('"msg":"running"', 2);
  const { stdout } = await home.run("status", "--json", "--state", join(home.path, "dualmesh", "sidecar"));
  const [{ part, admin }] = JSON.parse(stdout);
  assert.equal(part, "sidecar");
  assert.equal((await fetch(`http://${admin}/healthz`)).status, 200);
  assert.equal((await home.run("status", "--sidecar", admin)).code, 0);
  supervisor.child.kill("SIGTERM");
  assert.equal(await supervisor.ended(), 0);
});

test("a supervised part is started again within a second of kill -9, and ends with its supervisor", async () => {
  await using home = await openHome();
  const supervisor = home.start("registry", "run", "--supervised", ...anyPorts);
  await supervisor.saw('"msg":"running"');
  const first = await childOf(supervisor);
  process.kill(first, "SIGKILL");
  const killed = performance.now();
  await supervisor.saw("started again");
  await gone(first);
  let second = 0;
  while (!(second > 0)) second = await childOf(supervisor);
  assert.ok(performance.now() - killed < 1_000);
  await supervisor.saw('"msg":"running"', 2);
  const { stdout } = await home.run("status", "--json", "--state", join(home.path, "dualmesh", "registry"));
  assert.match(stdout, new RegExp(`"pid": ${second}`));
  supervisor.child.kill("SIGTERM");
  assert.equal(await supervisor.ended(), 0);
  await gone(second);
});

test("no child outlives a supervisor that is killed", async () => {
  await using home = await openHome();
  const supervisor = home.start("registry", "run", "--supervised", ...anyPorts);
  await supervisor.saw('"msg":"running"');
  const child = await childOf(supervisor);
  supervisor.child.kill("SIGKILL");
  await gone(child);
});

test("a supervisor whose child cannot start at all ends with the child's code", async () => {
  await using home = await openHome();
  assert.equal((await home.run("registry", "run", "--supervised", "--stream-port", "x")).code, 3);
});

test("status says what it met at an address where no part answers", async () => {
  await using home = await openHome();
  // Port 1 is one of those that `fetch` refuses to call.
  const nobody = await home.run("status", "--sidecar", "127.0.0.1:1");
  assert.equal(nobody.code, 7);
  assert.match(nobody.stderr, /127\.0\.0\.1:1\/status: connect ECONNREFUSED .*; is it the admin port of a sidecar/);
  const server = createHttpServer((_, response) => response.end("hello"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const other = await home.run("status", "--sidecar", `127.0.0.1:${port}`);
  assert.equal(other.code, 7);
  assert.match(other.stderr, /speaks no JSON; is it the admin port of a sidecar/);
  server.close();
});

test("status finds a part wherever its state is", async () => {
  await using home = await openHome();
  const registry = home.start("registry", "run", "--state", "else where", ...anyPorts);
  await registry.saw('"msg":"running"');
  const { stdout } = await home.run("status");
  assert.ok(stdout.includes(join(home.path, "else where")), stdout);
});

test("waits between restarts are a second at most for the first six deaths, then longer", async () => {
  const { restartWaitMs } = await import("./run/supervise.ts");
  const waits = Array.from({ length: 20 }, (_, index) => restartWaitMs(index + 1));
  assert.ok(waits.slice(0, 6).every((wait) => wait <= 1_000));
  assert.deepEqual(
    waits,
    waits.toSorted((a, b) => a - b),
  );
  assert.equal(waits.at(-1), 30_000);
});

test("the state goes to the usual place, and beside the working directory where that cannot be written", async () => {
  await using home = await openHome();
  const { stateRoots } = await import("./state-path.ts");
  assert.equal(stateRoots({ XDG_STATE_HOME: "/a" })[0], "/a/dualmesh");
  assert.match(stateRoots({ XDG_STATE_HOME: "relative" })[0], /\.local\/state\/dualmesh$/);
  await mkdir(join(home.path, "dualmesh"));
  const { stdout } = await home.run("registry", "run", "--print-config");
  assert.ok(stdout.includes(`state: ${join(home.path, "dualmesh", "registry")}`));
});
