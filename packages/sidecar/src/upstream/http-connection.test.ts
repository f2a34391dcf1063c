import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { method } from "@dualmesh/wire/http1/head";
import { DataMetrics } from "../metrics.ts";
import { HttpWorld, RawServer } from "../request/http-testing.ts";
import { endpointAt, testLimits } from "../request/testing.ts";
import type { HttpCarried, HttpUpstream } from "./http-connection.ts";
import { HttpPool } from "./http-pool.ts";

const get = "GET / HTTP/1.1\r\nHost: o\r\n\r\n";

test("a connection whose response ended while its caller was behind listens to the response of the next caller", async () => {
  // Small enough to come in one piece: it is over in the very moment in which it is too much.
  const response = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n${"x".repeat(60_000)}`);
  let answered = 0;
  await using server = await RawServer.open(({ socket }) =>
    socket.on("data", (bytes) => {
      for (const _ of bytes.toString("latin1").matchAll(/\r\n\r\n/g)) {
        socket.write(response);
        answered++;
      }
    }),
  );
  await using world = new HttpWorld({ ports: [server.port] });
  const behind = await world.caller();
  behind.socket.pause();
  behind.send(get.repeat(400));
  let [last, unchanged] = [0, 0];
  await behind.until(() => {
    unchanged = answered > 0 && answered === last ? unchanged + 1 : 0;
    last = answered;
    return unchanged === 3;
  }, "its queue to be full");
  const next = await world.caller();
  next.send(get);
  await next.until(() => next.text.length > 60_000, "the next caller's answer");
  assert.equal(server.peers.length, 1, "over the same connection");
});

/** A pool of its own for the server at `port`, and exchanges that only say when they may write. */
function poolTo(port: number): { readonly pool: HttpPool; take(): Promise<HttpUpstream> } {
  const context = {
    clock: systemClock,
    metrics: new DataMetrics(),
    events: { goingAway() {}, connectionLost() {} },
    limits: testLimits,
    dialled: new Set<string>(),
  };
  const pool = new HttpPool("key", endpointAt(port), "outbound", context);
  const take = async (): Promise<HttpUpstream> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const connection = pool.take({
      method: method.GET,
      ready: resolve,
      broken() {},
    } as unknown as HttpCarried) as HttpUpstream;
    if (!connection.connected) await promise;
    return connection;
  };
  return { pool, take };
}

test("a connection that its server closed at rest is nobody's from that moment on", async () => {
  await using server = await RawServer.open();
  const { pool, take } = poolTo(server.port);
  const first = await take();
  first.release(1, true);
  assert.equal(await take(), first);
  first.release(1, true);
  first.onPeerEnd();
  assert.notEqual(await take(), first);
  pool.destroy("the test is over");
});

test("a connection that has not sent all of its last request is not used again", async () => {
  await using server = await RawServer.open(({ socket }) => void socket.pause());
  const { pool, take } = poolTo(server.port);
  const connection = await take();
  const much = Buffer.alloc(1 << 20);
  while (connection.backlog === 0) connection.write(much, 0, much.length);
  connection.release(1, true);
  assert.equal(pool.connectionCount, 0);
});

test("a caller that leaves while an endpoint is dialled says nothing against the endpoint", () => {
  const { pool } = poolTo(1);
  const carried = { method: method.GET, ready() {} } as unknown as HttpCarried;
  pool.take(carried)?.leave("the caller is gone", true);
  assert.equal(pool.usable, true);
  pool.take(carried)?.leave("it took too long", false);
  assert.equal(pool.usable, false);
  assert.equal(pool.connectionCount, 0);
});
