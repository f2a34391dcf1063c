import assert from "node:assert/strict";
import { test } from "node:test";
import { RawServer } from "./http-testing.ts";
import { TcpWorld } from "./tcp-testing.ts";

test("a server that speaks first is heard, and bytes pass in both directions unread", async () => {
  await using server = await RawServer.open((peer) => peer.send("220 ready\r\n"));
  await using world = new TcpWorld({ ports: [server.port] });
  const caller = await world.caller();
  await caller.take("220 ready\r\n");
  // What would be Bolt, TLS, or HTTP to a port that sniffs.
  for (const [index, text] of ["\u0001\u0001\u0000", "\u0016\u0003\u0001", "GET / HTTP/1.1\r\n\r\n"].entries()) {
    caller.send(text);
    const app = await server.peer();
    await app.take(text);
    app.send(`answer ${index};`);
    await caller.take(`answer ${index};`);
  }
  assert.equal(world.plane.inFlight, 1);
  caller.socket.end();
  const app = await server.peer();
  await app.until(() => app.ended, "the caller's end");
  app.socket.end();
  await caller.until(() => caller.closed, "the endpoint's end");
  await world.until(() => world.count("ok") === 1, "the connection is counted");
  assert.equal(world.plane.inFlight, 0);
  assert.match(world.metrics.page().toString(), /dualmesh_tcp_received_bytes_total\{.*service="tcp\/redis::".*\} 24\n/);
  assert.match(world.metrics.page().toString(), /dualmesh_tcp_sent_bytes_total\{.*\} 38\n/);
});

test("at a published port the application is dialled at once as well", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  await using world = new TcpWorld({ ports: [server.port], direction: "inbound" });
  const caller = await world.caller();
  await caller.take("hello");
});

test("a caller that came before its port had routes is served once it has", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  await using world = new TcpWorld({ direction: "inbound", withoutRoutes: true });
  const caller = await world.caller();
  await world.until(() => world.plane.callers === 1, "it is there");
  world.provide([server.port]);
  await caller.take("hello");
});

test("an end of one direction is passed on, and the other goes on", async () => {
  await using server = await RawServer.open();
  await using world = new TcpWorld({ ports: [server.port] });
  const caller = await world.caller();
  caller.send("the whole question");
  caller.socket.end();
  const app = await server.peer();
  await app.take("the whole question");
  await app.until(() => app.ended, "the end of the question");
  app.send("first half, ");
  await caller.take("first half, ");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(caller.ended, false);
  app.send("second half");
  app.socket.end();
  await caller.take("second half");
  await caller.until(() => caller.closed, "the end of the answer");

  const other = await world.caller();
  const second = await server.peer(1);
  second.socket.end("all that I say");
  await other.take("all that I say");
  await other.until(() => other.ended, "the end of the greeting");
  other.send("still heard");
  await second.take("still heard");
  other.socket.end();
  await second.until(() => second.closed, "the end");
  await world.until(() => world.count("ok") === 2, "both are counted");
});

test("what one side does not take stops the other, in both directions, and nothing is lost", async () => {
  await using server = await RawServer.open();
  await using world = new TcpWorld({ ports: [server.port] });
  const caller = await world.caller();
  const app = await server.peer();
  const size = 64 << 20;
  for (const [from, to] of [
    [caller, app],
    [app, caller],
  ] as const) {
    to.socket.pause();
    to.socket.removeAllListeners("data");
    const chunk = Buffer.alloc(1 << 20, "x");
    for (let sent = 0; sent < size; sent += chunk.length) from.send(chunk);
    from.socket.end();
    let left = from.socket.writableLength;
    let same = 0;
    // The sender's own buffer stays full: the sidecar has stopped reading.
    while (same < 5) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      same = from.socket.writableLength === left ? same + 1 : 0;
      left = from.socket.writableLength;
    }
    assert.ok(left > size / 2, `the sidecar took ${size - left} bytes`);
    let received = 0;
    to.socket.on("data", (bytes) => {
      received += bytes.length;
    });
    to.socket.resume();
    await to.until(() => received === size && to.ended, "all of it, and the end");
  }
  await world.until(() => world.count("ok") === 1, "the connection is counted");
});

test("an idle connection is closed and counted, and one that speaks now and then is kept", async () => {
  await using server = await RawServer.open();
  await using world = new TcpWorld({ ports: [server.port], limits: { tcpIdleMs: 1_500 } });
  const idle = await world.caller();
  await server.peer();
  const lively = await world.caller();
  const app = await server.peer(1);
  const timer = setInterval(() => app.send("."), 200);
  try {
    await idle.until(() => idle.closed || idle.ended, "the idle one is closed");
  } finally {
    clearInterval(timer);
  }
  assert.equal(lively.ended, false);
  assert.equal(world.metrics.eventCount("idle_closed"), 1);
  const first = await server.peer(0);
  await first.until(() => first.closed || first.ended, "its other side is closed as well");
  assert.equal(world.count("ok"), 1);
});

test("beyond the limit of an endpoint a caller is refused, until another one has left", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  await using world = new TcpWorld({ ports: [server.port], limits: { tcpConnections: 2 } });
  const callers = [await world.caller(), await world.caller()];
  for (const caller of callers) await caller.take("hello");
  const refused = await world.caller();
  await refused.until(() => refused.closed, "a break");
  assert.equal(world.count("overload"), 1);
  callers[0]?.socket.resetAndDestroy();
  await world.until(() => world.count("cancelled") === 1, "the first is counted");
  const next = await world.caller();
  await next.take("hello");
  assert.equal(server.peers.length, 3);
});

test("an endpoint that cannot be reached is passed over once; with none left the caller is cut", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  const gone = await RawServer.open();
  await gone[Symbol.asyncDispose]();
  await using world = new TcpWorld({ ports: [gone.port, server.port] });
  for (let calls = 0; calls < 4; calls++) await (await world.caller()).take("hello");
  assert.ok(world.metrics.eventCount("retry") >= 1);
  world.provide([gone.port]);
  const caller = await world.caller();
  await caller.until(() => caller.closed, "a break");
  assert.equal(world.count("unavailable"), 1);
  world.provide([]);
  const other = await world.caller();
  await other.until(() => other.closed, "a break");
  assert.equal(world.count("no-provider"), 1);
  assert.equal(world.plane.inFlight, 4);
});

test("a sidecar that breaks off before a byte has passed is passed over once", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  await using without = await RawServer.open((peer) => peer.socket.resetAndDestroy());
  await using world = new TcpWorld({ ports: [without.port, server.port], endpoint: { mode: "mesh" } });
  for (let calls = 0; calls < 4; calls++) await (await world.caller()).take("hello");
  assert.ok(without.peers.length >= 1);
  assert.equal(world.plane.inFlight, 4);
});

test("a killed endpoint ends its callers' connections, and a caller that vanishes its endpoint's", async () => {
  await using server = await RawServer.open();
  await using world = new TcpWorld({ ports: [server.port] });
  const caller = await world.caller();
  const app = await server.peer();
  app.send("begun");
  await caller.take("begun");
  app.socket.resetAndDestroy();
  await caller.until(() => caller.closed, "a break");
  await world.until(() => world.count("unavailable") === 1, "it is counted");
  const other = await world.caller();
  const second = await server.peer(1);
  second.send("begun");
  await other.take("begun");
  other.socket.resetAndDestroy();
  await second.until(() => second.closed, "a break");
  await world.until(() => world.count("cancelled") === 1, "it is counted");
  assert.equal(world.plane.inFlight, 0);
});

test("a connection to a service of which nothing is known waits for the first answer about it, and not for ever", async () => {
  await using server = await RawServer.open((peer) => peer.send("hello"));
  await using world = new TcpWorld({ known: false, limits: { waitMs: 300 } });
  const late = await world.caller();
  late.send("early bytes");
  await late.until(() => late.closed, "a break");
  assert.equal(world.count("no-provider"), 1);
  const caller = await world.caller();
  caller.send("early bytes");
  world.provide([server.port]);
  await caller.take("hello");
  await (await server.peer()).take("early bytes");
});

test("S21: an endpoint that leads back to the service's own address is cut after one round", async () => {
  await using world = new TcpWorld();
  world.provide([await world.port]);
  const caller = await world.caller();
  await caller.until(() => caller.closed, "a break");
  await world.until(() => world.plane.callers === 0, "nothing goes round any more");
  assert.equal(world.metrics.eventCount("loop"), 1);
});
