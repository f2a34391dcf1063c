/** Dialling in a process that has few descriptors: endpoints get so many, and the rest stays free. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";

const openFiles = 128;

const program = `
  import { openSync } from "node:fs";
  import { dialTransport } from "${new URL("./tcp.ts", import.meta.url).href}";
  const options = { host: "127.0.0.1", port: Number(process.argv.at(-1)), timeoutMs: 5000 };
  const dials = Array.from({ length: ${2 * openFiles} }, () => new Promise((resolve) => {
    dialTransport(options, (transport, reason) => resolve(transport === undefined ? reason : "connected"));
  }));
  const outcomes = {};
  for (const outcome of await Promise.all(dials)) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  let free = 0;
  try { for (;; free++) openSync("/dev/null"); } catch { console.log(JSON.stringify({ outcomes, free })); }
  process.exit();`;

test("S16: endpoints that are dialled all at once leave the last descriptors, and who gets none is told why", {
  timeout: 30_000,
}, async () => {
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket.on("error", () => {})));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const words = [process.execPath, "--input-type=module", "-e", program, String(port)];
  const child = spawn("sh", ["-c", `ulimit -n ${openFiles}; exec "$0" "$@"`, ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { outcomes, free } = JSON.parse(await text(child.stdout));
  for (const socket of accepted) socket.destroy();
  server.close();
  assert.ok(outcomes["no descriptor is left for endpoints"] > 0, JSON.stringify(outcomes));
  assert.ok(free >= openFiles / 8, `${free} were left`);
  assert.ok(outcomes.connected >= openFiles / 2, `${outcomes.connected} endpoints were connected`);
});
