/**
 * The ZooKeeper door that stands before a real ensemble: raw clients and unmodified applications keep their sessions through it, and
 * go into the mesh and back while they call and are called. A subscriber of the real ensemble sees every list on the way.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sleep, systemClock, type Timer } from "@dualmesh/base/clock";
import type { ZooKeeperTestClient } from "@dualmesh/dialects/testing/zookeeper-client";
import type { Instance } from "@dualmesh/model/instance";
import { JuteWriter } from "@dualmesh/wire/jute/record";
import { BeforeHost, Forwarder, type Policy, rawClient } from "./before-host.ts";
import { buildFixtures, type JavaFixture, javaCommand } from "./fixtures.ts";
import { machineAddress, repository } from "./product.ts";
import { eventually, Program, temporary } from "./program.ts";
import { takeTurn } from "./turn.ts";
import { freePort } from "./world.ts";

const ephemeralSequential = 3;
const recursive = 1;

class Machine implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "dualmesh-before-"));
  readonly #programs: Program[] = [];

  constructor() {
    temporary.add(this.directory);
  }

  start(name: string, fixture: JavaFixture, main: string, words: Readonly<Record<string, string>>): Program {
    const home = join(this.directory, `${name}-home`);
    mkdirSync(home, { recursive: true });
    const program = new Program({
      name,
      ...javaCommand(fixture, main, home, words),
      cwd: repository,
      log: join(this.directory, `${name}.log`),
      env: { HOME: home, CI: "true" },
    });
    this.#programs.push(program);
    return program;
  }

  async startEnsemble(): Promise<number> {
    const port = await freePort();
    const data = join(this.directory, "ensemble");
    mkdirSync(data, { recursive: true });
    await this.start("ensemble", "zookeeper", "interop.Server", { port: String(port), data }).ready();
    return port;
  }

  tails(): string {
    return this.#programs.map((program) => `--- ${program.name}\n${program.tail()}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.end()));
    rmSync(this.directory, { recursive: true, force: true });
    temporary.delete(this.directory);
  }
}

const untouched: Policy = {
  modes: () => ({ provides: "direct", consumes: "direct" }),
  published: () => undefined,
  original: () => undefined,
  shown: ({ instances }) => instances,
};

async function replied(client: ZooKeeperTestClient, xid: number) {
  await eventually(`reply ${xid}`, 5_000, () => client.reply(xid) !== undefined);
  return client.reply(xid);
}

test("raw clients use a real ensemble through the door as if it were not there", async (t) => {
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using machine = new Machine();
  const ensemble = await machine.startEnsemble();
  await using host = await BeforeHost.start(ensemble, untouched);
  host.lead(true);
  const direct = await rawClient(ensemble);
  const first = await rawClient(host.port, { timeoutMs: 12_345 });
  assert.equal(first.connected?.timeoutMs, 12_345, "negotiated by the client itself");

  // A lock: nodes in a sequence, each owner waits for the one before it.
  assert.equal((await replied(first, first.create("/locks")))?.error, 0);
  const mine = await replied(first, first.create("/locks/lock-", ephemeralSequential));
  const theirs = await replied(direct, direct.create("/locks/lock-", ephemeralSequential));
  const pathOf = (reply: typeof mine): string => (reply?.body?.kind === "created" ? reply.body.path : "");
  assert.equal(pathOf(mine), "/locks/lock-0000000000");
  assert.equal((await replied(direct, direct.exists(pathOf(mine), true)))?.error, 0);

  // What this door has no word for: a transaction, the number of children, access lists, a configuration that is watched.
  const transaction = new JuteWriter().int(1).bool(false).int(-1).string("/config").buffer(Buffer.from("1"));
  transaction.list([0], () => transaction.int(31).string("world").string("anyone")).int(0);
  transaction.int(-1).bool(true).int(-1);
  const bytes = transaction.frame().subarray(4);
  assert.equal((await replied(first, first.send({ op: "unknown", code: 14, bytes })))?.error, 0);
  const count = new JuteWriter().string("/locks").frame().subarray(4);
  assert.equal((await replied(first, first.send({ op: "unknown", code: 104, bytes: count })))?.error, 0);
  assert.equal((await replied(first, first.send({ op: "getAcl", path: "/config" }, "acl")))?.body?.kind, "acl");
  assert.equal((await replied(first, first.getData("/config", true)))?.error, 0);
  direct.send({ op: "setData", path: "/config", data: Buffer.from("2"), version: -1 }, "stat");
  await eventually("the configuration is heard of", 5_000, () => first.events().includes("data /config"));
  assert.equal((await replied(first, first.addWatch("/locks", recursive)))?.error, 0);

  // The same session comes back over another connection, with all that is its own and with its watches.
  first.drop();
  const again = await rawClient(host.port, first.identity);
  assert.equal(again.connected?.sessionId, first.identity.sessionId);
  const watches = { data: ["/config"], exist: [], child: ["/locks"], persistent: [], recursive: ["/locks"] };
  assert.equal(
    (await replied(again, again.send({ op: "setWatches", code: 105, relativeZxid: 2n ** 40n, ...watches })))?.error,
    0,
  );
  const children = again.list("/locks");
  await replied(again, children);
  assert.deepEqual(again.children(children), ["lock-0000000000", "lock-0000000001"]);
  assert.deepEqual(direct.events(), []);
  assert.equal((await replied(again, again.delete(pathOf(mine))))?.error, 0);
  await eventually("the lock is handed over", 5_000, () => direct.events().includes(`deleted ${pathOf(mine)}`));
  await eventually("its former owner hears of it", 5_000, () => again.events().length >= 2);
  assert.equal((await replied(again, again.send({ op: "closeSession" })))?.error, 0);
  await eventually("the session is over", 5_000, () => again.closed);
  assert.notEqual(pathOf(theirs), "");
  direct.drop();
});

/** Keeps the list of a service as a subscriber of the ensemble has it, and whether it was ever without an instance. */
class Recorder implements Disposable {
  readonly #pings: Timer;
  readonly #client: ZooKeeperTestClient;
  readonly #path: string;
  readonly #names = new Set<string>();
  readonly history: string[] = [];
  emptied = 0;

  constructor(client: ZooKeeperTestClient, path: string) {
    this.#client = client;
    this.#path = path;
    this.#pings = systemClock.every(3_000, () => void client.send({ op: "ping" }));
  }

  [Symbol.dispose](): void {
    this.#pings.cancel();
    this.#client.drop();
  }

  async start(): Promise<this> {
    await replied(this.#client, this.#client.addWatch(this.#path, recursive));
    const list = this.#client.list(this.#path);
    await replied(this.#client, list);
    for (const name of this.#client.children(list) ?? []) this.#names.add(name);
    this.hear();
    return this;
  }

  /** Resolves when every provider stands at this port. */
  sees(port: number): Promise<void> {
    return eventually(`all providers at port ${port}`, 5_000, () => {
      this.hear();
      return [...this.#names].every((name) => portOf(name) === port);
    });
  }

  /** Takes in, in their order, the events that have come. */
  hear(): this {
    for (const event of this.#client.events()) {
      const [type, path = ""] = event.split(" ");
      if (!path.startsWith(`${this.#path}/`)) continue;
      const name = path.slice(this.#path.length + 1);
      if (type === "created") this.#names.add(name);
      else if (type === "deleted") this.#names.delete(name);
      this.history.push(`${type} ${portOf(name)} ${groupOf(name)}`);
      for (const group of ["", "red", "blue"]) {
        if (![...this.#names].some((one) => groupOf(one) === group)) this.emptied += 1;
      }
    }
    return this;
  }
}

const portOf = (name: string): number => Number(/:(\d+)/.exec(decodeURIComponent(name))?.[1] ?? 0);
const groupOf = (name: string): string => /[?&](?:group|uniqueId)=(\w*)/.exec(decodeURIComponent(name))?.[1] ?? "";

interface Framework {
  readonly fixture: JavaFixture;
  readonly service: string;
  readonly root: string;
}

const frameworks: readonly Framework[] = [
  { fixture: "dubbo27", service: "interop.ledger.Dubbo27Sdk", root: "dubbo" },
  { fixture: "dubbo3", service: "interop.ledger.Dubbo3Sdk", root: "dubbo" },
  { fixture: "sofarpc", service: "interop.ledger.SofaRpcSdk", root: "sofa-rpc" },
];

const calls = (program: Program): number => program.said.filter((line) => "call" in line).length;
const failures = (program: Program): string[] =>
  program.said.flatMap((line) => ("call" in line && "error" in line ? [`${line["call"]} ${line["error"]}`] : []));

for (const { fixture, service, root } of frameworks) {
  test(`a running provider and consumer of ${fixture} go into the mesh through the door and back, and no call is lost`, {
    timeout: 240_000,
  }, async (t) => {
    using _turn = await takeTurn();
    const missing = buildFixtures();
    if (missing !== undefined) return t.skip(missing);
    await using machine = new Machine();
    const ensemble = await machine.startEnsemble();
    const address = machineAddress();
    const appPort = await freePort();
    await using inbound = await Forwarder.start(address, appPort);
    await using outbound = await Forwarder.start(address, inbound.port);
    const policy: Policy = {
      ...untouched,
      published: ({ host, port }) => (port === appPort ? { host, port: inbound.port } : undefined),
      original: ({ host, port }) => (port === inbound.port ? { host, port: appPort } : undefined),
      shown: ({ instances }) => {
        const services = new Map<string, Instance>();
        for (const one of instances) services.set(one.service, { ...one, address, port: outbound.port });
        return [...services.values()];
      },
    };
    await using host = await BeforeHost.start(ensemble, policy);
    const through = `zookeeper://127.0.0.1:${host.port}`;
    const provider = await machine
      .start("provider", fixture, "interop.Provider", {
        registry: through,
        application: "before-provider",
        provider: "one",
        service,
        port: String(appPort),
      })
      .ready();
    const start = (name: string, registry: string): Promise<Program> =>
      machine.start(name, fixture, "interop.Consumer", { registry, application: name }).ready();
    const moved = await start("before-consumer", through);
    const observer = await start("before-observer", `zookeeper://127.0.0.1:${ensemble}`);
    const both = [moved, observer];
    try {
      for (const consumer of both) assert.equal((await consumer.ask(`pump ${service} 20`)).ok, true);
      await eventually("calls go through", 30_000, () =>
        both.every((consumer) => consumer.said.filter((line) => "who" in line).length > 20),
      );
      const before = both.map((consumer) => failures(consumer).length);
      const list = `/${root}/${service}/providers`;
      using recorder = await new Recorder(await rawClient(ensemble), list).start();
      await recorder.sees(appPort);

      const began = systemClock.now();
      host.lead(true);
      await eventually("the sessions are resumed through the door", 30_000, () => {
        const consumers = host.door.consumers().filter(({ connected }) => connected);
        const read = consumers.some(({ lists }) => lists.includes(list));
        return host.door.registrations().length === 3 && (read || fixture === "dubbo3");
      });
      assert.deepEqual(recorder.hear().history, [], "nothing was written again");
      const inSession = (id: string): boolean => host.door.consumers().some(({ session }) => session === id);
      await Promise.all(host.door.registrations().map(({ path }) => host.door.toMesh(path)));
      await recorder.sees(inbound.port);
      const sessions = host.door.consumers().map(({ session }) => session);
      await Promise.all(sessions.filter(inSession).map((session) => host.door.consumerToMesh(session)));
      t.diagnostic(`in after ${Math.round(systemClock.now() - began)} ms`);
      await eventually("the moved consumer calls through its sidecar", 20_000, () => outbound.bytes > 0);
      await eventually("the observer calls through the provider's", 20_000, () => inbound.bytes > outbound.bytes);
      await sleep(systemClock, 5_000);
      const way = { inbound: inbound.bytes, outbound: outbound.bytes };
      await sleep(systemClock, 2_000);
      const [all, own] = [inbound.bytes - way.inbound, outbound.bytes - way.outbound];
      assert.ok(own > 0 && all > 1.5 * own, `both call through sidecars only: ${all} and ${own} bytes`);

      const back = systemClock.now();
      await Promise.all(sessions.filter(inSession).map((session) => host.door.consumerToDirect(session)));
      await Promise.all(host.door.registrations().map(({ path }) => host.door.toDirect(path)));
      await recorder.sees(appPort);
      host.lead(false);
      t.diagnostic(`back after ${Math.round(systemClock.now() - back)} ms`);
      await sleep(systemClock, 12_000);
      const bytes = inbound.bytes + outbound.bytes;
      await sleep(systemClock, 1_000);
      const over = inbound.bytes + outbound.bytes;

      for (const consumer of both) assert.equal((await consumer.ask("stop")).ok, true);
      t.diagnostic(`calls: ${both.map(calls).join(" and ")}; list: ${recorder.hear().history.join(", ")}`);
      assert.equal(recorder.emptied, 0, "no subscriber saw a service without a provider");
      assert.deepEqual(
        both.map((consumer, index) => failures(consumer).slice(before[index])),
        [[], []],
      );
      assert.ok(over - bytes < 1_000, `nobody calls through sidecars any more: ${over - bytes} bytes`);
      assert.equal(provider.running, true);
    } catch (error) {
      t.diagnostic(machine.tails());
      t.diagnostic(both.flatMap(failures).slice(0, 10).join("\n"));
      throw error;
    }
  });
}
