import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import fc from "fast-check";
import type { HttpDoor } from "../http-door.ts";
import { ask } from "../testing/http-client.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { type MeshDoorOptions, maxMeshBodyBytes, openMeshDoor } from "./door.ts";

/** As SOFA-RPC 5.13.2 was seen to write them. */
const published = (service = "fx.Greeter:1.0", appName = "shop") => ({
  serviceName: service,
  protocolType: "bolt",
  providerMetaInfo: { protocol: "bolt", version: "4.0", serializeType: "hessian2", appName, properties: {} },
  onlyPublishInCloud: false,
  group: null,
});
const unpublished = (serviceName = "fx.Greeter:1.0") => ({ serviceName, protocolType: "bolt", group: null });
const subscribed = {
  serviceName: "fx.Greeter:1.0",
  protocolType: "bolt",
  targetAppAddress: null,
  vipEnforce: false,
  vipOnly: false,
  localCloudFirst: false,
  group: null,
  properties: null,
};

interface World {
  readonly clock: FakeClock;
  readonly directory: MemoryDirectory;
  readonly journal: MemoryJournal;
  open(options?: Partial<MeshDoorOptions>): Promise<HttpDoor>;
}

function world(): World {
  const clock = new FakeClock();
  const directory = new MemoryDirectory({ clock });
  const journal = new MemoryJournal();
  const context = {
    place: "sidecar",
    directory,
    journal,
    epoch: 1,
    clock,
    random: seededRandom(1),
    log: silentLog,
  } as const;
  const boltPort = (application: string): number => (application === "stock" ? 12_300 : 12_200);
  const open = (options: Partial<MeshDoorOptions> = {}): Promise<HttpDoor> =>
    openMeshDoor(context, { boltPort, advertise: "192.0.2.2", outboundPort: 12_220, ...options });
  return { clock, directory, journal, open };
}

async function post(door: HttpDoor, path: string, value: unknown): Promise<Record<string, unknown>> {
  const { status, json } = await ask(door.handle, path, { method: "POST", body: value });
  return { status, ...json };
}

const addresses = (directory: MemoryDirectory): string[] =>
  directory.instances().map((one) => `${one.service} ${one.application} ${one.address}:${one.port}`);
const ok = { status: 200, success: true };

test("a provider is published at the advertised host and the port that the configuration says", async () => {
  const { directory, open } = world();
  const door = await open();
  assert.deepEqual(await post(door, "/configs/application", { appName: "shop" }), ok);
  assert.deepEqual(await post(door, "/services/publish", published()), ok);
  assert.deepEqual(await post(door, "/services/publish", published("fx.Greeter:1.0:blue", "stock")), ok);
  assert.deepEqual(addresses(directory), [
    "bolt/fx.Greeter:1.0: shop 192.0.2.2:12200",
    "bolt/fx.Greeter:1.0:blue stock 192.0.2.2:12300",
  ]);
  assert.deepEqual(directory.instances()[0]?.registration, { dialect: "mesh", text: JSON.stringify(published()) });
});

test("a provider that does not say its application is the one that named itself last", async () => {
  const { directory, open } = world();
  const door = await open();
  await post(door, "/configs/application", { appName: "stock" });
  await post(door, "/services/publish", { serviceName: "fx.Greeter:1.0" });
  assert.deepEqual(addresses(directory), ["bolt/fx.Greeter:1.0: stock 192.0.2.2:12300"]);
});

test("unpublish takes a provider back, and its second sending does no harm", async () => {
  const { directory, journal, open } = world();
  const door = await open();
  await post(door, "/services/publish", published());
  assert.deepEqual(await post(door, "/services/unpublish", unpublished()), ok);
  assert.deepEqual(directory.instances(), []);
  assert.deepEqual(await post(door, "/services/unpublish", unpublished()), ok);
  assert.deepEqual([...journal.entries()], []);
});

test("where two applications offer a service their ports decide which one has ended", async () => {
  const { directory, open } = world();
  const door = await open();
  await post(door, "/services/publish", published());
  await post(door, "/services/publish", published("fx.Greeter:1.0", "stock"));
  assert.deepEqual(await post(door, "/services/unpublish", unpublished()), ok);
  assert.equal(directory.instances().length, 2);
});

test("a subscriber is told the sidecar's outbound port, and the service is watched until it unsubscribes", async () => {
  const { clock, directory, open } = world();
  const seen: string[] = [];
  const watch = directory.watch.bind(directory);
  directory.watch = (service, listener) => {
    seen.push(`+${service}`);
    const opened = watch(service, listener);
    return {
      close: () => {
        seen.push(`-${service}`);
        opened.close();
      },
    };
  };
  const door = await open();
  const { datas, ...rest } = await post(door, "/services/subscribe", subscribed);
  assert.deepEqual(rest, ok);
  assert.deepEqual(datas, ["127.0.0.1:12220?p=1&v=4.0&_SERIALIZETYPE=hessian2&app_name=dualmesh"]);
  await post(door, "/services/subscribe", subscribed);
  await post(door, "/services/unsubscribe", unpublished());
  assert.deepEqual(seen, ["+bolt/fx.Greeter:1.0:"]);
  await post(door, "/services/unsubscribe", unpublished());
  await post(door, "/services/unsubscribe", unpublished());
  await clock.advance(0);
  assert.deepEqual(seen, ["+bolt/fx.Greeter:1.0:", "-bolt/fx.Greeter:1.0:"]);
});

test("publications and subscriptions survive a restart", async () => {
  const { clock, directory, journal, open } = world();
  const before = await open();
  await post(before, "/services/publish", published());
  await post(before, "/services/subscribe", subscribed);
  const incarnation = directory.instances()[0]?.incarnation;
  await before[Symbol.asyncDispose]();
  assert.equal(directory.instances().length, 1, "the end of the door takes nothing back");
  assert.equal([...journal.entries()].length, 2);
  const after = await open();
  await clock.advance(0);
  assert.equal(directory.instances()[0]?.incarnation, incarnation);
  assert.deepEqual(after.sessions()[0]?.publishes, ["bolt/fx.Greeter:1.0:"]);
  assert.deepEqual(after.sessions()[0]?.watches, ["bolt/fx.Greeter:1.0:"]);
  await post(after, "/services/unpublish", unpublished());
  assert.deepEqual(directory.instances(), []);
});

test("what was found on disk is published once the application accepts, and forgotten when it never does", async () => {
  const { clock, directory, journal, open } = world();
  const before = await open();
  for (const name of ["shop", "stock"]) await post(before, "/services/publish", published("fx.Greeter:1.0", name));
  await before[Symbol.asyncDispose]();
  for (const instance of directory.instances()) await (await directory.publish(instance)).withdraw();
  const accepts = Promise.withResolvers<void>();
  const untilAccepting = (_host: string, port: number, signal: AbortSignal): Promise<void> => {
    const given = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    return Promise.race([port === 12_300 ? accepts.promise : given, given]);
  };
  await open({ untilAccepting });
  await clock.advance(60_000);
  assert.deepEqual(directory.instances(), []);
  accepts.resolve();
  await clock.advance(3_600_000);
  assert.deepEqual(
    directory.instances().map(({ application }) => application),
    ["stock"],
  );
  assert.deepEqual(
    [...journal.entries()].map(([key]) => key),
    ["publish/bolt/fx.Greeter:1.0:|stock"],
  );
});

test("an application that publishes again after a crash is a later incarnation and leaves no gap", async () => {
  const { clock, directory, open } = world();
  const door = await open();
  await post(door, "/services/publish", published());
  const first = directory.instances()[0]?.incarnation ?? 0;
  const sizes: number[] = [];
  directory.watch("bolt/fx.Greeter:1.0:", (set) => sizes.push(set.instances.length));
  await clock.advance(0);
  await post(door, "/services/publish", published());
  await clock.advance(0);
  assert.ok((directory.instances()[0]?.incarnation ?? 0) > first);
  assert.ok(sizes.every((size) => size === 1));
});

test("an instance that was registered elsewhere later is forgotten", async () => {
  const { directory, journal, open } = world();
  const door = await open();
  await post(door, "/services/publish", published());
  const [instance] = directory.instances();
  assert.ok(instance);
  await directory.publish(instance);
  assert.deepEqual([...journal.entries()], []);
  await post(door, "/services/unpublish", unpublished());
  assert.equal(directory.instances().length, 1, "the other one's is not taken back");
});

test("a publication that the disk refuses is refused", async () => {
  const { directory, journal, open } = world();
  const door = await open();
  journal.failing = true;
  const reply = await post(door, "/services/publish", published());
  assert.equal(reply["success"], false);
  assert.match(String(reply["errorMessage"]), /disk/);
  assert.deepEqual(directory.instances(), []);
  assert.deepEqual([...journal.entries()], []);
});

test("a publication that the directory refuses is refused, and what was published before stays", async () => {
  const { clock, directory, journal, open } = world();
  let refusal: string | undefined = "port 12200 is the sidecar's own";
  const publish = directory.publish.bind(directory);
  directory.publish = async (instance, options) => {
    if (refusal !== undefined) throw new MeshError("publish.own-port", refusal);
    return publish(instance, options);
  };
  const door = await open();
  const refused = { status: 200, success: false, errorMessage: "port 12200 is the sidecar's own" };
  assert.deepEqual(await post(door, "/services/publish", published()), refused);
  assert.deepEqual([...journal.entries()], []);
  refusal = undefined;
  assert.deepEqual(await post(door, "/services/publish", published()), ok);
  const kept = [...journal.entries()].map(([key, value]) => `${key} ${value}`);
  refusal = refused.errorMessage;
  assert.deepEqual(await post(door, "/services/publish", published()), refused);
  assert.equal(directory.instances().length, 1);
  assert.deepEqual(
    [...journal.entries()].map(([key, value]) => `${key} ${value}`),
    kept,
  );
  assert.deepEqual(await post(door, "/services/unpublish", unpublished()), ok);
  await clock.advance(0);
  assert.deepEqual(directory.instances(), []);
});

test("a publication that was accepted does not wait for the registry, and one that it refuses later is tried again", async () => {
  const { clock, directory, journal, open } = world();
  const publish = directory.publish.bind(directory);
  let refuse = (_error: Error): void => {};
  directory.publish = (_instance, options) => {
    options?.onAccepted?.();
    return new Promise((_, reject) => {
      refuse = reject;
    });
  };
  const door = await open();
  assert.deepEqual(await post(door, "/services/publish", published()), ok);
  refuse(new MeshError("registry.refused", "not now"));
  await clock.advance(5_000);
  const bypassed = () => door.sessions()[0]?.bypassed;
  assert.deepEqual(bypassed(), [{ registration: "bolt/fx.Greeter:1.0:", reason: "not now" }]);
  assert.equal([...journal.entries()].length, 1);
  directory.publish = publish;
  await clock.advance(5_000);
  assert.equal(directory.instances().length, 1);
  assert.deepEqual(bypassed(), []);
});

test("a protocol that is not Bolt is refused with the reason and shown", async () => {
  const { open } = world();
  const door = await open();
  const reply = await post(door, "/services/publish", { ...published(), protocolType: "rest" });
  assert.equal(reply["success"], false);
  assert.match(String(reply["errorMessage"]), /rest is not carried/);
  assert.equal(door.sessions()[0]?.bypassed[0]?.registration, "rest/fx.Greeter:1.0:");
});

test("unknown fields are left alone, malformed requests get a reason", async () => {
  const { open } = world();
  const door = await open();
  assert.deepEqual(await post(door, "/services/publish", { ...published(), __proto__: null, future: [1] }), ok);
  for (const body of [
    "",
    "{",
    "[]",
    "null",
    "7",
    "{}",
    '{"serviceName":7}',
    '{"serviceName":"x"}',
    '{"serviceName":":1.0"}',
    '{"serviceName":"x:1.0","providerMetaInfo":"y"}',
    JSON.stringify({ serviceName: `${"x".repeat(2_000)}:1.0` }),
    JSON.stringify(published("x:1.0", "y".repeat(300))),
  ]) {
    const reply = await post(door, "/services/publish", body);
    assert.equal(reply["success"], false, body.slice(0, 60));
    assert.equal(typeof reply["errorMessage"], "string");
  }
});

test("other paths, methods and oversize bodies are answered", async () => {
  const { open } = world();
  const door = await open();
  assert.equal((await post(door, "/", {}))["status"], 404);
  const get = await ask(door.handle, "/services/publish");
  assert.equal(get.status, 405);
  assert.equal((await post(door, "/services/publish", " ".repeat(maxMeshBodyBytes + 1)))["status"], 413);
});

test("the number of publications is bounded", async () => {
  const { directory, open } = world();
  const door = await open();
  for (let index = 0; index < 4_096; index += 1) await post(door, "/services/publish", published(`fx.S${index}:1.0`));
  const reply = await post(door, "/services/publish", published("fx.More:1.0"));
  assert.match(String(reply["errorMessage"]), /as many publications/);
  assert.deepEqual(await post(door, "/services/publish", published("fx.S1:1.0")), ok);
  assert.equal(directory.instances().length, 4_096);
});

test("law: no body makes the door fail", async () => {
  const { open } = world();
  const door = await open();
  const path = fc.constantFrom(
    "/configs/application",
    "/services/publish",
    "/services/unpublish",
    "/services/subscribe",
    "/services/unsubscribe",
  );
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes).toString("latin1")),
  );
  await fc.assert(
    fc.asyncProperty(path, body, async (where, text) => {
      const reply = await post(door, where, text);
      assert.equal(typeof reply["success"], "boolean");
    }),
  );
});

test("entries of the journal that cannot be read are left out", async () => {
  const { directory, journal, open } = world();
  for (const key of ["publish/x", "subscribe/x"]) journal.put(key, "{");
  await open();
  assert.deepEqual(directory.instances(), []);
  assert.deepEqual([...journal.entries()], []);
});
