import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { FakeClock, sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { seededRandom } from "@dualmesh/base/random";
import { canonicalService, connect } from "./sdk.ts";

test("a service is written short or canonically", () => {
  const texts = ["Orders", "http/orders", "http/orders::", "bolt/fx.Greeter:1.0:red", "tcp/redis"];
  assert.deepEqual(texts.map(canonicalService), [
    "http/orders::",
    "http/orders::",
    "http/orders::",
    "bolt/fx.Greeter:1.0:red",
    "tcp/redis::",
  ]);
  for (const text of ["", "a/b/c", "a b", "http/"])
    assert.throws(
      () => canonicalService(text),
      (e) => isMeshError(e, "sdk.service"),
    );
});

test("an application says where it stands, and stands in one place", () => {
  for (const options of [{}, { registry: "127.0.0.1:1", sidecar: "http://127.0.0.1:1" }])
    assert.throws(
      () => connect(options),
      (error) => isMeshError(error, "sdk.connect"),
    );
});

/** A door that answers each path with whole events, one connection after the other; it notes what it was asked. */
async function door(answers: Readonly<Record<string, readonly string[]>>) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url = "", headers } = request;
      const path = url.split("?", 1)[0] ?? "";
      const count = asked.filter((line) => line.includes(` ${url} `)).length;
      asked.push(`${method} ${url} ${headers["last-event-id"] ?? ""} ${Buffer.concat(chunks)}`.trim());
      const events = answers[path]?.[count];
      if (events === undefined) return void response.writeHead(404).end();
      response.writeHead(200, { "content-type": "text/event-stream" }).write(events);
      if (count === 0) response.end(); // every first connection breaks
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { asked, close, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function until(holds: () => boolean): Promise<void> {
  for (const end = systemClock.now() + 5_000; !holds(); ) {
    if (systemClock.now() > end) throw new Error("waited in vain");
    await sleep(systemClock, 5);
  }
}

const endpoint = (port: number, weight: number, more: object = {}) => ({
  application: "a",
  address: "127.0.0.1",
  port,
  url: `http://127.0.0.1:${port}`,
  weight,
  warmupMs: 0,
  startedAt: 0,
  labels: {},
  ...more,
});

test("through a sidecar: streams that break are made again with what is known, and instances are picked by weight and warm-up", async () => {
  const instances = [
    endpoint(1, 300),
    endpoint(2, 100),
    endpoint(3, 0),
    endpoint(4, 100, { warmupMs: 1_000, startedAt: 1 }),
  ];
  const snapshot = (list: readonly object[], id: string): string =>
    `retry: 5\n\nid: ${id}\nevent: snapshot\ndata: ${JSON.stringify({ instances: list })}\n\n: alive\n\n`;
  const { asked, close, url } = await door({
    "/v1/services/http%2Forders%3A%3A/events": [snapshot([], "1-1"), snapshot(instances, "1-2")],
    "/v1/instances": [
      'id: abc\nevent: registered\ndata: {"id":"abc","inForce":false}\n\n',
      'id: def\nevent: registered\ndata: {"id":"def","inForce":true}\n\n',
    ],
  });
  const clock = new FakeClock(501);
  const mesh = connect({ sidecar: url, random: seededRandom(7), clock: { ...systemClock, wall: () => clock.wall() } });
  try {
    const offered = mesh.register({ service: "stock", port: 9, labels: { a: "b" } });
    const orders = mesh.subscribe("orders");
    await offered.inForce;
    await until(() => orders.endpoints.length === 4);
    assert.ok(asked.includes("GET /v1/services/http%2Forders%3A%3A/events 1-1"));
    assert.ok(
      asked.some(
        (line) => line.startsWith("POST /v1/instances?follow abc {") && line.includes('"service":"http/stock::"'),
      ),
    );
    const picked = new Map<number, number>();
    for (let at = 0; at < 9_000; at += 1) {
      const { port } = orders.pick() ?? { port: 0 };
      picked.set(port, (picked.get(port) ?? 0) + 1);
    }
    const share = (port: number): number => Math.round((picked.get(port) ?? 0) / 1_000);
    assert.deepEqual([1, 2, 3, 4].map(share), [6, 2, 0, 1], "half warm is half the share");
  } finally {
    await mesh.close();
    await close();
  }
  assert.ok(asked.includes("DELETE /v1/instances/def"));
});

test("an application that says its name says it with what it follows and what it registers", async () => {
  const { asked, close, url } = await door({});
  const mesh = connect({ sidecar: url, application: "web shop" });
  mesh.subscribe("orders");
  mesh.register({ service: "stock", port: 9 }).inForce.catch(() => {}); // refused: only what was asked counts here
  await until(() => asked.length >= 2);
  await mesh.close();
  await close();
  assert.ok(asked.includes("GET /v1/services/http%2Forders%3A%3A/events?application=web%20shop"));
  assert.ok(asked.some((line) => line.includes('"application":"web shop"')));
});

test("what was registered again elsewhere is not registered again by itself", async () => {
  const { asked, close, url } = await door({
    "/v1/instances": ['event: superseded\ndata: {"detail":"elsewhere"}\n\n', ""],
  });
  const mesh = connect({ sidecar: url });
  await assert.rejects(mesh.register({ service: "stock", port: 9 }).inForce, (error) =>
    isMeshError(error, "sdk.superseded"),
  );
  await sleep(systemClock, 0);
  await mesh.close();
  await close();
  assert.equal(asked.length, 1);
});
