/**
 * A server that lies about where its answers end: each client gets one answer for each request or a connection that is cut, and never what was meant
 * for somebody else. (A server that answers twice, the second time while the next request is on its way, cannot be told from one that
 * answers that request: HTTP/1.1 has no ids. What comes at rest, or together with an answer, is recognised.)
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { RawServer } from "@dualmesh/sidecar/request/http-testing";
import { responseCorpus } from "@dualmesh/wire/http1/corpus";
import { answersIn, ByteClient } from "./http-bytes.ts";
import { HttpMesh, type Route } from "./http-mesh.ts";
import { eventually } from "./world.ts";

interface Lie {
  readonly name: string;
  readonly bytes: Buffer;
  readonly to?: "GET" | "HEAD" | "CONNECT";
}

const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
const lie = (name: string, text: string, to?: "HEAD"): Lie => ({
  name,
  bytes: Buffer.from(text, "latin1"),
  ...(to === undefined ? {} : { to }),
});
const status = (line: string, fields: string, body: string): string => `HTTP/1.1 ${line}\r\n${fields}\r\n${body}`;

const lies: readonly Lie[] = [
  ...responseCorpus.filter(({ to }) => to !== "CONNECT"),
  lie("two answers at once", evil + evil),
  lie("ten answers at once", evil.repeat(10)),
  lie("an answer behind a length that is too short", status("200 OK", "Content-Length: 0\r\n", evil)),
  lie("an answer behind the last chunk", status("200 OK", "Transfer-Encoding: chunked\r\n", `0\r\n\r\n${evil}`)),
  lie(
    "an answer in the place of the next chunk",
    status("200 OK", "Transfer-Encoding: chunked\r\n", `2\r\nhi\r\n${evil}`),
  ),
  lie(
    "a length and chunks",
    status("200 OK", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", `0\r\n\r\n${evil}`),
  ),
  lie("204 with a body", status("204 No Content", "Content-Length: 42\r\n", evil)),
  lie("204 in chunks", status("204 No Content", "Transfer-Encoding: chunked\r\n", `4\r\nevil\r\n0\r\n\r\n${evil}`)),
  lie("304 with a body", status("304 Not Modified", `Content-Length: ${evil.length}\r\n`, evil)),
  lie("304 in chunks", status("304 Not Modified", "Transfer-Encoding: chunked\r\n", `0\r\n\r\n${evil}`)),
  lie("HEAD with a body", status("200 OK", `Content-Length: ${evil.length}\r\n`, evil), "HEAD"),
  lie("HEAD in chunks", status("200 OK", "Transfer-Encoding: chunked\r\n", `4\r\nevil\r\n0\r\n\r\n${evil}`), "HEAD"),
  lie("404 to HEAD with a body until the end", status("404 Not Found", "", evil), "HEAD"),
  lie("an interim answer with a body", status("103 Early Hints", "Content-Length: 4\r\n", `evil${evil}`)),
  lie(
    "100 that nobody waits for, twice",
    `${status("100 Continue", "", "")}${status("100 Continue", "", "")}${evil}${evil}`,
  ),
  lie(
    "a switch that nobody asked for",
    status("101 Switching Protocols", "Connection: upgrade\r\nUpgrade: x\r\n", evil),
  ),
  lie("very many interim answers", status("103 Early Hints", "", "").repeat(5_000) + evil),
  lie("a head without an end", `HTTP/1.1 200 OK\r\nX: ${"a".repeat(70_000)}`),
  lie("very many fields", status("200 OK", "A: b\r\n".repeat(2_000), evil)),
  lie("very long extensions", status("200 OK", "Transfer-Encoding: chunked\r\n", `1;${"a=b;".repeat(1_000)}\r\n`)),
  lie("very many trailers", status("200 OK", "Transfer-Encoding: chunked\r\n", `0\r\n${"A: b\r\n".repeat(1_000)}\r\n`)),
  lie("half of its body", status("200 OK", "Content-Length: 100\r\n", evil)),
  lie("half of a chunk", status("200 OK", "Transfer-Encoding: chunked\r\n", `64\r\n${evil}`)),
  lie("nothing", ""),
];

let mesh: HttpMesh;
before(async () => {
  mesh = await HttpMesh.open({ timeouts: { defaultMs: 5_000 } });
});
after(() => mesh[Symbol.asyncDispose]());

/** Answers `/own/X` with X and keeps its connections; `/lie/N` with the lie of this number, and then says nothing more. */
async function openLiar(): Promise<RawServer> {
  return RawServer.open((peer) => {
    peer.socket.on("data", () => {
      for (;;) {
        const head = /^[A-Z]+ \/(own|lie)\/(\S+) HTTP[\s\S]*?\r\n\r\n/.exec(peer.text);
        if (head === null) return;
        peer.text = peer.text.slice(head[0].length);
        const [, kind, rest = ""] = head;
        if (kind === "own") peer.send(status("200 OK", `Content-Length: ${rest.length}\r\n`, rest));
        else {
          peer.send(lies[Number(rest)]?.bytes ?? "");
          peer.socket.end();
        }
      }
    });
    peer.socket.on("end", () => peer.socket.end());
  });
}

const get = (path: string, method = "GET"): string => `${method} ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;

/** A client that asks for its own things, one after the other, until `over`. Returns how many answers it got. */
async function askOwn(route: Route, name: string, over: () => boolean): Promise<number> {
  const client = await ByteClient.connect(route.url);
  let asked = 0;
  while (!over()) {
    const own = `${name}-${asked++}`;
    client.text = "";
    await client.send(get(`/own/${own}`));
    const [answer] = await client.answers(["GET"]);
    assert.equal(answer?.status, 200, client.text);
    assert.equal(answer.body, own);
  }
  client.socket.destroy();
  return asked;
}

for (const hops of ["one sidecar", "a pair"] as const) {
  describe(hops, () => {
    let server: RawServer;
    let route: Route;
    before(async () => {
      server = await openLiar();
      route = hops === "a pair" ? await mesh.pair(server.port) : await mesh.direct(server.port);
    });
    after(() => server[Symbol.asyncDispose]());

    test(`none of ${lies.length} lies is an answer too many, or reaches one of four others`, {
      timeout: 60_000,
    }, async () => {
      let over = false;
      const others = Array.from({ length: 4 }, (_, number) => askOwn(route, `client-${number}`, () => over));
      try {
        for (const [number, { name, to = "GET" }] of lies.entries()) {
          const client = await ByteClient.connect(route.url);
          const own = `behind-${number}`;
          await client.send(get(`/lie/${number}`, to) + get(`/own/${own}`));
          const answers = await client.answers([to, "GET"]);
          client.socket.end();
          await client.until(`the end (${name})`, () => client.over);
          const { left } = answersIn(client.text, [to, "GET"], false);
          assert.ok(answers.length <= 2, name);
          if (answers.length === 2) assert.deepEqual([answers[1]?.body, left], [own, ""], name);
          const { verdict } = responseCorpus.find((one) => one.name === name) ?? {};
          // What is refused before its head has been passed on is a 502 of the sidecar; later only the connection can be cut.
          if (verdict?.kind === "refuse" && answers.length > 0) assert.equal(answers[0]?.status, 502, name);
          else if (verdict?.kind === "refuse") assert.ok(client.over, name);
          client.socket.destroy();
        }
      } finally {
        over = true;
      }
      for (const asked of await Promise.all(others)) assert.ok(asked > 5, `${asked} answers`);
    });

    test("what a server says at rest is for nobody, and ends its connection", { timeout: 30_000 }, async () => {
      const client = await ByteClient.connect(route.url);
      for (let round = 0; round < 20; round++) {
        client.text = "";
        await client.send(get(`/own/first-${round}`));
        assert.equal((await client.answers(["GET"]))[0]?.body, `first-${round}`);
        const open = server.peers.filter(({ socket }) => !socket.destroyed);
        await delay(5); // the connection is at rest
        for (const peer of open) peer.send(evil);
        await eventually("they are closed", () => open.every((peer) => peer.ended || peer.closed));
      }
      client.socket.destroy();
    });
  });
}

test("2,000 GETs one after the other succeed, whenever the server closes its connections at rest", {
  timeout: 60_000,
}, async () => {
  let closed = 0;
  const server = await RawServer.open((peer, index) => {
    peer.socket.on("data", () => {
      for (let end = peer.text.indexOf("\r\n\r\n"); end >= 0; end = peer.text.indexOf("\r\n\r\n")) {
        peer.text = peer.text.slice(end + 4);
        peer.send(status("200 OK", "Content-Length: 2\r\n", "ok"));
        // Now and then it closes: at once, at the end of this turn, or a moment later, when the next request may be on its way.
        const when = (index * 7 + closed) % 5;
        if (++answered % 3 !== 0) continue;
        closed++;
        if (when === 0) peer.socket.end();
        else if (when === 1) peer.socket.destroySoon();
        else if (when === 2) setImmediate(() => peer.socket.end());
        else setTimeout(() => peer.socket.destroy(), (when - 3) * 2);
        return;
      }
    });
  });
  let answered = 0;
  for (const route of [await mesh.direct(server.port), await mesh.pair(server.port)]) {
    const client = await ByteClient.connect(route.url);
    for (let number = 0; number < 1_000; number++) {
      client.text = "";
      await client.send(get(`/${number}`));
      const [answer] = await client.answers(["GET"]);
      assert.equal(answer?.status, 200, `request ${number}: ${client.text}`);
    }
    client.socket.destroy();
  }
  assert.ok(closed > 500, `${closed} connections were closed`);
  await server[Symbol.asyncDispose]();
});
