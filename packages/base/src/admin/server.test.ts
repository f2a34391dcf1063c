import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { systemClock } from "../clock.ts";
import { type Admin, type AdminOptions, type AdminRoute, jsonReply, openAdmin, textReply } from "./server.ts";

const routes = new Map<string, AdminRoute>([
  ["/healthz", () => textReply("ok\n")],
  ["/endpoints", async (query) => jsonReply({ service: query.get("service") })],
  ["/broken", () => Promise.reject(new Error("secret detail"))],
  ["/large", () => textReply("x".repeat(20_000_000))],
]);

async function withAdmin(options: Partial<AdminOptions>, use: (admin: Admin) => Promise<void>): Promise<void> {
  const admin = await openAdmin({ port: 0, routes, clock: systemClock, ...options });
  try {
    await use(admin);
  } finally {
    await admin.close();
  }
}

/** Sends `text` as it is; resolves with all that comes back until the connection is closed. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    socket.on("data", (piece) => {
      answer += piece;
    });
    socket.on("error", () => {}); // cut; "close" follows
    socket.on("close", () => resolve(answer));
    socket.write(text);
  });
}

const ask = (port: number, host: string, method = "GET"): Promise<string> =>
  raw(port, `${method} /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

test("pages are read by GET and HEAD, and nothing else is possible", async () => {
  await withAdmin({}, async ({ address }) => {
    const page = await fetch(`http://${address}/endpoints?service=a`);
    assert.deepEqual([page.status, await page.json()], [200, { service: "a" }]);
    assert.equal(page.headers.get("cache-control"), "no-store");
    const head = await fetch(`http://${address}/healthz`, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("content-length"), await head.text()], [200, "3", ""]);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const refused = await fetch(`http://${address}/healthz`, { method });
      assert.deepEqual([refused.status, refused.headers.get("allow")], [405, "GET, HEAD"]);
    }
    assert.equal((await fetch(`http://${address}/nothing`)).status, 404);
    const broken = await fetch(`http://${address}/broken`);
    assert.equal(broken.status, 500);
    assert.ok(!(await broken.text()).includes("secret detail"));
  });
});

test("S20: a name that was pointed here is refused, addresses and known names are not", async () => {
  await withAdmin({ hostNames: ["mesh.example"] }, async ({ port }) => {
    for (const host of ["127.0.0.1", `127.0.0.1:${port}`, "[::1]:1", "localhost", "LOCALHOST:80", "mesh.example"])
      assert.match(await ask(port, host), /^HTTP\/1\.1 200/, host);
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1.evil.example",
      "a@127.0.0.1",
      "localhost.",
      "[::1",
      "127.0.0.1, evil.example",
    ])
      assert.match(await ask(port, host), /^HTTP\/1\.1 4(21|00)/, host);
    assert.match(await raw(port, "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"), /^HTTP\/1\.1 400/);
    assert.match(await raw(port, "GET /healthz HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 421/);
    assert.equal(await raw(port, "CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
  });
});

test("S6: large heads and long URLs are refused", async () => {
  await withAdmin({}, async ({ port }) => {
    const long = `GET /${"a".repeat(3_000)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    assert.match(await raw(port, long), /^HTTP\/1\.1 414/);
    const wide = `GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ${"a".repeat(20_000)}\r\n\r\n`;
    assert.match(await raw(port, wide), /^HTTP\/1\.1 431/);
  });
});

test("S5: callers that never end their head, and those that never read, leave room for others", async () => {
  await withAdmin({ maxConnections: 8 }, async ({ port, address }) => {
    const slow: Socket[] = [];
    const open = async (text: string): Promise<void> => {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {}); // pushed out
      slow.push(socket.pause());
      await once(socket, "connect");
      socket.write(text);
    };
    for (let i = 0; i < 4; i++) await open("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (let i = 0; i < 20; i++) {
      await open("GET /healthz HTTP/1.1\r\nHost: loc");
      assert.equal((await fetch(`http://${address}/healthz`, { headers: { connection: "close" } })).status, 200);
    }
    for (const socket of slow) socket.destroy();
  });
});

test("a port that is taken is told as such", async () => {
  await withAdmin({}, async ({ port }) => {
    await assert.rejects(openAdmin({ port, routes, clock: systemClock }), { code: "listen.port-taken" });
  });
});
