/** What is asserted of a whole process: wrong configuration, ports taken, no descriptors left, thousands of idle connections. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Peer } from "@dualmesh/sidecar/request/testing";
import { type Dialect, dialects, eventually } from "./world.ts";

const program = join(import.meta.dirname, "..", "..", "packages/cli/src/main.ts");
const folder = mkdtempSync(join(tmpdir(), "hostile-"));
const children: ChildProcess[] = [];
after(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "close");
  }
  rmSync(folder, { recursive: true, force: true });
});

let runs = 0;

interface Run {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function run(part: "registry" | "sidecar", config: string, openFiles = 0): Run {
  const own = join(folder, String(++runs));
  const file = `${own}.yaml`;
  writeFileSync(file, `${config}\nstate: ${own}\n`);
  const words = [program, part, "run", "--config", file];
  const child =
    openFiles > 0
      ? spawn("sh", ["-c", `ulimit -n ${openFiles}; exec "$0" "$@"`, process.execPath, ...words])
      : spawn(process.execPath, words);
  children.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece) => (output += piece));
  return { child, output: () => output, ended: once(child, "close").then(() => child.exitCode) };
}

const sidecarYaml = (more = ""): string => `registry: { address: "127.0.0.1:1" }
outbound: { port: 0 }
inbound: { host: 127.0.0.1, port: 0 }
admin: { port: 0 }
doors: { zookeeper: { port: 0 }, mesh: false, eureka: { port: 0 }, http: { port: 0 } }
drain: { idleMs: 0, lingerMs: 0, maxMs: 500 }
${more}`;

interface Started extends Run {
  readonly outbound: number;
  readonly admin: string;
}

async function started(openFiles = 0, more = ""): Promise<Started> {
  const process = run("sidecar", sidecarYaml(more), openFiles);
  await eventually("it runs", () => process.output().includes('"msg":"running"'), 20_000);
  const value = (name: string): string => new RegExp(`"${name}":"?([^",}]+)`).exec(process.output())?.[1] ?? "";
  return { ...process, outbound: Number(value("outbound")), admin: value("admin") };
}

const wrong: readonly (readonly ["registry" | "sidecar", string, RegExp])[] = [
  ["sidecar", "timeouts:\n  frameMs: soon", /\.yaml:2:\d+: timeouts\.frameMs: expected a whole number/],
  ["sidecar", "limits:\n  connectons: 5", /\.yaml:2:3: limits\.connectons: unknown key; did you mean "connections"/],
  ["sidecar", "outbound: { host: 10.0.0.1 }", /\.yaml:1:\d+: outbound\.host: .*127\.0\.0\.0\/8/],
  ["sidecar", "directory: zookeeper", /\.yaml.*: zookeeper\.addresses: .*addresses of its servers/],
  ["sidecar", "directory: xds", /\.yaml:1:\d+: directory: .*later version/],
  ["registry", "stream: { port: 70000 }", /\.yaml:1:\d+: stream\.port: .*65,?535/],
  ["registry", "stream: [1, 2", /\.yaml:\d+:\d+/],
  ["registry", "__proto__: { port: 1 }", /__proto__/],
];

test("a wrong configuration ends with 3 and names file, line, key and what was expected", {
  timeout: 60_000,
}, async () => {
  for (const [part, config, expected] of wrong) {
    const { ended, output } = run(part, config);
    assert.equal(await ended, 3, config);
    assert.match(output(), expected);
  }
});

test("a port that is taken ends the process with 5, names it, and leaves nothing open", {
  timeout: 60_000,
}, async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const free = await new Promise<number>((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const found = (probe.address() as net.AddressInfo).port;
      probe.close(() => resolve(found));
    });
  });
  const configs: readonly (readonly ["registry" | "sidecar", string])[] = [
    [
      "sidecar",
      sidecarYaml()
        .replace("outbound: { port: 0 }", `outbound: { port: ${port} }`)
        .replace("port: 0 }\nadmin", `port: ${free} }\nadmin`),
    ],
    [
      "sidecar",
      sidecarYaml()
        .replace("admin: { port: 0 }", `admin: { port: ${port} }`)
        .replace("outbound: { port: 0 }", `outbound: { port: ${free} }`),
    ],
    [
      "sidecar",
      sidecarYaml()
        .replace("zookeeper: { port: 0 }", `zookeeper: { port: ${port} }`)
        .replace("outbound: { port: 0 }", `outbound: { port: ${free} }`),
    ],
    [
      "registry",
      `stream: { port: ${port} }\nadmin: { port: 0 }\ndoors: { zookeeper: { port: ${free} }, eureka: false, http: false }`,
    ],
  ];
  for (const [part, config] of configs) {
    const { ended, output } = run(part, config);
    assert.equal(await ended, 5, output());
    assert.match(output(), new RegExp(`127\\.0\\.0\\.1:${port}`));
    await assert.rejects(connect(free), "what had been opened before is closed");
  }
  server.close();
});

function connect(port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(socket));
    socket.on("error", reject);
  });
}

const dialect = dialects[0] as Dialect;

/** Answered, and be it that nobody provides the service. */
async function isServed(peer: Peer): Promise<void> {
  const count = peer.frames.length + 1;
  peer.send(dialect.request(count));
  await peer.received(count);
}

async function adminAnswers(admin: string): Promise<number> {
  const before = performance.now();
  for (const page of ["/healthz", "/metrics"]) {
    const response = await fetch(`http://${admin}${page}`, {
      signal: AbortSignal.timeout(2_000),
      headers: { connection: "close" },
    });
    await response.text();
    assert.equal(response.status, 200);
  }
  return performance.now() - before;
}

test("S16: without descriptors callers are turned away, admin and old connections answer within 2 s, and it recovers", {
  timeout: 60_000,
}, async () => {
  const { child, outbound, admin } = await started(256);
  const old = new Peer(await connect(outbound));
  await isServed(old);
  const crowd = await Promise.all(Array.from({ length: 600 }, () => connect(outbound).catch(() => undefined)));
  for (const socket of crowd) socket?.resume();
  await eventually("some are turned away", () => crowd.filter(isOpen).length <= 256);
  for (let round = 0; round < 3; round++) {
    assert.ok((await adminAnswers(admin)) < 2_000);
    await isServed(old);
  }
  assert.ok(crowd.filter(isOpen).length >= 100, "those for whom there was room stay");
  assert.equal(child.exitCode, null);
  for (const socket of crowd) socket?.destroy();
  await eventually("a new caller is served", async () => {
    const socket = await connect(outbound);
    const peer = new Peer(socket);
    peer.send(dialect.request(1));
    await eventually("served or closed", () => peer.frames.length > 0 || peer.closed);
    socket.destroy();
    return peer.frames.length > 0;
  });
  old.socket.destroy();
});

test("S16: whichever port uses them up, the last descriptors are left to the admin port, and it recovers", {
  timeout: 120_000,
}, async () => {
  const registryYaml =
    "stream: { port: 0 }\nadmin: { port: 0 }\ndoors: { zookeeper: { port: 0 }, eureka: { port: 0 }, http: { port: 0 } }\n";
  const doors =
    "doors: { zookeeper: { port: 0 }, mesh: { port: 0, outboundPort: 0 }, eureka: { port: 0 }, http: { port: 0 } }";
  const parts = [
    ["registry", registryYaml],
    ["sidecar", sidecarYaml().replace(/^doors: .*$/m, doors)],
  ] as const;
  for (const [part, config] of parts) {
    const running = run(part, config, 128);
    await eventually("it runs", () => running.output().includes('"msg":"running"'), 20_000);
    const admin = /"admin":"([^"]+)"/.exec(running.output())?.[1] ?? "";
    const ports = listeningPorts(running.child.pid as number).filter((port) => !admin.endsWith(`:${port}`));
    assert.ok(ports.length >= (part === "registry" ? 2 : 4), `${part} listens on ${ports.join(", ")}`);
    for (const port of ports) {
      const crowd = await Promise.all(Array.from({ length: 200 }, () => connect(port).catch(() => undefined)));
      for (const socket of crowd) socket?.resume();
      for (let round = 0; round < 3; round++) assert.ok((await adminAnswers(admin)) < 2_000, `${part}, port ${port}`);
      const kept = `${part}, port ${port}: a quarter is kept back`;
      await eventually(kept, () => crowd.filter(isOpen).length <= 96);
      assert.equal(running.child.exitCode, null);
      for (const socket of crowd) socket?.destroy();
      await eventually("a new caller stays", async () => {
        const socket = await connect(port);
        await adminAnswers(admin);
        const open = isOpen(socket);
        socket.destroy();
        return open;
      });
    }
    assert.match(running.output(), /"level":"error",.*nearly no file descriptors are left/);
  }
});

function isOpen(socket: net.Socket | undefined): boolean {
  return socket !== undefined && !socket.closed && !socket.readableEnded;
}

/** The TCP ports on which a process listens. */
function listeningPorts(pid: number): number[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
      const target = readlinkSync(`/proc/${pid}/fd/${name}`);
      return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [];
    }),
  );
  const lines = readFileSync(`/proc/${pid}/net/tcp`, "latin1").trim().split("\n").slice(1);
  const isListening = "0A";
  return lines.flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    if (fields[3] !== isListening || !inodes.has(fields[9] ?? "")) return [];
    return Number.parseInt((fields[1] ?? "").split(":")[1] ?? "", 16);
  });
}

/** Resident memory in MiB. */
function residentMib(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1]) / 1024;
}

test("S16: 5,000 idle connections cost less than 100 MiB, and the admin port answers within 2 s", {
  timeout: 60_000,
}, async () => {
  const { child, outbound, admin } = await started();
  const pid = child.pid as number;
  const before = residentMib(pid);
  const idle: net.Socket[] = [];
  for (let batch = 0; batch < 50; batch++)
    idle.push(...(await Promise.all(Array.from({ length: 100 }, () => connect(outbound)))));
  await eventually("all are accepted", async () => {
    const page = await (await fetch(`http://${admin}/metrics`)).text();
    return Number(/^dualmesh_downstream_connections (\d+)$/m.exec(page)?.[1]) === 5_000;
  });
  assert.ok((await adminAnswers(admin)) < 2_000);
  const peer = new Peer(idle[4_999] as net.Socket);
  await isServed(peer);
  const more = residentMib(pid) - before;
  assert.ok(more < 100, `${more} MiB for 5,000`);
  for (const socket of idle) socket.destroy();
});
