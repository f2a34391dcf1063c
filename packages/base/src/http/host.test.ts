import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { systemClock } from "../clock.ts";
import { type HttpHostOptions, methodNotAllowed, openHttpHost } from "./host.ts";
import type { HttpRequest, HttpService, HttpSink } from "./service.ts";

interface Got {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

async function hosted(
  service: HttpService,
  use: (
    ask: (path: string, options?: http.RequestOptions, body?: Buffer | string) => Promise<Got>,
    port: number,
  ) => Promise<void>,
  options: Partial<HttpHostOptions> = {},
): Promise<void> {
  const host = await openHttpHost({
    host: "127.0.0.1",
    port: 0,
    service,
    clock: systemClock,
    maxConnections: 20,
    maxBodyBytes: 10_000,
    ...options,
  });
  const agent = new http.Agent();
  const ask = (path: string, request: http.RequestOptions = {}, body: Buffer | string = ""): Promise<Got> =>
    new Promise((resolve, reject) => {
      const sent = http.request({ host: "127.0.0.1", port: host.port, path, agent, ...request }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }),
        );
        answer.on("error", reject);
      });
      sent.on("error", reject);
      sent.end(body);
    });
  try {
    await use(ask, host.port);
  } finally {
    agent.destroy();
    await host.close();
  }
}

/** Sends bytes as they are; the answer is all that comes until the end. */
async function raw(port: number, text: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(text);
  let got = "";
  socket.on("data", (part) => {
    got += part.toString("latin1");
  });
  socket.on("error", () => {});
  await once(socket, "close");
  return got;
}

const echo =
  (seen: HttpRequest[]): HttpService =>
  async (request) => {
    seen.push(request);
    return { status: 200, headers: { "content-type": "text/plain" }, body: request.body };
  };

test("a service is handed the path as it was sent, the query, the headers and the whole body", async () => {
  const seen: HttpRequest[] = [];
  await hosted(echo(seen), async (ask) => {
    const got = await ask(
      "/a%2Fb/?x=1&x=2",
      { method: "PUT", headers: { "X-One": ["1", "2"], "Content-Type": "a/b" } },
      "hello",
    );
    assert.equal(got.body.toString(), "hello");
    assert.equal(got.headers["content-length"], "5");
  });
  const [request] = seen;
  assert.equal(request?.method, "PUT");
  assert.equal(request?.path, "/a%2Fb/");
  assert.deepEqual(request?.query.getAll("x"), ["1", "2"]);
  assert.equal(request?.headers.get("x-one"), "1, 2");
  assert.equal(request?.headers.get("content-type"), "a/b");
  assert.match(request?.remote ?? "", /^127\.0\.0\.1:\d+$/);
});

test("an answer is compressed for who takes gzip, when that is worth it, and a HEAD has its head only", async () => {
  const body = Buffer.from("dualmesh ".repeat(1_000));
  const service: HttpService = async ({ path }) => ({
    status: path === "/none" ? 204 : 200,
    headers: {},
    body: path === "/small" ? "small" : body,
  });
  await hosted(service, async (ask) => {
    const gzip = { headers: { "accept-encoding": "deflate, GZIP;q=0.5" } };
    const zipped = await ask("/", gzip);
    assert.equal(zipped.headers["content-encoding"], "gzip");
    assert.equal(zipped.headers.vary, "accept-encoding");
    assert.deepEqual(gunzipSync(zipped.body), body);
    assert.ok(zipped.body.length < 200);
    assert.deepEqual((await ask("/")).body, body);
    for (const refused of ["gzip;q=0", "identity", "gzip;q=0.000"])
      assert.equal(
        (await ask("/", { headers: { "accept-encoding": refused } })).headers["content-encoding"],
        undefined,
      );
    assert.equal((await ask("/small", gzip)).headers["content-encoding"], undefined);
    const head = await ask("/", { method: "HEAD" });
    assert.equal(head.headers["content-length"], String(body.length));
    assert.equal(head.body.length, 0);
    assert.equal((await ask("/none")).headers["content-length"], undefined);
  });
});

test("a request that is zipped is read, and what unzips beyond the limit is refused", async () => {
  const seen: HttpRequest[] = [];
  await hosted(echo(seen), async (ask) => {
    const zipped = (body: Buffer, coding = "gzip") =>
      ask("/", { method: "POST", headers: { "content-encoding": coding } }, body);
    assert.equal((await zipped(gzipSync("hello"))).body.toString(), "hello");
    const bomb = gzipSync(Buffer.alloc(9_000_000));
    assert.ok(bomb.length < 10_000);
    assert.equal((await zipped(bomb)).status, 413);
    assert.equal((await zipped(Buffer.from("not gzip"))).status, 400);
    assert.equal((await zipped(Buffer.from("x"), "br")).status, 415);
  });
  assert.equal(seen.length, 1);
});

test("a body beyond the limit is refused, whether its length was said or not", async () => {
  const seen: HttpRequest[] = [];
  await hosted(echo(seen), async (ask) => {
    const large = Buffer.alloc(10_001);
    assert.equal((await ask("/", { method: "POST", headers: { "content-length": 10_001 } }, large)).status, 413);
    assert.equal((await ask("/", { method: "POST", headers: { "transfer-encoding": "chunked" } }, large)).status, 413);
    assert.equal((await ask("/", { method: "POST" }, large.subarray(1))).status, 200);
  });
  assert.equal(seen.length, 1);
});

test("heads that are too large, URLs that are too long and what is no HTTP are answered and cut", async () => {
  const seen: HttpRequest[] = [];
  await hosted(echo(seen), async (_, port) => {
    assert.match(await raw(port, `GET / HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
    assert.match(await raw(port, `GET /${"a".repeat(9_000)} HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 414 /);
    assert.match(await raw(port, "what is this\r\n\r\n"), /^HTTP\/1\.1 400 /);
    assert.match(
      await raw(port, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n"),
      /^HTTP\/1\.1 200 /,
    );
  });
  assert.equal(seen.length, 1, "an offer to upgrade is passed over, as RFC 9110 allows");
});

test("only who calls by loopback and by a known name is answered where that was asked for", async () => {
  const seen: HttpRequest[] = [];
  await hosted(
    echo(seen),
    async (ask) => {
      for (const host of ["127.0.0.1:80", "localhost", "[::1]:1", "mesh.local:7"])
        assert.equal((await ask("/", { headers: { host } })).status, 200, host);
      for (const host of ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "a@127.0.0.1"])
        assert.equal((await ask("/", { headers: { host } })).status, 421, host);
    },
    { onlyLocal: { names: ["mesh.local"] } },
  );
  assert.equal(seen.length, 4);
});

test("a stream of events says what its client has not read, ends on both sides, and is refused for HEAD", async () => {
  const sinks = Promise.withResolvers<HttpSink>();
  let closed = 0;
  const service: HttpService = async () => ({
    status: 200,
    headers: { "content-type": "text/event-stream" },
    open(sink) {
      sink.onClose(() => closed++);
      sinks.resolve(sink);
    },
  });
  await hosted(service, async (_, port) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const sink = await sinks.promise;
    await once(socket, "readable");
    assert.match(String(socket.read()), /text\/event-stream/);
    const text = "x".repeat(1_000_000);
    for (let times = 0; times < 30; times++) sink.send(text);
    assert.ok(sink.queuedBytes > 1_000_000, "the client does not read");
    socket.destroy();
    while (closed === 0) await new Promise(setImmediate);
    sink.send("nobody");
    sink.end();
    const head = await raw(port, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert.match(head, /^HTTP\/1\.1 200 /);
    while (closed === 1) await new Promise(setImmediate);
  });
  assert.equal(closed, 2);
});

test("who leaves before the answer aborts the request", async () => {
  const asked = Promise.withResolvers<HttpRequest>();
  const service: HttpService = async (request) => {
    asked.resolve(request);
    await once(request.signal, "abort");
    return { status: 200, headers: {}, body: "" };
  };
  await hosted(service, async (_, port) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const { signal } = await asked.promise;
    assert.equal(signal.aborted, false);
    socket.destroy();
    if (!signal.aborted) await once(signal, "abort");
  });
});

test("a service that fails is 500 and named in the log only, and other requests go on", async () => {
  const service: HttpService = async ({ path }) => {
    if (path === "/bad") throw new Error("a secret");
    return methodNotAllowed(["GET", "HEAD"]);
  };
  await hosted(service, async (ask) => {
    const got = await ask("/bad");
    assert.equal(got.status, 500);
    assert.ok(!got.body.includes("secret"));
    const refused = await ask("/", { method: "POST" });
    assert.equal(refused.status, 405);
    assert.equal(refused.headers.allow, "GET, HEAD");
  });
});

test("an orderly close lets an answer leave, ends streams and takes no more callers", async () => {
  const answers = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const host = await openHttpHost({
    host: "127.0.0.1",
    port: 0,
    clock: systemClock,
    maxConnections: 5,
    maxBodyBytes: 10,
    service: async ({ path }) => {
      if (path === "/stream") return { status: 200, headers: {}, open: () => asked.resolve() };
      await answers.promise;
      return { status: 200, headers: {}, body: "late" };
    },
  });
  const stream = raw(host.port, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  const slow = raw(host.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await asked.promise;
  const closed = host.close();
  answers.resolve();
  assert.match(await stream, /0\r\n\r\n$/);
  assert.match(await slow, /connection: close.*late$/is);
  await closed;
});

test("a port that is taken and a host that is not here say so", async () => {
  const options = { service: echo([]), clock: systemClock, maxConnections: 1, maxBodyBytes: 1 };
  const host = await openHttpHost({ host: "127.0.0.1", port: 0, ...options });
  await assert.rejects(openHttpHost({ host: "127.0.0.1", port: host.port, ...options }), { code: "listen.port-taken" });
  await assert.rejects(openHttpHost({ host: "192.0.2.1", port: 0, ...options }), { code: "listen.failed" });
  await host.close();
});

test("callers beyond the limit of connections are turned away and counted", async () => {
  let dropped = 0;
  await hosted(
    echo([]),
    async (_, port) => {
      const first = net.connect(port, "127.0.0.1");
      await once(first, "connect");
      const second = net.connect(port, "127.0.0.1");
      second.on("error", () => {});
      await once(second, "close");
      first.destroy();
    },
    { maxConnections: 1, dropped: () => dropped++ },
  );
  assert.equal(dropped, 1);
});
