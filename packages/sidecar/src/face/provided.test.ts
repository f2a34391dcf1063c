import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { MemoryDirectory } from "@dualmesh/dialects/testing/memory-directory";
import type { Directory, Publication } from "@dualmesh/model/directory";
import { dubbo, greeter, openWorld } from "./testing.ts";

const published = (directory: MemoryDirectory): string[] =>
  directory
    .instances()
    .map((one) => `${one.host}|${one.appPort} ${one.mode} ${one.address}:${one.port} ${one.bypassed}`.trim())
    .sort();

test("an application that registers is published at the inbound port once its own port accepts", async () => {
  const { clock, directory, face, accepting, opened } = openWorld();
  let inForce = false;
  const publishing = face.publish(dubbo()).then(() => {
    inForce = true;
  });
  await clock.advance(2_000);
  assert.deepEqual(published(directory), []);
  assert.equal(inForce, false);
  accepting.add("127.0.0.1:20880");
  await clock.advance(400);
  await publishing;
  assert.deepEqual(published(directory), ["192.0.2.2|20880 mesh 192.0.2.2:20881"]);
  assert.deepEqual(opened, ["192.0.2.2:20881"]);
  assert.deepEqual(face.inbound(), [
    {
      host: "192.0.2.2",
      port: 20_881,
      services: [
        {
          service: greeter,
          application: "shop",
          host: "127.0.0.1",
          appPort: 20_880,
          authority: "192.0.2.2:20880",
          timeoutMs: 0,
          leaving: false,
        },
      ],
    },
  ]);
});

test("the original registration is published unchanged", async () => {
  const { clock, directory, face, accepting } = openWorld({ zone: "east" });
  accepting.add("127.0.0.1:20880");
  const original = dubbo();
  const publishing = face.publish(original);
  await clock.advance(10);
  await publishing;
  assert.deepEqual(directory.instances()[0]?.registration, original.registration);
  assert.equal(directory.instances()[0]?.zone, "east");
});

test("the advertised host takes the place of the registered one, and calls go to the address that accepts", async () => {
  const { clock, directory, face, accepting, opened } = openWorld({ advertise: "198.51.100.7" });
  accepting.add("192.0.2.2:20880");
  void face.publish(dubbo());
  await clock.advance(10);
  assert.deepEqual(published(directory), ["198.51.100.7|20880 mesh 198.51.100.7:20881"]);
  assert.deepEqual(opened, ["198.51.100.7:20881"]);
  assert.equal(face.inbound()[0]?.services[0]?.host, "192.0.2.2");
});

test("an application that is killed is out within two seconds and returns when it accepts", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  void face.publish(dubbo());
  await clock.advance(1_000);
  assert.equal(directory.instances().length, 1);
  accepting.clear();
  await clock.advance(1_100);
  assert.equal(directory.instances().length, 0);
  assert.equal(face.status().provided[0]?.health.state, "down");
  accepting.add("127.0.0.1:20880");
  await clock.advance(400);
  assert.equal(directory.instances().length, 1);
});

test("services of one application share its dials and the inbound port", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  void face.publish(dubbo());
  void face.publish(dubbo({ service: "dubbo/fx.Greeter::blue" }));
  await clock.advance(100);
  assert.equal(face.status().apps.length, 1);
  assert.equal(face.inbound().length, 1);
  assert.equal(face.inbound()[0]?.services.length, 2);
  assert.equal(
    directory.instances().every(({ port }) => port === 20_881),
    true,
  );
});

test("a second provider of one service gets a published port of its own, and another one when that is taken", async () => {
  const { clock, directory, face, accepting, taken } = openWorld();
  for (const port of [20_880, 20_890]) accepting.add(`127.0.0.1:${port}`);
  taken.add(20_900);
  void face.publish(dubbo());
  await clock.advance(100);
  void face.publish(dubbo({ appPort: 20_890 }));
  await clock.advance(100);
  assert.deepEqual(published(directory), [
    "192.0.2.2|20880 mesh 192.0.2.2:20881",
    "192.0.2.2|20890 mesh 192.0.2.2:20901",
  ]);
});

test("what cannot be carried is published at its real address with the reason", async () => {
  const { clock, directory, face, accepting } = openWorld();
  for (const port of [1, 2, 3, 4]) accepting.add(`127.0.0.1:${port}`);
  void face.publish(dubbo({ service: "tri/fx.Greeter::", appPort: 1 }));
  void face.publish(dubbo({ appPort: 2, parameters: "serialization=kryo" }));
  void face.publish(dubbo({ appPort: 3, parameters: "prefer.serialization=fst%2Chessian2" }));
  void face.publish(dubbo({ appPort: 4, parameters: "prefer.serialization=hessian2,fst" }));
  await clock.advance(100);
  assert.deepEqual(published(directory), [
    "192.0.2.2|1 sdk 192.0.2.2:1 protocol tri is not carried",
    "192.0.2.2|2 sdk 192.0.2.2:2 serialization kryo cannot be read",
    "192.0.2.2|3 sdk 192.0.2.2:3 serialization fst cannot be read",
    "192.0.2.2|4 mesh 192.0.2.2:20881",
  ]);
});

test("when the inbound port cannot be opened the application is published unmeshed", async () => {
  const { clock, directory, face, accepting, taken } = openWorld();
  accepting.add("127.0.0.1:20880");
  taken.add(20_881);
  void face.publish(dubbo());
  await clock.advance(100);
  assert.deepEqual(published(directory), ["192.0.2.2|20880 sdk 192.0.2.2:20880 192.0.2.2:20881 is in use"]);
});

test("a registration that names a port of the sidecar is refused", async () => {
  const { face } = openWorld();
  for (const appPort of [20_881, 20_882]) {
    await assert.rejects(face.publish(dubbo({ appPort })), { code: "publish.own-port" });
  }
});

test("what is withdrawn leaves the directory at once and is served until callers know", async () => {
  const { clock, directory, face, accepting } = openWorld({ lingerMs: 30_000 });
  accepting.add("127.0.0.1:20880");
  const publishing = face.publish(dubbo());
  await clock.advance(10);
  await (await publishing).withdraw();
  assert.deepEqual(directory.instances(), []);
  await clock.advance(29_000);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, true);
  await clock.advance(2_000);
  assert.deepEqual(face.inbound(), []);
  assert.deepEqual(face.status().ports, []);
  assert.deepEqual(face.status().apps, []);
});

test("what is served until callers know goes on in another process, and stays there when it is registered again", async () => {
  const before = openWorld({ lingerMs: 30_000 });
  before.accepting.add("127.0.0.1:20880");
  const publishing = before.face.publish(dubbo());
  await before.clock.advance(10);
  assert.deepEqual(before.face.lingering(), []);
  await (await publishing).withdraw();
  await before.clock.advance(10_000);
  const said = before.face.lingering();
  assert.deepEqual(
    said.map(({ entry, leftMs }) => [entry.port, entry.inbound.service, leftMs]),
    [[before.face.inbound()[0]?.port, dubbo().service, 20_000]],
  );
  const { clock, face, accepting } = openWorld({ lingerMs: 30_000 });
  await face.linger(said);
  assert.deepEqual(face.inbound(), before.face.inbound());
  await clock.advance(21_000);
  assert.deepEqual(face.inbound(), []);
  await face.linger(said);
  accepting.add("127.0.0.1:20880");
  void face.publish(dubbo());
  await clock.advance(60_000);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, false);
});

test("a change that its own withdrawal overtakes is no failure", async () => {
  const { clock, face, directory, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  const publishing = face.publish(dubbo());
  await clock.advance(10);
  const publication = await publishing;
  const updating = publication.update(dubbo({ weight: 7 }));
  const withdrawing = publication.withdraw();
  await clock.advance(10);
  await updating;
  await withdrawing;
  assert.deepEqual(directory.instances(), []);
});

test("an application that comes back while it is leaving keeps its port and stays", async () => {
  const { clock, directory, face, accepting } = openWorld({ lingerMs: 30_000 });
  accepting.add("127.0.0.1:20880");
  const publishing = face.publish(dubbo());
  await clock.advance(10);
  await (await publishing).withdraw();
  await clock.advance(20_000);
  void face.publish(dubbo({ incarnation: 2 }));
  await clock.advance(60_000);
  assert.equal(directory.instances()[0]?.incarnation, 2);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, false);
});

test("the later of two registrations of one instance is in force, and the former is told", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  let told = 0;
  const first = face.publish(dubbo(), { onSuperseded: () => (told += 1) });
  await clock.advance(10);
  const second = face.publish(dubbo({ weight: 7 }));
  await clock.advance(10);
  assert.equal(told, 1);
  await (await first).withdraw();
  await clock.advance(10);
  assert.equal(directory.instances()[0]?.weight, 7);
  await (await second).update(dubbo({ weight: 8 }));
  assert.equal(directory.instances()[0]?.weight, 8);
});

test("an instance that somebody else registered later is not registered again", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  let told = 0;
  void face.publish(dubbo(), { onSuperseded: () => (told += 1) });
  await clock.advance(10);
  await directory.publish(dubbo({ weight: 1 }));
  await clock.advance(60_000);
  assert.equal(told, 1);
  assert.deepEqual(published(directory), ["192.0.2.2|20880 sdk 192.0.2.2:20880"]);
});

test("a registration that is given up before the application accepts leaves nothing behind", async () => {
  const { clock, directory, face, accepting } = openWorld();
  const giveUp = new AbortController();
  const publishing = face.publish(dubbo(), { signal: giveUp.signal });
  const outcome = assert.rejects(publishing, { name: "AbortError" });
  await clock.advance(1_000);
  giveUp.abort();
  await outcome;
  accepting.add("127.0.0.1:20880");
  await clock.advance(20_000);
  assert.deepEqual(directory.instances(), []);
  assert.deepEqual(face.status().provided, []);
  assert.deepEqual(face.status().apps, []);
});

test("deregistering waits five seconds for a directory out of reach, and the log says what is left", async () => {
  const told: unknown[] = [];
  const log = { ...silentLog, warn: (fields: object) => void told.push(fields) };
  const directory = new MemoryDirectory({ clock: new FakeClock() });
  const unreachable: Directory = {
    publish: async (instance, options) => {
      const publication = await directory.publish(instance, options);
      return instance.appPort === 20_880 ? publication : { ...publication, withdraw: () => new Promise(() => {}) };
    },
    watch: (service, listener) => directory.watch(service, listener),
    watchCatalogue: (pattern, listener) => directory.watchCatalogue(pattern, listener),
  };
  const { clock, face, accepting } = openWorld({ log, directory: unreachable });
  for (const appPort of [20_880, 20_890]) {
    accepting.add(`127.0.0.1:${appPort}`);
    void face.publish(dubbo({ appPort }));
  }
  await clock.advance(10);
  let over = false;
  const deregistering = face.deregister().then(() => {
    over = true;
  });
  await clock.advance(4_999);
  assert.equal(over, false);
  await clock.advance(1);
  await deregistering;
  assert.deepEqual(told, [{ instances: 1, some: [`${greeter} at 20890`], waitedMs: 5_000 }]);
  assert.deepEqual(
    directory.instances().map(({ appPort }) => appPort),
    [20_890],
  );
});

test("an application that the data plane suspects and that refuses is withdrawn within 200 ms", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  void face.publish(dubbo());
  await clock.advance(1_000);
  accepting.clear();
  face.suspect("127.0.0.1", 20_880);
  await clock.advance(200);
  assert.deepEqual(directory.instances(), []);
});

test("deregistering takes everything back and goes on serving", async () => {
  const { clock, directory, face, accepting } = openWorld();
  for (const port of [20_880, 20_890]) accepting.add(`127.0.0.1:${port}`);
  void face.publish(dubbo());
  void face.publish(dubbo({ appPort: 20_890 }));
  await clock.advance(10);
  await face.deregister();
  assert.deepEqual(directory.instances(), []);
  await clock.advance(120_000);
  assert.equal(face.inbound().length, 2);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, false);
});

test("a directory out of reach never holds back a newer state", async () => {
  const memory = new MemoryDirectory({ clock: openWorld().clock });
  let reachable = Promise.withResolvers<void>();
  const slow: Directory = {
    watch: (service, listener) => memory.watch(service, listener),
    watchCatalogue: (pattern, listener) => memory.watchCatalogue(pattern, listener),
    async publish(instance, options): Promise<Publication> {
      const gaveUp = new Promise<never>((_, reject) =>
        options?.signal?.addEventListener("abort", () => reject(options.signal?.reason), { once: true }),
      );
      await Promise.race([reachable.promise, gaveUp]);
      return memory.publish(instance, options);
    },
  };
  const { clock, face, accepting } = openWorld({ directory: slow });
  accepting.add("127.0.0.1:20880");
  const publishing = face.publish(dubbo());
  const outcome = assert.rejects(publishing, { code: "publish.superseded" });
  await clock.advance(1_000);
  void face.publish(dubbo({ weight: 2 }));
  await clock.advance(1_000);
  await outcome;
  reachable.resolve();
  await clock.advance(1_000);
  assert.equal(memory.instances()[0]?.weight, 2);
  reachable = Promise.withResolvers();
});

test("an instance that the directory refuses is reported to the door", async () => {
  const memory = new MemoryDirectory({ clock: openWorld().clock });
  const refusing: Directory = {
    watch: (service, listener) => memory.watch(service, listener),
    watchCatalogue: (pattern, listener) => memory.watchCatalogue(pattern, listener),
    publish: async () => {
      throw new Error("too many instances");
    },
  };
  const { clock, face, accepting } = openWorld({ directory: refusing });
  accepting.add("127.0.0.1:20880");
  const outcome = assert.rejects(face.publish(dubbo()), /too many instances/);
  await clock.advance(10);
  await outcome;
  assert.deepEqual(face.status().provided, []);
});

test("an update that the directory refuses is reported, and what is wanted is published anew", async () => {
  const memory = new MemoryDirectory({ clock: openWorld().clock });
  let refusing = false;
  const directory: Directory = {
    watch: (service, listener) => memory.watch(service, listener),
    watchCatalogue: (pattern, listener) => memory.watchCatalogue(pattern, listener),
    async publish(instance, options) {
      if (refusing) throw new Error("not now");
      const publication = await memory.publish(instance, options);
      return { ...publication, update: () => Promise.reject(new Error("refused")) };
    },
  };
  const { clock, face, accepting } = openWorld({ directory });
  accepting.add("127.0.0.1:20880");
  const publishing = face.publish(dubbo());
  await clock.advance(10);
  refusing = true;
  await assert.rejects((await publishing).update(dubbo({ weight: 3 })), /refused/);
  await clock.advance(12_000);
  assert.equal(memory.instances()[0]?.weight, 100);
  refusing = false;
  await clock.advance(6_000);
  assert.equal(memory.instances()[0]?.weight, 3);
});

test("the data plane's routes are in force before an instance is published", async () => {
  const { clock, directory, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  const routed = Promise.withResolvers<void>();
  face.onInbound((ports) => (ports.length === 0 ? undefined : routed.promise));
  void face.publish(dubbo());
  await clock.advance(1_000);
  assert.deepEqual(directory.instances(), []);
  routed.resolve();
  await clock.advance(10);
  assert.equal(directory.instances().length, 1);
});

test("the longest timeout in a registration is what its callers are given", async () => {
  const { clock, face, accepting } = openWorld();
  accepting.add("127.0.0.1:20880");
  void face.publish(dubbo({ parameters: "timeout=1500&slow.timeout=9000&retries=2" }));
  await clock.advance(10);
  assert.equal(face.inbound()[0]?.services[0]?.timeoutMs, 9_000);
});
