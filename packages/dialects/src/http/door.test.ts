import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import fc from "fast-check";
import type { DoorContext } from "../door.ts";
import type { HttpDoor } from "../http-door.ts";
import { ask, follow, type ReceivedAnswer } from "../testing/http-client.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { type HttpDoorOptions, openHttpDoor } from "./door.ts";

interface World {
  readonly clock: FakeClock;
  readonly directory: MemoryDirectory;
  readonly journal: MemoryJournal;
  readonly consumers: string[];
  open(options?: HttpDoorOptions, context?: Partial<DoorContext>): Promise<HttpDoor>;
  /** What `work` comes to when time passes. */
  after<T>(ms: number, work: Promise<T>): Promise<T>;
}

function world(): World {
  const clock = new FakeClock();
  const directory = new MemoryDirectory({ clock });
  const journal = new MemoryJournal();
  const consumers: string[] = [];
  let epoch = 0;
  return {
    clock,
    directory,
    journal,
    consumers,
    open: (options, more = {}) => {
      epoch += 1;
      const random = seededRandom(epoch);
      const onConsumer = (service: string, timeoutMs: number): void => void consumers.push(`${service} ${timeoutMs}`);
      const context = {
        place: "registry",
        directory,
        journal,
        epoch,
        clock,
        random,
        log: silentLog,
        onConsumer,
      } as const;
      return openHttpDoor({ ...context, ...more }, options);
    },
    after: async (ms, work) => {
      await clock.advance(ms);
      return work;
    },
  };
}

const orders = { service: "orders", port: 8080 };
const addresses = (directory: MemoryDirectory): string[] =>
  directory.instances().map((one) => `${one.service} ${one.application} ${one.address}:${one.port}`);
const idOf = (answer: ReceivedAnswer): string => String(answer.json?.["id"]);
const instancesOf = (data: Record<string, unknown> | undefined): Record<string, unknown>[] =>
  data?.["instances"] as Record<string, unknown>[];

const servicesOf = (data: Record<string, unknown> | undefined): Record<string, unknown>[] =>
  data?.["services"] as Record<string, unknown>[];

test("an instance lives as long as its heartbeats come", async () => {
  const { clock, directory, open } = world();
  const door = await open();
  const answer = await ask(door.handle, "/v1/instances", {
    body: { ...orders, ttlMs: 5_000 },
    remote: "192.0.2.9:40000",
  });
  assert.equal(answer.status, 201);
  assert.equal(answer.headers["location"], `/v1/instances/${idOf(answer)}`);
  assert.deepEqual(addresses(directory), ["http/orders:: orders 192.0.2.9:8080"]);
  const renew = (): Promise<ReceivedAnswer> => ask(door.handle, `/v1/instances/${idOf(answer)}`, { method: "PUT" });
  for (let beat = 0; beat < 3; beat += 1) {
    await clock.advance(4_000);
    assert.equal((await renew()).status, 200);
  }
  await clock.advance(5_001);
  assert.deepEqual(addresses(directory), []);
  const unknown = await renew();
  assert.equal(unknown.status, 404);
  assert.match(String(unknown.json?.["detail"]), /register again/);
});

test("DELETE withdraws in order, and only who knows the id can", async () => {
  const { directory, journal, open } = world();
  const door = await open();
  const id = idOf(await ask(door.handle, "/v1/instances", { body: orders }));
  assert.equal((await ask(door.handle, "/v1/instances/0000", { method: "DELETE" })).status, 404);
  assert.equal((await ask(door.handle, `/v1/instances/${id}`, { method: "DELETE" })).status, 204);
  assert.deepEqual(addresses(directory), []);
  assert.deepEqual([...journal.entries()], []);
  assert.equal((await ask(door.handle, `/v1/instances/${id}`, { method: "DELETE" })).status, 404);
});

test("an instance lives as long as its connection, and a short break is not noticed", async () => {
  const { clock, directory, open } = world();
  const door = await open();
  let changes = 0;
  directory.watch("http/orders::", () => (changes += 1));
  const first = await follow(door.handle, "/v1/instances?follow", { body: orders });
  assert.deepEqual(
    first.events.map(({ event, data }) => [event, data["inForce"]]),
    [["registered", true]],
  );
  await clock.advance(3_600_000);
  assert.equal(directory.instances().length, 1);
  assert.match(first.text, /\n: registered\n\n/);
  changes = 0;
  first.leave();
  await clock.advance(1_900);
  const second = await follow(door.handle, "/v1/instances?follow", { body: orders });
  await clock.advance(10_000);
  assert.equal(directory.instances().length, 1);
  assert.equal(changes, 0, "subscribers hear nothing of it");
  second.leave();
  await clock.advance(2_001);
  assert.deepEqual(addresses(directory), []);
});

test("a connection that broke before it was answered holds its instance for the grace time only", async () => {
  const { clock, directory, open } = world();
  const door = await open();
  const gone = new AbortController();
  gone.abort();
  await ask(door.handle, "/v1/instances?follow", { body: orders, signal: gone.signal });
  assert.equal(directory.instances().length, 1);
  await clock.advance(2_001);
  assert.equal(directory.instances().length, 0);
});

test("who registers the same instance again takes it over, and the former client is told so", async () => {
  const { clock, directory, open } = world();
  const door = await open();
  const former = await follow(door.handle, "/v1/instances?follow", { body: orders });
  const id = idOf(await ask(door.handle, "/v1/instances", { body: { ...orders, weight: 50 } }));
  assert.deepEqual(
    former.events.map(({ event }) => event),
    ["registered", "superseded"],
  );
  assert.equal(former.ended, true);
  await clock.advance(20_000);
  assert.equal(directory.instances()[0]?.weight, 50);
  assert.equal((await ask(door.handle, `/v1/instances/${id}`, { method: "PUT" })).status, 200);
});

test("an instance that was registered elsewhere later is answered 410, and is not registered again", async () => {
  const { directory, open } = world();
  const door = await open();
  const id = idOf(await ask(door.handle, "/v1/instances", { body: orders }));
  const [instance] = directory.instances();
  await directory.publish({ ...(instance as NonNullable<typeof instance>), weight: 7 });
  const answer = await ask(door.handle, `/v1/instances/${id}`, { method: "PUT" });
  assert.equal(answer.status, 410);
  assert.equal(answer.json?.["type"], "urn:dualmesh:problem:superseded");
  assert.equal(directory.instances()[0]?.weight, 7);
});

test("registrations with heartbeats survive a restart under their ids, those of connections come back by themselves", async () => {
  const { clock, directory, journal, open } = world();
  const before = await open();
  const id = idOf(await ask(before.handle, "/v1/instances", { body: { ...orders, labels: { a: "b" } } }));
  const stream = await follow(before.handle, "/v1/instances?follow", { body: { ...orders, port: 8081 } });
  const incarnation = directory.instances()[0]?.incarnation;
  await before[Symbol.asyncDispose]();
  assert.equal(stream.ended, true);
  await clock.advance(10_000);
  assert.equal(directory.instances().length, 2, "the end of the door takes nothing back");
  const after = await open();
  await clock.advance(0);
  assert.equal(directory.instances().find(({ appPort }) => appPort === 8080)?.incarnation, incarnation);
  assert.equal((await ask(after.handle, `/v1/instances/${id}`, { method: "PUT" })).status, 200);
  assert.equal([...journal.entries()].length, 1);
  await clock.advance(30_001);
  assert.deepEqual(addresses(directory).length, 1);
});

test("a registration that the registry has not acknowledged is answered 202, and told when it is", async () => {
  const { clock, directory, open, after } = world();
  const acknowledged = Promise.withResolvers<void>();
  const publish = directory.publish.bind(directory);
  directory.publish = async (instance, options) => {
    await acknowledged.promise;
    return publish(instance, options);
  };
  const door = await open();
  const answer = await after(1_000, ask(door.handle, "/v1/instances", { body: orders }));
  assert.equal(answer.status, 202);
  assert.equal(answer.json?.["inForce"], false);
  const stream = await after(1_000, follow(door.handle, "/v1/instances?follow", { body: { ...orders, port: 8081 } }));
  acknowledged.resolve();
  await clock.advance(0);
  assert.deepEqual(
    stream.events.map(({ data }) => data["inForce"]),
    [false, true],
  );
});

test("what the registry refuses is said with the reason", async () => {
  const { directory, open } = world();
  directory.publish = async () => {
    throw new MeshError("registry.limit", "200,000 services are known and no more are taken");
  };
  const door = await open();
  for (const target of ["/v1/instances", "/v1/instances?follow"]) {
    const answer = await ask(door.handle, target, { body: orders });
    assert.equal(answer.status, 503);
    assert.match(String(answer.json?.["detail"]), /200,000 services/);
  }
  assert.deepEqual(door.sessions(), []);
});

test("a port that the sidecar itself has is the application's mistake, which no second try mends", async () => {
  const { directory, open } = world();
  directory.publish = async () => {
    throw new MeshError("publish.own-port", "http/orders:: is registered at port 8080, which is the sidecar's own");
  };
  const door = await open();
  for (const target of ["/v1/instances", "/v1/instances?follow"]) {
    const answer = await ask(door.handle, target, { body: orders });
    assert.equal(answer.status, 400);
    assert.equal(answer.json?.["key"], "port");
  }
});

test("a service is written short, canonically or in parts, and each service has one text", async () => {
  const { directory, open } = world();
  const door = await open();
  const services: readonly unknown[] = [
    "Orders",
    "http/orders",
    "http/orders::",
    { name: "orders" },
    { protocol: "bolt", name: "fx.Greeter", version: "1.0", group: "red" },
    "tcp/redis::",
    "bolt/fx.Greeter:1.0:",
    "own.thing/a%2Fb:1:",
  ];
  const seen: string[] = [];
  for (const [at, service] of services.entries()) {
    const answer = await ask(door.handle, "/v1/instances", { body: { service, port: 9000 + at } });
    seen.push(String(answer.json?.["service"]));
  }
  assert.deepEqual(seen, [
    "http/orders::",
    "http/orders::",
    "http/orders::",
    "http/orders::",
    "bolt/fx.Greeter:1.0:red",
    "tcp/redis::",
    "bolt/fx.Greeter:1.0:",
    "own.thing/a%2Fb:1:",
  ]);
  for (const path of ["orders", "http/orders", "http/orders::", "http%2Forders%3A%3A", "http/orders%3A%3A"]) {
    assert.equal(instancesOf((await ask(door.handle, `/v1/services/${path}`)).json).length, 4, path);
  }
  for (const path of ["own.thing/a%2Fb:1:", "own.thing%2Fa%252Fb%3A1%3A"]) {
    assert.equal(instancesOf((await ask(door.handle, `/v1/services/${path}`)).json).length, 1, path);
  }
  assert.equal(directory.instances().length, 8);
});

test("what is wrong with a body is said by name", async () => {
  const { open } = world();
  const door = await open();
  const cases: readonly (readonly [unknown, string, RegExp])[] = [
    [{ port: 1 }, "service", /service is missing/],
    [{ service: "orders" }, "port", /port is missing/],
    [{ ...orders, port: 0 }, "port", /1 to 65535/],
    [{ ...orders, prot: 1 }, "prot", /there is no "prot": the keys are service/],
    ['{"service":"orders","port":1,"__proto__":1}', "__proto__", /there is no/],
    [{ service: { name: "a", nam: 1 }, port: 1 }, "service.nam", /there is no "service.nam"/],
    [{ service: "a/b/c", port: 1 }, "service", /PROTOCOL\/NAME/],
    [{ ...orders, labels: { a: 1 } }, "labels.a", /not a text/],
    [{ ...orders, labels: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`l${at}`, ""])) }, "labels", /64/],
    [
      { ...orders, labels: Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`l${at}`, "x".repeat(1000)])) },
      "labels",
      /12288/,
    ],
    [{ ...orders, host: "0.0.0.0" }, "host", /nobody can call/],
    [{ ...orders, host: "a b" }, "host", /neither/],
    [{ ...orders, ttlMs: 10 }, "ttlMs", /1000/],
    [{ ...orders, weight: 1.5 }, "weight", /whole number/],
    [{ ...orders, application: "a\u0000b" }, "application", /control/],
    ["[".repeat(30_000) + "]".repeat(30_000), "", /not an object/],
    ["{", "", /not JSON/],
    [Buffer.from([0x22, 0xff, 0x22]), "", /UTF-8/],
  ];
  for (const [body, key, detail] of cases) {
    const answer = await ask(door.handle, "/v1/instances", { body: body as object });
    assert.equal(answer.status, 400, JSON.stringify(answer.json));
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.equal(answer.json?.["key"], key);
    assert.match(String(answer.json?.["detail"]), detail);
  }
  const both = await ask(door.handle, "/v1/instances?follow", { body: { ...orders, ttlMs: 5_000 } });
  assert.equal(both.json?.["key"], "ttlMs");
});

test("web pages can use nothing of it", async () => {
  const { directory, open } = world();
  const door = await open({}, { place: "sidecar" });
  const form = { "content-type": "text/plain" };
  assert.equal((await ask(door.handle, "/v1/instances", { body: orders, headers: form })).status, 415);
  const page = { origin: "http://evil.example" };
  assert.equal((await ask(door.handle, "/v1/instances", { body: orders, headers: page })).status, 403);
  assert.deepEqual(directory.instances(), []);
});

test("paths and methods that do not exist are said to", async () => {
  const { open } = world();
  const door = await open();
  assert.equal((await ask(door.handle, "/v2")).status, 404);
  assert.equal((await ask(door.handle, "/v1/services/")).status, 404);
  const answer = await ask(door.handle, "/v1/services", { method: "DELETE" });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers["allow"], "GET, HEAD");
  assert.equal((await ask(door.handle, "/v1/instances", { method: "constructor" })).status, 405);
});

test("while nothing is known the answer is 503 and never an empty list", async () => {
  const { directory, open, after } = world();
  directory.answering = false;
  const door = await open();
  for (const target of ["/v1/services/orders", "/v1/services"]) {
    const answer = await after(1_000, ask(door.handle, target));
    assert.equal(answer.status, 503);
    assert.equal(answer.headers["retry-after"], "1");
  }
  const waiting = ask(door.handle, "/v1/services/orders");
  directory.answering = true;
  const known = await waiting;
  assert.deepEqual([known.status, instancesOf(known.json)], [200, []]);
});

test("a service is followed: whole sets with revisions, and what a client has is not sent again", async () => {
  const { clock, consumers, open } = world();
  const door = await open();
  const stream = await follow(door.handle, "/v1/services/orders/events?timeoutMs=1500");
  await clock.advance(0);
  const id = idOf(await ask(door.handle, "/v1/instances", { body: orders }));
  await clock.advance(0);
  await ask(door.handle, `/v1/instances/${id}`, { method: "DELETE" });
  await clock.advance(0);
  assert.deepEqual(
    stream.events.map(({ event, data }) => [event, instancesOf(data).length]),
    [
      ["snapshot", 0],
      ["snapshot", 1],
      ["snapshot", 0],
    ],
  );
  const [first, , last] = stream.events;
  assert.notEqual(first?.id, last?.id);
  assert.deepEqual(consumers, ["http/orders:: 1500"]);
  const headers = { "last-event-id": last?.id ?? "" };
  const again = await follow(door.handle, "/v1/services/orders/events", { headers });
  await clock.advance(15_000);
  assert.deepEqual(again.events, []);
  assert.match(again.text, /\n: revision 1-3 freshSince \d+\n\n/);
  const other = await follow(door.handle, "/v1/services/orders/events", { headers: { "last-event-id": "0-3" } });
  assert.equal(other.events.length, 1);
});

test("who asks for increments is told what was added, changed and removed", async () => {
  const { clock, open } = world();
  const door = await open();
  const stream = await follow(door.handle, "/v1/services/orders/events?incremental");
  await clock.advance(0);
  const id = idOf(await ask(door.handle, "/v1/instances", { body: orders }));
  await clock.advance(0);
  await ask(door.handle, "/v1/instances", { body: { ...orders, weight: 1 } });
  await clock.advance(0);
  await ask(door.handle, `/v1/instances/${id}`, { method: "DELETE" }); // taken over: not its own any more
  await ask(door.handle, "/v1/instances", { body: { ...orders, port: 8081 } });
  await clock.advance(40_000);
  const told = stream.events.map(({ event, data }) =>
    event === "snapshot"
      ? [event]
      : [event, ...["added", "changed", "removed"].map((what) => (data[what] as []).length)],
  );
  assert.deepEqual(
    told,
    [
      ["snapshot"],
      ["changed", 1, 0, 0],
      ["changed", 0, 1, 0],
      ["changed", 1, 0, 0],
      ["changed", 0, 0, 1],
      ["changed", 0, 0, 1],
    ].slice(0, told.length),
  );
  assert.ok(told.length >= 5);
});

test("the catalogue is listed and followed by pattern", async () => {
  const { clock, open } = world();
  const door = await open();
  const stream = await follow(door.handle, "/v1/services/events?pattern=http/*");
  for (const service of ["orders", "stock", "tcp/redis"])
    await ask(door.handle, "/v1/instances", { body: { service, port: 1 } });
  await clock.advance(0);
  const answer = await ask(door.handle, "/v1/services?pattern=http/*");
  const services = servicesOf(answer.json);
  assert.deepEqual(
    services.map(({ service }) => service),
    ["http/orders::", "http/stock::"],
  );
  assert.deepEqual(services[0], {
    service: "http/orders::",
    protocol: "http",
    name: "orders",
    version: "",
    group: "",
    applications: ["orders"],
  });
  assert.deepEqual(servicesOf(stream.events.at(-1)?.data).length, 2);
  assert.equal((await ask(door.handle, "/v1/services?pattern=a%20b")).status, 400);
});

test("at a sidecar a service that its requests do not name has an address of its own, others the outbound port", async () => {
  const { clock, directory, open } = world();
  const own = { application: "dualmesh", host: "127.0.0.1", address: "127.0.0.1", port: 20_882, mode: "mesh" as const };
  const view = directory.view({ translate: (instance) => ({ ...instance, ...own }) });
  const asked: string[] = [];
  const standIn = async (service: string): Promise<{ address: string; port: number } | undefined> => {
    asked.push(service);
    return service === "tcp/full::" ? undefined : { address: "127.16.0.1", port: 20_882 };
  };
  const door = await open({ advertise: "192.0.2.2" }, { place: "sidecar", directory: view, standIn });
  const urls = async (service: string): Promise<unknown[]> =>
    instancesOf((await ask(door.handle, `/v1/services/${service}`)).json).map(({ url }) => url);
  assert.deepEqual(await urls("orders"), ["http://127.16.0.1:20882"], "before anybody provides it");
  for (const service of ["orders", "bolt/fx.Greeter:1.0:", "tcp/redis", "tcp/full"]) {
    await ask(door.handle, "/v1/instances", { body: { service, port: 12_200 } });
  }
  await clock.advance(0);
  assert.deepEqual(
    directory.instances().map(({ address }) => address),
    Array.from({ length: 4 }, () => "192.0.2.2"),
  );
  assert.deepEqual(await urls("orders"), ["http://127.16.0.1:20882"]);
  assert.deepEqual(await urls("tcp/redis"), ["tcp://127.16.0.1:20882"]);
  assert.deepEqual(await urls("bolt/fx.Greeter:1.0:"), ["bolt://127.0.0.1:20882"]);
  const full = ask(door.handle, "/v1/services/tcp/full");
  await clock.advance(1_000);
  assert.equal((await full).status, 503, "where no address is left, none is given that would answer for nobody");
  assert.deepEqual(asked, ["http/orders::", "tcp/redis::", "tcp/full::"]);
});

test("an instance is at the host that its client states, or at its client's address, or on loopback where the door's machine is", async () => {
  const { directory, open } = world();
  const door = await open({ advertise: "192.0.2.2" });
  const clients = [
    "127.0.0.1:1",
    "[::1]:1",
    "::ffff:127.0.0.1:1",
    "192.0.2.9:1",
    "::ffff:192.0.2.10:1",
    "2001:db8::1:1",
  ];
  for (const [at, remote] of clients.entries()) {
    await ask(door.handle, "/v1/instances", { body: { ...orders, port: 1 + at }, remote });
  }
  await ask(door.handle, "/v1/instances", { body: { ...orders, host: "orders.example" } });
  const hosts = directory.instances().map(({ host }) => host);
  const own = "192.0.2.2";
  assert.deepEqual(hosts, [own, own, own, "192.0.2.9", "192.0.2.10", "2001:db8::1", "orders.example"]);
});

test("limits: instances of one client and of all, streams, services, bytes that are not read", async () => {
  const { clock, open } = world();
  const limits = { instances: 3, instancesOfClient: 2, streams: 2, services: 2, queuedBytes: 100, bodyBytes: 200 };
  const door = await open({ limits });
  const register = async (port: number, remote: string): Promise<number> =>
    (await ask(door.handle, "/v1/instances", { body: { ...orders, port }, remote })).status;
  assert.deepEqual([await register(1, "192.0.2.1:1"), await register(2, "192.0.2.1:2")], [201, 201]);
  assert.equal(await register(3, "192.0.2.1:3"), 503);
  assert.equal(await register(1, "192.0.2.1:4"), 201, "again is not one more");
  assert.deepEqual([await register(1, "192.0.2.2:1"), await register(1, "192.0.2.3:1")], [201, 503]);
  const large = await ask(door.handle, "/v1/instances", { body: { ...orders, zone: "x".repeat(200) } });
  assert.equal(large.status, 413);
  const one = await follow(door.handle, "/v1/services/a/events");
  const two = await follow(door.handle, "/v1/services/b/events");
  assert.equal((await ask(door.handle, "/v1/services/c/events")).status, 503);
  assert.equal((await ask(door.handle, "/v1/services/c")).status, 503);
  two.leave();
  assert.equal((await ask(door.handle, "/v1/services/c")).status, 200, "what nobody follows makes room");
  one.queuedBytes = 101;
  await clock.advance(15_000);
  assert.equal(one.ended, true);
  assert.deepEqual(
    door.sessions().filter(({ watches }) => watches.length > 0),
    [],
  );
});

test("an application that only follows is shown by the name that it says", async () => {
  const { open } = world();
  const door = await open();
  await follow(door.handle, "/v1/services/a/events?application=web%20shop");
  await follow(door.handle, "/v1/services/events");
  assert.deepEqual(
    door.sessions().map(({ application }) => application),
    ["web shop", ""],
  );
  for (const name of ["%07", "x".repeat(256)])
    assert.equal((await ask(door.handle, `/v1/services/a/events?application=${name}`)).status, 400);
});

test("what the same dialect gives back is what was posted, but for host and port", async () => {
  const name = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9.-]{0,20}$/);
  const value = fc.stringMatching(/^[ -~\u00a0-\u024f\u4e00-\u4eff]{0,30}$/);
  const posted = fc.record(
    {
      service: fc.oneof(
        name,
        fc.record({ protocol: fc.constantFrom("http", "tcp", "bolt"), name }, { requiredKeys: ["name"] }),
      ),
      port: fc.integer({ min: 1, max: 65_535 }),
      host: fc.constantFrom("192.0.2.1", "2001:db8::1", "orders.example"),
      application: name,
      weight: fc.integer({ min: 0, max: 10_000 }),
      zone: value,
      labels: fc.dictionary(name, value, { maxKeys: 5 }),
      ttlMs: fc.integer({ min: 1_000, max: 60_000 }),
    },
    { requiredKeys: ["service", "port"] },
  );
  await fc.assert(
    fc.asyncProperty(posted, async (body) => {
      const { open } = world();
      const door = await open();
      const { json } = await ask(door.handle, "/v1/instances", { body });
      const service = encodeURIComponent(String(json?.["service"]));
      const [shown] = instancesOf((await ask(door.handle, `/v1/services/${service}`)).json);
      const { host, port, ...rest } = (shown?.["registration"] ?? {}) as Record<string, unknown>;
      const { host: _host, port: postedPort, ...wanted } = JSON.parse(JSON.stringify(body)) as Record<string, unknown>;
      assert.deepEqual(rest, wanted);
      assert.deepEqual([host, port], [shown?.["address"], postedPort]);
      await door[Symbol.asyncDispose]();
    }),
    { numRuns: 50 },
  );
});

test("no bytes in a body and no path bring the door down", async () => {
  const { open } = world();
  const door = await open({ limits: { instances: 10, services: 10 } });
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(garbage, fc.webPath(), async (body, path) => {
      const answer = await ask(door.handle, "/v1/instances", { body });
      assert.ok(answer.status >= 400 && answer.status < 500);
      const found = await ask(door.handle, `/v1/services/${path.replaceAll("//", "/")}x`);
      assert.ok(found.status === 200 || (found.status >= 400 && found.status < 500), `${path} ${found.status}`);
    }),
    { numRuns: 200 },
  );
});
