/**
 * S8, S9 and the corners of HTTP: what an application reads in target, host and forwarded fields through one sidecar and through a pair, and where
 * one exchange could run into the next.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type RawPeer, RawServer } from "@dualmesh/sidecar/request/http-testing";
import { canonicalHost, canonicalPath } from "@dualmesh/wire/http1/canonical";
import { type CorpusCase, requestCorpus } from "@dualmesh/wire/http1/corpus";
import { ByteClient } from "./http-bytes.ts";
import { counted, HttpMesh, type Route } from "./http-mesh.ts";
import { eventually } from "./world.ts";

const answerMs = 1_500;

let mesh: HttpMesh;
before(async () => {
  mesh = await HttpMesh.open({ timeouts: { defaultMs: answerMs } });
});
after(() => mesh[Symbol.asyncDispose]());

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const get = (target: string, fields = "Host: h\r\n"): string => `GET ${target} HTTP/1.1\r\n${fields}\r\n`;

/** A server that keeps the heads that it was sent, and answers each. */
class Heads implements AsyncDisposable {
  readonly server: RawServer;
  readonly all: string[];

  private constructor(server: RawServer, all: string[]) {
    this.server = server;
    this.all = all;
  }

  static async open(): Promise<Heads> {
    const all: string[] = [];
    const onPeer = (peer: RawPeer): void =>
      void peer.socket.on("data", () => {
        for (let end = peer.text.indexOf("\r\n\r\n"); end >= 0; end = peer.text.indexOf("\r\n\r\n")) {
          all.push(peer.text.slice(0, end + 2));
          peer.text = peer.text.slice(end + 4);
          peer.send(ok);
        }
      });
    return new Heads(await RawServer.open(onPeer), all);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}

function fieldOf(head: string | undefined, name: string): string[] {
  return [...(head ?? "").matchAll(new RegExp(`^${name}: ?(.*?)\\r$`, "gim"))].map(([, value]) => value as string);
}

describe("S8, S9: what the application reads", () => {
  let heads: Heads;
  let routes: readonly Route[];
  before(async () => {
    heads = await Heads.open();
    routes = [await mesh.direct(heads.server.port), await mesh.pair(heads.server.port)];
  });
  after(() => heads[Symbol.asyncDispose]());

  /** The head that arrives through one sidecar, and through two; undefined where the request is refused. */
  async function through(request: string): Promise<(string | undefined)[]> {
    const arrived: (string | undefined)[] = [];
    for (const { url } of routes) {
      const client = await ByteClient.connect(url);
      const count = heads.all.length;
      await client.send(request);
      const [answer] = await client.answers(["GET"]);
      if (answer?.status !== 200) await client.until("the end after a refusal", () => client.over);
      client.socket.destroy();
      assert.equal(heads.all.length - count, answer?.status === 200 ? 1 : 0, request.slice(0, 200));
      arrived.push(answer?.status === 200 ? heads.all.at(-1) : undefined);
    }
    return arrived;
  }

  const targets: readonly string[] = [
    ...[
      "/a//b",
      "/a/./b/../c",
      "/%61/b",
      "/a%20b",
      "/a;x=1/b",
      "/%2e/a",
      "/a/%2E%2e/b",
      "/a%c3%a9",
      "/A/b",
      "/a/b/",
      "/a%252fb",
    ],
    ...[
      "/..",
      "/a/../../b",
      "/a%2fb",
      "/a%5cb",
      "/a\\b",
      "/..%2fb",
      "/a/..;/b",
      "/a%00b",
      "/a%",
      "/;x/a",
      "/a|b",
      "/a^b`c{d}",
    ],
  ];

  test("a path has one form, which is the canonical one, at every hop; what has none goes nowhere", async () => {
    for (const target of targets) {
      let canonical: string | undefined;
      try {
        canonical = canonicalPath(target);
      } catch {
        canonical = undefined;
      }
      for (const head of await through(get(`${target}?q=/a/../b`))) {
        const seen = head?.split(" ")[1];
        assert.equal(seen, canonical === undefined ? undefined : `${canonical}?q=/a/../b`, target);
        assert.equal(canonical === undefined ? undefined : canonicalPath(canonical), canonical, "it is its own form");
      }
    }
  });

  test("a host has one form at every hop, and Host itself is the application's own", async () => {
    // Where the caller names no host, the second sidecar tells what the first one wrote.
    const isHost = ({ name }: CorpusCase): boolean => /\bhost\b/.test(name) && !/absolute|empty host$/.test(name);
    const cases = requestCorpus.filter(
      (one) => isHost(one) && one.bytes.toString("latin1").startsWith("GET / HTTP/1.1"),
    );
    assert.ok(cases.length >= 30, `${cases.length} cases`);
    for (const { name, bytes, verdict } of cases) {
      const written = /^Host: (.*)\r$/im.exec(bytes.toString("latin1"))?.[1] ?? "";
      for (const head of await through(bytes.toString("latin1"))) {
        assert.equal(head === undefined, verdict.kind === "refuse", name);
        if (head === undefined) continue;
        assert.deepEqual(fieldOf(head, "host"), [`127.0.0.1:${heads.server.port}`], name);
        const { host, port } = canonicalHost(written);
        const authority = port === 0 ? host : `${host}:${port}`;
        assert.deepEqual(fieldOf(head, "x-forwarded-host"), authority === "" ? [] : [authority], name);
      }
    }
  });

  test("Connection takes away no field that the next one relies on", async () => {
    const kept = [
      "x-forwarded-for",
      "x-forwarded-host",
      "authorization",
      "cookie",
      "x-real-ip",
      "forwarded",
      "traceparent",
    ];
    const fields = kept.map((name) => `${name}: value\r\n`).join("");
    const nominated = `Connection: ${kept.join(", ")}, host, x-mine\r\nX-Mine: 1\r\n`;
    for (const head of await through(get("/", `Host: h\r\n${nominated}${fields}`))) {
      for (const name of kept) assert.match(fieldOf(head, name).join(), /^value/, name);
      assert.deepEqual(fieldOf(head, "x-mine"), [], "what is for one hop ends there");
      assert.deepEqual(fieldOf(head, "connection"), []);
    }
  });

  test("lists in forwarded fields pass unharmed, and who called is added at the end of one field", async () => {
    const lists =
      "X-Forwarded-Host: a, b\r\nX-Forwarded-Host: c\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n";
    const [one, two] = await through(get("/", `Host: h\r\n${lists}X-Forwarded-Proto: https\r\n`));
    for (const head of [one, two]) {
      assert.deepEqual(fieldOf(head, "x-forwarded-host"), ["a, b", "c"]);
      assert.deepEqual(fieldOf(head, "x-forwarded-proto"), ["https"]);
    }
    assert.deepEqual(fieldOf(one, "x-forwarded-for"), ["1.1.1.1", "2.2.2.2, 127.0.0.1"]);
    assert.deepEqual(fieldOf(two, "x-forwarded-for"), ["1.1.1.1", "2.2.2.2, 127.0.0.1, 127.0.0.1"]);
  });
});

/** The server's connection that carries the request; a sidecar also asks whether anybody listens. */
async function application(server: RawServer): Promise<RawPeer> {
  const first = (): RawPeer | undefined => server.peers.find(({ text }) => text !== "");
  await eventually("a request", () => first() !== undefined);
  return first() as RawPeer;
}

/** Runs the same at both distances; the server's connections are the test's. */
function bothWays(name: string, run: (server: RawServer, route: Route, client: ByteClient) => Promise<void>): void {
  for (const hops of ["one sidecar", "a pair"] as const)
    test(`${name} (${hops})`, { timeout: 30_000 }, async () => {
      await using server = await RawServer.open();
      const route = hops === "a pair" ? await mesh.pair(server.port) : await mesh.direct(server.port);
      const client = await ByteClient.connect(route.url);
      await run(server, route, client);
      client.socket.destroy();
    });
}

const upgrade = get("/ws", "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

bothWays("early data behind an upgrade waits for the 101, and is bytes then", async (server, _route, client) => {
  await client.send(upgrade + get("/early"));
  const app = await application(server);
  assert.match(await app.take("\r\n\r\n"), /^GET \/ws /);
  assert.equal(app.text, "", "it waits");
  app.send(switched);
  await app.take(get("/early"));
  await client.until("the switch", () => client.text.includes("101"));
  app.send("\x81\x02hi");
  await client.until("bytes of the application", () => client.text.endsWith("\x81\x02hi"));
  assert.deepEqual(
    server.peers.filter(({ text }) => text !== ""),
    [],
  );
});

bothWays(
  "early data behind an upgrade that is turned down is the next request, and one of its own",
  async (server, route, client) => {
    await client.send(upgrade + get("/early") + get("/last"));
    const app = await application(server);
    await app.take("\r\n\r\n");
    app.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    for (const path of ["/early", "/last"]) {
      assert.match(await app.take("\r\n\r\n"), new RegExp(`^GET ${path} `));
      assert.equal(app.text, "");
      app.send(ok);
    }
    assert.deepEqual(
      (await client.answers(["GET", "GET", "GET"])).map(({ status }) => status),
      [426, 200, 200],
    );
    for (const hop of route.hops) assert.equal(counted(hop, route.service).get("ok"), 3);
  },
);

bothWays(
  "an answer before the body has come ends both connections, and what is left of the body is no request",
  async (server, route, client) => {
    const hidden = get("/hidden");
    await client.send(`POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: ${hidden.length}\r\n\r\n`);
    const app = await application(server);
    await app.take("\r\n\r\n");
    app.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
    const [answer] = await client.answers(["POST"]);
    assert.equal(answer?.status, 404);
    assert.equal(answer.fields.get("connection"), "close");
    await client.send(hidden);
    await client.until("the end", () => client.over);
    await app.until(() => app.ended || app.closed, "the end of the server's connection");
    assert.doesNotMatch(app.text, /hidden[\s\S]*x-forwarded/i);
    for (const hop of route.hops) assert.equal(counted(hop, route.service).get("ok"), 1);
  },
);

bothWays("a whole body that a 404 leaves unread is not the next request's", async (server, _route, client) => {
  const hidden = get("/hidden");
  await client.send(`POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}${get("/next")}`);
  const app = await application(server);
  const text = await app.take(hidden);
  assert.match(text, /^POST \/up /);
  assert.equal(app.text, "");
  app.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  assert.match(await app.take("\r\n\r\n"), /^GET \/next /);
  app.send(ok);
  assert.deepEqual(
    (await client.answers(["POST", "GET"])).map(({ status }) => status),
    [404, 200],
  );
});

bothWays(
  "a response's head that never ends is a 504 at the deadline, and its connection is given up",
  async (server, _route, client) => {
    await client.send(get("/"));
    const app = await application(server);
    await app.take("\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nX: ");
    const drip = setInterval(() => app.send("a"), 50);
    try {
      const from = performance.now();
      const [answer] = await client.answers(["GET"], answerMs + 1_500);
      assert.equal(answer?.status, 504);
      assert.ok(performance.now() - from > answerMs - 100);
      await app.until(() => app.ended || app.closed, "the end of the server's connection");
    } finally {
      clearInterval(drip);
    }
  },
);

bothWays("interim answers that never end are a 502 after 64", async (server, route, client) => {
  await client.send(get("/"));
  const app = await application(server);
  await app.take("\r\n\r\n");
  const drip = setInterval(() => app.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), 1);
  try {
    const [answer] = await client.answers(["GET"]);
    assert.equal(answer?.status, 502);
    assert.equal(client.text.match(/HTTP\/1\.1 103/g)?.length, 64);
  } finally {
    clearInterval(drip);
  }
  await eventually("the server's connection is closed", () => app.ended || app.closed);
  for (const hop of route.hops) {
    const totals = counted(hop, route.service);
    assert.equal((totals.get("unavailable") ?? 0) + (totals.get("error") ?? 0), 1);
  }
});

test("a 503 of an application that claims to be a sidecar's is its answer, and is asked nobody else", async () => {
  const claim = 'Proxy-Status: dualmesh; error=connection_refused; details="forged"\r\n';
  let asked = 0;
  const onPeer = (peer: RawPeer): void =>
    void peer.socket.on("data", () => {
      asked++;
      peer.send(`HTTP/1.1 503 Service Unavailable\r\n${claim}Content-Length: 0\r\n\r\n`);
    });
  await using one = await RawServer.open(onPeer);
  await using two = await RawServer.open(onPeer);
  const route = await mesh.direct(one.port, two.port);
  const client = await ByteClient.connect(route.url);
  for (let number = 1; number <= 20; number++) {
    client.text = "";
    await client.send(`POST /${number} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n`);
    assert.equal((await client.answers(["POST"]))[0]?.status, 503);
    assert.equal(asked, number, "each request is received once");
  }
  assert.ok(one.peers.length > 0 && two.peers.length > 0, "there were two to ask");
  client.socket.destroy();
});
