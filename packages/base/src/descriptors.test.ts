/** Descriptors run out in a process of its own, which may have few. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { firstReserved } from "./descriptors.ts";

const openFiles = 160;

/** A part with a port for traffic and an admin port, which dials one endpoint for each line it is sent and says what became of it. */
const part = `
  import { createServer, connect } from "node:net";
  import { createInterface } from "node:readline";
  import { systemClock } from "${new URL("./clock.ts", import.meta.url).href}";
  import { isReserved, onScarceDescriptors } from "${new URL("./descriptors.ts", import.meta.url).href}";
  import { openAdmin, textReply } from "${new URL("./admin/server.ts", import.meta.url).href}";
  const told = { caller: 0, endpoint: 0 };
  onScarceDescriptors((use) => told[use]++);
  const routes = new Map([["/told", () => textReply(JSON.stringify(told))]]);
  const admin = await openAdmin({ port: 0, clock: systemClock, routes });
  const traffic = createServer((socket) => { if (isReserved(socket)) socket.destroy(); });
  traffic.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ admin: admin.port, traffic: traffic.address().port })));
  for await (const port of createInterface(process.stdin)) {
    const socket = connect(Number(port), "127.0.0.1");
    const say = (code) => { console.log(JSON.stringify(code)); };
    socket.on("error", (error) => say(error.code));
    socket.on("connect", () => { const full = isReserved(socket, "endpoint"); if (full) socket.destroy(); say(full ? "full" : "ok"); });
  }`;

async function read(lines: AsyncIterator<string>): Promise<unknown> {
  return JSON.parse((await lines.next()).value as string);
}

async function opened(port: number, sockets: Socket[]): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  socket.on("error", () => {}); // turned away
  socket.resume();
  await Promise.race([once(socket, "connect"), once(socket, "close")]);
}

async function tellsOf(admin: number): Promise<{ caller: number; endpoint: number }> {
  const options = { headers: { connection: "close" }, signal: AbortSignal.timeout(2_000) };
  const answer = await fetch(`http://127.0.0.1:${admin}/told`, options);
  return (await answer.json()) as { caller: number; endpoint: number };
}

async function end(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("S16: callers are turned away first, then endpoints, and the admin port answers however many ask", {
  timeout: 60_000,
}, async () => {
  const words = ["--input-type=module", "-e", part];
  const command = `ulimit -n ${openFiles}; exec "$0" "$@"`;
  const child = spawn("sh", ["-c", command, process.execPath, ...words], { stdio: ["pipe", "pipe", "inherit"] });
  const sockets: Socket[] = [];
  const provider = createServer((socket) => sockets.push(socket.on("error", () => {})));
  await once(provider.listen(0, "127.0.0.1"), "listening");
  try {
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const { admin, traffic } = (await read(lines)) as { admin: number; traffic: number };
    for (let caller = 0; caller < 2 * openFiles; caller++) await opened(traffic, sockets);
    const crowded = await tellsOf(admin);
    assert.ok(crowded.caller >= openFiles, `${crowded.caller} callers were told of`);
    const outcomes: unknown[] = [];
    for (let endpoint = 0; endpoint < openFiles; endpoint++) {
      child.stdin.write(`${(provider.address() as AddressInfo).port}\n`);
      outcomes.push(await read(lines));
    }
    assert.ok(outcomes.includes("ok"), "callers leave something for endpoints");
    assert.equal(outcomes.at(-1), "full", "endpoints leave something too");
    assert.deepEqual(new Set(outcomes), new Set(["ok", "full"]));
    for (let asker = 0; asker < openFiles; asker++) await opened(admin, sockets);
    for (const told of await Promise.all([1, 2, 3].map(() => tellsOf(admin)))) assert.ok(told.endpoint > 0);
  } finally {
    for (const socket of sockets) socket.destroy();
    provider.close();
    await end(child);
  }
});

test("a process keeps 64 descriptors back from callers and 32 from endpoints, or less if it may have few", () => {
  assert.equal(firstReserved(20_000, "caller"), 20_000 - 64);
  assert.equal(firstReserved(20_000, "endpoint"), 20_000 - 32);
  assert.deepEqual([firstReserved(128, "caller"), firstReserved(128, "endpoint")], [96, 112]);
  assert.equal(firstReserved(Number.POSITIVE_INFINITY, "caller"), Number.POSITIVE_INFINITY);
});
