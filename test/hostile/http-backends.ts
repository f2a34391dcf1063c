/** Servers that tell what they understood: Node's own, Tomcat, and nginx before Node's. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Taken, taken } from "./http-bytes.ts";

export interface Backend {
  readonly port: number;
  /** What has come whole since it was asked last. */
  taken(): Promise<readonly Taken[]>;
  close(): Promise<void>;
}

const host = "127.0.0.1";

/** `node:http` takes every request whole, notes it, and says the note in its answer. */
export async function openNode(): Promise<Backend> {
  let notes: Taken[] = [];
  const server = http.createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    try {
      for await (const piece of request) pieces.push(piece);
    } catch {
      return; // broke off: it was never a request
    }
    const note = taken(request.method ?? "", request.url ?? "", Buffer.concat(pieces));
    notes.push(note);
    response.end(`${Object.values(note).join("\t")}\n`);
  });
  server.listen(0, host);
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    async taken() {
      const all = notes;
      notes = [];
      return all;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Why there is no nginx here, or undefined. */
export function missingNginx(): string | undefined {
  return runs("nginx", "-v") ? undefined : "no nginx on this machine (apt-get install nginx-light)";
}

/** nginx reads each request whole before it sends it to Node's server, which tells what nginx understood. */
export async function openNginx(): Promise<Backend> {
  const folder = mkdtempSync(join(tmpdir(), "nginx-"));
  const behind = await openNode();
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  writeFileSync(
    file,
    `daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error warn;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(" ")}
  upstream behind { server ${host}:${behind.port}; keepalive 8; }
  server {
    listen ${host}:${port};
    location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  const child = spawn("nginx", ["-p", folder, "-e", `${folder}/error`, "-c", file], { stdio: "ignore" });
  await accepting(port, child);
  return {
    port,
    taken: () => behind.taken(),
    async close() {
      await ended(child);
      await behind.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const tomcatFolder = join(import.meta.dirname, "fixtures", "tomcat");

/** Builds the fixture if it is not built, or of other sources. Why there is no Tomcat here, or undefined. */
export function missingTomcat(): string | undefined {
  if (!runs("java", "-version")) return "no Java on this machine";
  const target = join(tomcatFolder, "target");
  const stamp = join(target, "sources.sha256");
  const sources = hashOf(tomcatFolder);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === sources) return undefined;
  if (!runs("mvn", "-version")) return "the Tomcat fixture is not built and there is no Maven on this machine";
  const options = { cwd: tomcatFolder, encoding: "utf8", timeout: 600_000 } as const;
  const maven = spawnSync("mvn", ["--batch-mode", "--quiet", "package"], options);
  if (maven.status !== 0)
    throw new Error(`the fixture does not build: ${maven.error?.message ?? ""}\n${maven.stdout}\n${maven.stderr}`);
  mkdirSync(target, { recursive: true });
  writeFileSync(stamp, sources);
  return undefined;
}

function hashOf(folder: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort())
    if (/\.(java|xml)$/.test(name) && !name.startsWith("target")) hash.update(readFileSync(join(folder, name)));
  return hash.digest("hex");
}

export async function openTomcat(): Promise<Backend> {
  const target = join(tomcatFolder, "target");
  const words = [
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Dsun.net.httpserver.nodelay=true",
  ];
  // It makes a folder of its own, and takes it away at its end.
  const own = [`-Djava.io.tmpdir=${tmpdir()}`, "-cp", `${join(target, "app.jar")}:${join(target, "lib")}/*`];
  const child = spawn("java", [...words, ...own, "hostile.Main"], { stdio: ["pipe", "pipe", "inherit"] });
  const ready = await new Promise<string>((resolve, reject) => {
    let output = "";
    child.stdout.on("data", (bytes) => {
      output += bytes;
      if (output.includes("\n")) resolve(output);
    });
    child.once("exit", (code) => reject(new Error(`Tomcat ended with ${code}`)));
  });
  const [, port, side] = /^ready (\d+) (\d+)/.exec(ready) ?? [];
  return {
    port: Number(port),
    async taken() {
      const text = await (await fetch(`http://${host}:${side}/`)).text();
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map(noteOf);
    },
    async close() {
      child.stdin.end();
      await once(child, "close");
    },
  };
}

function noteOf(line: string): Taken {
  const [method = "", target = "", length, hash = ""] = line.split("\t");
  return { method, target, length: Number(length), hash };
}

function runs(command: string, word: string): boolean {
  return spawnSync(command, [word], { stdio: "ignore", timeout: 30_000 }).status === 0;
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  server.listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function accepting(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = net.connect({ host, port });
    const connected = await new Promise((resolve) =>
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false)),
    );
    socket.destroy();
    if (connected) return;
    if (child.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${child.spawnfile} does not accept at port ${port}`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}
