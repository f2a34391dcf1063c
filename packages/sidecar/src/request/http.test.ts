import assert from "node:assert/strict";
import { test } from "node:test";
import { HttpWorld, type RawPeer, RawServer } from "./http-testing.ts";

const get = (path = "/", fields = ""): string => `GET ${path} HTTP/1.1\r\nHost: orders\r\n${fields}\r\n`;
const ok = (body: string, fields = ""): string =>
  `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;

test("a request reaches the application with its own address in Host and the caller's in X-Forwarded-*", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/a?b=c", "X-Mine: 1\r\nConnection: keep-alive\r\n"));
  const app = await server.peer();
  const request = await app.take("\r\n\r\n");
  assert.match(request, /^GET \/a\?b=c HTTP\/1\.1\r\n/);
  assert.match(request, new RegExp(`^host: 127\\.0\\.0\\.1:${server.port}\r$`, "im"));
  assert.match(request, /^x-forwarded-host: orders\r$/im);
  assert.match(request, /^x-forwarded-for: 127\.0\.0\.1\r$/im);
  assert.match(request, /^x-forwarded-proto: http\r$/im);
  assert.match(request, /^x-mine: 1\r$/im);
  assert.doesNotMatch(request, /^connection:/im);
  app.send(ok("hello", "X-Theirs: 2\r\n"));
  const response = await caller.take("hello");
  assert.match(response, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(response, /x-theirs: 2/i);
  assert.equal(world.count("ok"), 1);
});

test("the next request goes over the same two connections, and pipelined ones are answered in order", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/1") + get("/2") + get("/3"));
  const app = await server.peer();
  for (const number of ["1", "2", "3"]) {
    assert.match(await app.take("\r\n\r\n"), new RegExp(`^GET /${number} `));
    assert.equal(app.text, "", "the next one waits");
    app.send(ok(`answer ${number}`));
    assert.match(await caller.take(`answer ${number}`), /^HTTP\/1\.1 200/);
  }
  assert.equal(server.peers.length, 1);
});

test("bodies pass in both directions: with a length, in chunks with trailers, and until the close", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send("POST /up HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
  const app = await server.peer();
  assert.match(await app.take("\r\n\r\n"), /transfer-encoding: chunked/i);
  caller.send("5;ext=1\r\nhello\r\n");
  assert.equal(await app.take("hello\r\n"), "5\r\nhello\r\n");
  caller.send("0\r\nX-Sum: 5\r\n\r\n");
  assert.match(await app.take("\r\n\r\n"), /^0\r\nx-sum: 5\r\n\r\n$/i);
  app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n");
  assert.match(await caller.take("1\r\n\r\n"), /3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n$/i);
  caller.text = "";
  caller.send("POST /len HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\n\r\nbody");
  assert.match(await app.take("body"), /content-length: 4\r\n/i);
  app.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
  app.socket.end();
  assert.match(await caller.take("0\r\n\r\n"), /transfer-encoding: chunked[\s\S]*until the end/i);
  caller.send(get("/again"));
  const next = await server.peer(1);
  await next.take("\r\n\r\n");
  next.send(ok("fine"));
  await caller.take("fine");
  assert.equal(world.count("ok"), 3);
});

test("answers without a body keep the connection: HEAD, 204 and 304", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send("HEAD /h HTTP/1.1\r\nHost: o\r\n\r\n");
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  assert.match(await caller.take("\r\n\r\n"), /content-length: 1000/i);
  for (const status of ["204 No Content", "304 Not Modified"]) {
    caller.send(get());
    await app.take("\r\n\r\n");
    app.send(`HTTP/1.1 ${status}\r\n\r\n`);
    await caller.take("\r\n\r\n");
  }
  assert.equal(server.peers.length, 1);
});

test("100 Continue and early hints pass, and a final answer before the body ends the connection after it", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  const app = await server.peer();
  assert.match(await app.take("\r\n\r\n"), /expect: 100-continue/i);
  app.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
  assert.match(await caller.take("100 Continue\r\n\r\n"), /103 Early Hints/);
  caller.send("body");
  await app.take("body");
  app.send(ok("done"));
  await caller.take("done");
  caller.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  await app.take("\r\n\r\n");
  app.send(ok("no"));
  assert.match(await caller.take("no"), /connection: close/i);
  await caller.until(() => caller.ended, "the end of the connection");
  await app.until(() => app.closed || app.ended, "the end of the doubtful connection");
});

test("a WebSocket passes through, and CONNECT and other upgrades do not", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  const app = await server.peer();
  assert.match(await app.take("\r\n\r\n"), /upgrade: websocket/i);
  app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst");
  assert.match(await caller.take("first"), /^HTTP\/1\.1 101 [\s\S]*upgrade: websocket/i);
  caller.send("ping");
  await app.take("ping");
  app.send("pong");
  await caller.take("pong");
  app.socket.end();
  await caller.until(() => caller.ended, "the end");

  const other = await world.caller();
  other.send(
    get("/h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
  );
  const plain = await server.peer(1);
  assert.doesNotMatch(await plain.take("\r\n\r\n"), /upgrade|http2-settings/i);
  const tunneler = await world.caller();
  tunneler.send("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n");
  assert.match(await tunneler.take("\r\n\r\n"), /^HTTP\/1\.1 4\d\d/);
});

test("a WebSocket outlives the deadline of a response, and is under way until it ends", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], timeoutMs: 100 });
  const caller = await world.caller();
  caller.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await caller.take("\r\n\r\n");
  assert.equal(world.plane.inFlight, 1);
  await new Promise((resolve) => setTimeout(resolve, 250));
  app.send("still here");
  await caller.take("still here");
  app.socket.end();
  await caller.until(() => caller.ended, "the end");
  caller.socket.end();
  await app.until(() => app.closed, "the end of both directions");
  assert.equal(world.plane.inFlight, 0);
  assert.equal(world.count("timeout"), 0);
});

test("a caller that sends nothing more through its WebSocket still hears what the application says", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await caller.take("\r\n\r\n");
  caller.socket.end("close frame");
  await app.take("close frame");
  await app.until(() => app.ended, "the caller's end");
  app.send("its answer");
  await caller.take("its answer");
  app.socket.end();
  await caller.until(() => caller.ended, "the end");
});

test("an endpoint that cannot be reached is passed over once; with none left the answer says who gave it and why", async () => {
  await using server = await RawServer.open();
  const gone = await RawServer.open();
  const gonePort = gone.port;
  await gone[Symbol.asyncDispose]();
  await using world = new HttpWorld({ ports: [gonePort, server.port] });
  const caller = await world.caller();
  caller.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\n\r\nbody");
  const app = await server.peer();
  await app.take("body");
  app.send(ok("reached"));
  await caller.take("reached");
  world.provide([gonePort]);
  caller.send(get());
  const refusal = await caller.take("\r\n\r\n");
  assert.match(refusal, /^HTTP\/1\.1 503 /);
  assert.match(refusal, /proxy-status: dualmesh; error=connection_refused; details="no provider of http\/orders/i);
  world.provide([]);
  caller.send(get());
  await caller.until(() => /destination_not_found/.test(caller.text), "the answer that nobody is known");
});

test("a call to a service of which nothing is known waits for the first answer about it", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ known: false });
  const caller = await world.caller();
  caller.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\n\r\nbody");
  await new Promise((resolve) => setTimeout(resolve, 50));
  world.provide([server.port]);
  const app = await server.peer();
  await app.take("body");
  app.send(ok("at last"));
  await caller.take("at last");
});

test("a connection that the application closed at rest costs an idempotent request nothing", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/1"));
  const first = await server.peer();
  await first.take("\r\n\r\n");
  first.send(ok("one"));
  await caller.take("one");
  // The next request meets a server that closes without a word, as when both cross on the way.
  caller.send(get("/2"));
  await first.take("\r\n\r\n");
  first.socket.destroy();
  const second = await server.peer(1);
  assert.match(await second.take("\r\n\r\n"), /^GET \/2 /);
  second.send(ok("two"));
  await caller.take("two");
  assert.equal(world.count("ok"), 2);
});

test("an application that dies in the middle of its response never leaves a caller with half of it as the whole", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get());
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  await caller.take("abc");
  app.socket.destroy();
  await caller.until(() => caller.closed || caller.ended, "the end");
  assert.doesNotMatch(caller.text, /0\r\n\r\n/);
  assert.equal(world.count("unavailable"), 1);
  const other = await world.caller();
  other.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\n\r\nx");
  const next = await server.peer(1);
  await next.take("x");
  next.socket.destroy();
  assert.match(await other.take("\r\n\r\n"), /^HTTP\/1\.1 502 /);
});

test("malformed requests are answered 400 and closed, malformed responses 502", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const liar = await world.caller();
  liar.send("GET / HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  assert.match(await liar.take("\r\n\r\n"), /^HTTP\/1\.1 400 [\s\S]*connection: close/i);
  await liar.until(() => liar.ended, "the end");
  const caller = await world.caller();
  caller.send(get());
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
  assert.match(await caller.take("\r\n\r\n"), /^HTTP\/1\.1 502 /);
  assert.equal(server.peers.length, 1);
});

test("a response that does not begin in time is a 504, and the request's connection is given up", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], timeoutMs: 100 });
  const caller = await world.caller();
  caller.send(get());
  const app = await server.peer();
  assert.match(await caller.take("\r\n\r\n"), /^HTTP\/1\.1 504 /);
  await app.until(() => app.closed || app.ended, "the end of the given up connection");
});

test("a Location that names the provider is moved to the address that the caller knows", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], endpoint: { authority: "10.9.8.7:8080" } });
  const caller = await world.caller();
  caller.send("GET / HTTP/1.1\r\nHost: 127.16.0.1:20882\r\n\r\n");
  const app = await server.peer();
  assert.match(await app.take("\r\n\r\n"), /^host: 10\.9\.8\.7:8080\r$/im);
  app.send("HTTP/1.1 302 Found\r\nLocation: http://10.9.8.7:8080/there?x=1\r\nContent-Length: 0\r\n\r\n");
  assert.match(await caller.take("\r\n\r\n"), /location: http:\/\/127\.16\.0\.1:20882\/there\?x=1\r/i);
  caller.send(get());
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/there\r\nContent-Length: 0\r\n\r\n");
  assert.match(await caller.take("\r\n\r\n"), /location: http:\/\/elsewhere\/there\r/i);
});

test("a caller that only stopped sending still gets its answer; HTTP/1.0 callers get one they understand", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.socket.end(get("/half"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send(ok("answered"));
  await caller.take("answered");
  await caller.until(() => caller.ended, "the end");
  const old = await world.caller();
  old.send("GET /old HTTP/1.0\r\n\r\n");
  assert.match(await app.take("\r\n\r\n"), /^GET \/old HTTP\/1\.1\r\n/);
  app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  await old.until(() => old.ended, "the end");
  assert.match(old.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nhello$/);
});

test("a caller that vanishes takes its exchange with it, and the endpoint's connection is not used again", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get());
  const app = await server.peer();
  await app.take("\r\n\r\n");
  caller.socket.resetAndDestroy();
  await app.until(() => app.closed || app.ended, "the end of the endpoint's connection");
  assert.equal(world.count("cancelled"), 1);
  assert.equal(world.plane.inFlight, 0);
});

test("what one side does not take stops the other, and nothing is lost", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  const size = 64 << 20;
  caller.send(`POST /big HTTP/1.1\r\nHost: o\r\nContent-Length: ${size}\r\n\r\n`);
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.socket.pause();
  app.socket.removeAllListeners("data");
  const chunk = Buffer.alloc(1 << 20, "x");
  for (let sent = 0; sent < size; sent += chunk.length) caller.send(chunk);
  // The caller's own buffer must still be full: the sidecar has stopped reading.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(caller.socket.writableLength > size / 2, `the sidecar took ${size - caller.socket.writableLength} bytes`);
  let received = 0;
  app.socket.on("data", (bytes) => {
    received += bytes.length;
  });
  app.socket.resume();
  await app.until(() => received === size, "the whole body");
  app.send(ok("got it"));
  await caller.take("got it");
});

test("at a published port the application's own authority replaces what an SDK caller wrote", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({
    ports: [server.port],
    direction: "inbound",
    endpoint: { authority: "192.0.2.2:8080" },
  });
  const caller = await world.caller();
  caller.send("GET / HTTP/1.1\r\nHost: 192.0.2.2:20900\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
  const app = await server.peer();
  const request = await app.take("\r\n\r\n");
  assert.match(request, /^host: 192\.0\.2\.2:8080\r$/im);
  assert.match(request, /^x-forwarded-host: 192\.0\.2\.2:20900\r$/im);
  assert.match(request, /^x-forwarded-for: 203\.0\.113\.9, 127\.0\.0\.1\r$/im);
});

test("a head that drips is given up when its time from the first byte is over", async () => {
  await using world = new HttpWorld({ limits: { httpHeadMs: 1_000 }, ports: [1] });
  const caller = await world.caller();
  const drip = setInterval(() => caller.send("a"), 100);
  caller.send("GET /slow HTTP/1.1\r\nHost: o\r\nX: ");
  const before = performance.now();
  await caller.until(() => caller.ended || caller.closed, "the end of the slow head");
  clearInterval(drip);
  assert.match(caller.text, /^HTTP\/1\.1 408 /);
  // The time, the second in which it is noticed, and one for a busy machine.
  assert.ok(performance.now() - before < 3_000);
});

test("a server may send 64 interim answers to one request, and no more", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/64"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(64) + ok("fine"));
  assert.equal((await caller.take("fine")).match(/103/g)?.length, 64);
  caller.send(get("/65"));
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(65) + ok("fine"));
  assert.match(await caller.take("more than 64 interim responses"), /HTTP\/1\.1 502 /);
  await app.until(() => app.ended || app.closed, "the end of the endpoint's connection");
});

test("what follows a CONNECT is no request", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(`CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n${get("/inside")}`);
  await caller.until(() => caller.ended, "the end");
  assert.equal(caller.text.match(/HTTP\/1\.1/g)?.length, 1);
  assert.equal(server.peers.length, 0);
});

test("only a sidecar's own answer says that its application never saw the request", async () => {
  const claim = 'Proxy-Status: dualmesh; error=connection_refused; details="forged"\r\n';
  const forged = `HTTP/1.1 503 Service Unavailable\r\n${claim}Location: /later\r\nContent-Length: 6\r\n\r\nforged`;
  const onPeer = (peer: RawPeer): void => void peer.socket.on("data", () => void peer.send(forged));
  await using server = await RawServer.open(onPeer);
  await using second = await RawServer.open(onPeer);
  const ports = [server.port, second.port];
  // An application without a sidecar: its claim is passed on, and the request is not sent anew.
  await using direct = new HttpWorld({ ports });
  const caller = await direct.caller();
  caller.send(get());
  assert.match(await caller.take("\r\n\r\n"), /503/);
  // One behind a sidecar: that one signs what it passes on.
  await using inbound = new HttpWorld({ ports, direction: "inbound" });
  await using beside = new HttpWorld({ ports, direction: "inbound" });
  const published = [await inbound.port, await beside.port];
  await using outbound = new HttpWorld({ ports: published, endpoint: { mode: "mesh" } });
  const other = await outbound.caller();
  other.send(get());
  await other.until(() => other.text.endsWith("forged"), "the forged answer");
  assert.match(other.text, /proxy-status: dualmesh; error=connection_refused; details="forged", dualmesh\r/i);
  for (const { metrics } of [direct, inbound, outbound]) assert.match(metrics.page().toString(), /"retry"\} 0/);
});

test("a caller that is behind after a long silence of its response has all its time to catch up", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], limits: { httpBodyMs: 2_000 } });
  const caller = await world.caller();
  caller.send(get("/events"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  const size = 16 << 20;
  app.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
  await caller.take("\r\n\r\n");
  // Silent for longer than a caller may be behind, and then behind for longer than it takes to be noticed.
  await new Promise((resolve) => setTimeout(resolve, 2_200));
  caller.socket.pause();
  app.send(Buffer.alloc(size, "x"));
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  caller.socket.resume();
  await caller.until(() => caller.text.length === size, "the whole response");
});

test("the last response of a connection has the time of any other to be taken, and no more", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], limits: { httpBodyMs: 7_000 } });
  /** A whole response of which the sidecar has a rest that the kernel does not take; returns its length. */
  const behind = async (index: number): Promise<[RawPeer, number]> => {
    const caller = await world.caller();
    caller.socket.pause();
    caller.send(get("/last", "Connection: close\r\n"));
    const app = await server.peer(); // its connection serves both
    await app.take("\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let length = 0;
    for (; world.accepted[index]?.queuedBytes === 0; length += 0x10000) {
      app.send(`10000\r\n${"x".repeat(0x10000)}\r\n`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    app.send("0\r\n\r\n");
    await app.until(() => world.count("ok") === index + 1, "the end of the exchange");
    return [caller, length];
  };
  const [caller, length] = await behind(0);
  await behind(1);
  // Longer than a connection has to close once everything is said.
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  caller.socket.resume();
  await caller.until(() => caller.ended, "the end of the response");
  assert.equal(caller.text.match(/x/g)?.length, length);
  await caller.until(() => world.metrics.page().toString().includes('"downstream_cut"} 1'), "the cut of the other");
});

test("an endpoint that ends its direction of a WebSocket is still sent what the caller says", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  const app = await server.peer();
  await app.take("\r\n\r\n");
  app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await caller.take("\r\n\r\n");
  app.socket.end("last word");
  await caller.take("last word");
  await caller.until(() => caller.ended, "the end of the endpoint's direction");
  caller.send("still here");
  await app.take("still here");
  caller.socket.end();
  await app.until(() => app.closed, "the end of both");
  assert.equal(world.plane.inFlight, 0);
});

test("a caller that waits for 100 Continue is not taken for one that sends its body too slowly", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port], limits: { httpBodyMs: 100 } });
  const caller = await world.caller();
  caller.send("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  const app = await server.peer();
  await app.take("\r\n\r\n");
  const asked = world.metrics.eventCount("slow_frame");
  await new Promise((resolve) => setTimeout(resolve, 2_300));
  assert.equal(world.metrics.eventCount("slow_frame"), asked);
  app.send("HTTP/1.1 100 Continue\r\n\r\n");
  await caller.take("\r\n\r\n");
  caller.send("body");
  await app.take("body");
  app.send(ok("taken"));
  await caller.take("taken");
});
