/**
 * S5: clients that are slow in every phase of HTTP, hundreds at once, while another one is served. Each bound is stated where it is asserted.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { after, before, test } from "node:test";
import { ByteClient } from "./http-bytes.ts";
import { SidecarProcess } from "./http-process.ts";
import { eventually, mebibyte } from "./world.ts";

const missing = spawnSync("slowhttptest", ["-h"]).error ? "no slowhttptest on this machine (apt-get install)" : false;

const bigMib = 64;
const piece = Buffer.alloc(mebibyte, "x");

/** `/big` is 64 MiB, `/eight` 8 MiB, `/some` 1 MiB; the rest is short. Bodies are taken. */
const server = http.createServer((request, response) => {
  request.resume();
  if (request.url === "/big" || request.url === "/eight") {
    let left = request.url === "/big" ? bigMib : 8;
    response.setHeader("content-length", left * mebibyte);
    const more = (): void => {
      while (left > 0) {
        left--;
        if (!response.write(piece)) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
  } else if (request.url === "/some") response.end(piece);
  else request.on("end", () => response.end("fine"));
});

/** `/socket` switches, and then sends 64 MiB. */
server.on("upgrade", (_request, socket) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  for (let sent = 0; sent < bigMib; sent++) socket.write(piece);
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
});

const headMs = 2_000;
const bodyMs = 2_000;
const responseMs = 4_000;
/** Deadlines are looked at once a second; the rest is for a machine that is busy. */
const slackMs = 3_000;
const partialMib = 4;

let sidecar: SidecarProcess;
before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const timeouts = `timeouts: { httpHeadMs: ${headMs}, httpBodyMs: ${bodyMs}, defaultMs: ${responseMs}, httpKeepAliveMs: 30000 }`;
  const limits = `limits: { partialFramesBytes: ${partialMib * mebibyte} }`;
  sidecar = await SidecarProcess.open((server.address() as net.AddressInfo).port, `${timeouts}\n${limits}`);
});
after(async () => {
  await sidecar[Symbol.asyncDispose]();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;

async function connections(): Promise<number> {
  return (await sidecar.figures("dualmesh_downstream_connections"))[0] as number;
}

/** Asks one thing after the other on a connection of its own until `over`; the longest wait in milliseconds. */
async function askUntil(
  over: Promise<unknown>,
  url = sidecar.url,
): Promise<{ asked: number; longestMs: number; partialBytes: number }> {
  let isOver = false;
  void over.finally(() => {
    isOver = true;
  });
  const client = await ByteClient.connect(url);
  let [asked, longestMs, partialBytes] = [0, 0, 0];
  while (!isOver) {
    const from = performance.now();
    client.text = "";
    await client.send(get("/"));
    const [answer] = await client.answers(["GET"]);
    assert.equal(answer?.status, 200, client.text);
    longestMs = Math.max(longestMs, performance.now() - from);
    asked++;
    if (asked % 20 === 0)
      partialBytes = Math.max(partialBytes, (await sidecar.figures("dualmesh_partial_frame_bytes"))[0] as number);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  client.socket.destroy();
  return { asked, longestMs, partialBytes };
}

// First, while nothing else has filled the memory of the process.
test("5,000 connections at rest after a request cost at most 16 KiB each", { timeout: 60_000 }, async (t) => {
  await askUntil(new Promise((resolve) => setTimeout(resolve, 500)));
  const before = sidecar.residentMib;
  const clients: ByteClient[] = [];
  for (let batch = 0; batch < 50; batch++) {
    const some = await Promise.all(Array.from({ length: 100 }, () => ByteClient.connect(sidecar.url)));
    await Promise.all(some.map((client) => client.send(get(`/${batch}`))));
    await Promise.all(some.map((client) => client.answers(["GET"])));
    clients.push(...some);
  }
  assert.equal(await connections(), 5_000);
  assert.ok(clients.every((client) => !client.over));
  const from = performance.now();
  const last = clients.at(-1) as ByteClient;
  last.text = "";
  await last.send(get("/again"));
  assert.equal((await last.answers(["GET"]))[0]?.status, 200);
  assert.ok(performance.now() - from < 1_000, "one of them is answered within 1 s");
  const each = ((sidecar.residentMib - before) * 1024) / 5_000;
  t.diagnostic(`${each.toFixed(1)} KiB each`);
  assert.ok(each <= 16, `${each} KiB each`);
  for (const { socket } of clients) socket.destroy();
});

/** What the kernel takes of a response (megabytes) has left the sidecar: slow readers need a longer one. */
const attacks: readonly string[] = [
  "-H -c 200 -i 1 -u URL/",
  "-B -c 200 -i 1 -s 8192 -u URL/",
  "-X -c 50 -w 16 -y 64 -n 1 -z 5 -k 1 -u URL/eight",
  "-R -c 200 -a 10 -b 3000 -u URL/some",
];

test("hundreds of clients in each of slowhttptest's four ways do not keep one request waiting for 1 s, and are cut in time", {
  skip: missing,
  timeout: 60_000,
}, async (t) => {
  const attack = Promise.all(
    attacks.map(async (words) => {
      const common = ["-r", "100", "-l", "10", "-p", "3", "-v", "1"];
      const child = spawn("slowhttptest", [...common, ...words.replace("URL", sidecar.url).split(" ")], {
        stdio: "ignore",
      });
      await once(child, "exit");
    }),
  );
  const before = sidecar.residentMib;
  const direct = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const [{ asked, longestMs, partialBytes }, control] = await Promise.all([askUntil(attack), askUntil(attack, direct)]);
  const grown = sidecar.residentMib - before;
  const [slow, cut] = [await sidecar.event("slow_frame"), await sidecar.event("downstream_cut")];
  t.diagnostic(`slow heads ${slow}, slow readers ${cut}`);
  t.diagnostic(
    `${asked} requests, the slowest ${longestMs.toFixed(0)} ms (past the sidecar ${control.longestMs.toFixed(0)} ms); ${partialBytes} bytes of partial heads; ${grown.toFixed(0)} MiB more`,
  );
  assert.ok(asked > 50, `${asked} requests were answered`);
  // A machine that is busy keeps requests waiting that go past the sidecar, too.
  const most = 1_000 + control.longestMs;
  assert.ok(longestMs < most, `the slowest took ${longestMs} ms, and past the sidecar ${control.longestMs} ms`);
  assert.ok(partialBytes <= partialMib * mebibyte, `${partialBytes} bytes of partial heads`);
  // 50 slow readers hold at most 256 KiB and what one read brought, each, and the process its garbage.
  assert.ok(grown < 150, `${grown} MiB more`);
  assert.ok(slow >= 100, `${slow} slow heads were given up`);
  assert.ok(cut >= 25, `${cut} slow readers were cut`);
  await eventually("nothing is left", async () => (await connections()) === 0, responseMs + slackMs);
});

test("each phase has its deadline: a head, a body, a response that is not taken, a promise to go on", {
  timeout: 60_000,
}, async () => {
  const phases: readonly (readonly [string, string, number])[] = [
    ["a head", "GET / HTTP/1.1\r\nHost: h\r\nX: ", headMs],
    ["a body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello", bodyMs],
    ["a chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", bodyMs],
    ["a chunk's size", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5", bodyMs],
    ["a trailer", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", bodyMs],
    ["a body after 100", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", bodyMs],
    ["a response", get("/big"), bodyMs],
  ];
  await Promise.all(
    phases.map(async ([name, bytes, limitMs]) => {
      const client = await ByteClient.connect(sidecar.url);
      if (name === "a response") client.socket.pause();
      const from = performance.now();
      await client.send(bytes);
      if (name === "a response") {
        const cut = await sidecar.event("downstream_cut");
        await eventually(name, async () => (await sidecar.event("downstream_cut")) > cut, limitMs + slackMs);
      } else {
        await client.until(`the end of ${name}`, () => client.over, limitMs + slackMs);
        assert.match(client.text, /HTTP\/1\.1 408 /, name);
      }
      assert.ok(performance.now() - from > limitMs - 100, `${name} had its time`);
      client.socket.destroy();
    }),
  );
  await eventually("nothing is left", async () => (await connections()) === 0, slackMs);
});

const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
const greedy: Readonly<Record<string, string>> = {
  "100 clients that take nothing of 64 MiB each": get("/big"),
  "100 WebSockets that take nothing of 64 MiB each": `GET /socket HTTP/1.1\r\nHost: h\r\n${upgrade}\r\n`,
};

for (const [name, request] of Object.entries(greedy)) {
  test(`${name} cost less than 100 MiB, and are cut`, { timeout: 60_000 }, async (t) => {
    const before = sidecar.residentMib;
    const cut = await sidecar.event("downstream_cut");
    const clients = await Promise.all(Array.from({ length: 100 }, () => ByteClient.connect(sidecar.url)));
    for (const client of clients) {
      client.socket.pause();
      await client.send(request);
    }
    let most = 0;
    await eventually(
      "all are cut",
      async () => {
        most = Math.max(most, sidecar.residentMib - before);
        return (await sidecar.event("downstream_cut")) - cut === 100;
      },
      bodyMs + 2 * slackMs,
    );
    t.diagnostic(`${most.toFixed(0)} MiB more, of 6,400 that were asked for`);
    assert.ok(most < 100, `${most} MiB`);
    for (const { socket } of clients) socket.destroy();
  });
}

test("clients that vanish in any phase leave nothing behind", { timeout: 60_000 }, async () => {
  const whole = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n";
  for (const how of ["reset", "destroyed", "ended"] as const) {
    await Promise.all(
      Array.from({ length: whole.length }, async (_, length) => {
        const { socket } = await ByteClient.connect(sidecar.url);
        socket.write(whole.slice(0, length + 1));
        await new Promise(setImmediate);
        if (how === "reset") socket.resetAndDestroy();
        else if (how === "destroyed") socket.destroy();
        else socket.end();
      }),
    );
    for (let number = 0; number < 20; number++) {
      const client = await ByteClient.connect(sidecar.url);
      await client.send(get("/big"));
      await client.until("a first byte", () => client.text.length > number * 10_000);
      if (how === "reset") client.socket.resetAndDestroy();
      else client.socket.destroy();
    }
  }
  await eventually("no exchange and no caller is left", async () => {
    const left = await sidecar.figures(
      "dualmesh_downstream_connections",
      "dualmesh_requests_in_flight",
      "dualmesh_partial_frame_bytes",
    );
    return left.every((value) => value === 0);
  });
});
