import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshError } from "@dualmesh/base/errors";
import type { Directory } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { dubbo, greeter, openWorld, subscribe } from "./testing.ts";
import type { OutboundService } from "./wanted.ts";

const loop = "127.0.0.1:20882";
const real = "192.0.2.9:20880";
const carried = (changes: Partial<Instance> & { readonly parameters?: string } = {}) =>
  dubbo({ mode: "mesh", host: "192.0.2.8", port: 20_881, ...changes });
const unreadable = dubbo({ host: "192.0.2.9", parameters: "serialization=kryo" });

test("a subscriber has the loopback address at once, while the directory is out of reach", async () => {
  const { clock, directory, face } = openWorld();
  directory.answering = false;
  const { shown, sets } = subscribe(face, greeter);
  await clock.advance(0);
  assert.deepEqual(shown, [loop]);
  assert.equal(sets[0]?.freshSince, 0);
  assert.equal(sets[0]?.instances[0]?.registration.dialect, "native");
  directory.answering = true;
  await clock.advance(0);
  assert.ok((sets.at(-1)?.freshSince ?? 0) > 0, "the answer that nobody provides it is an answer");
  assert.deepEqual(shown, [loop]);
});

test("a service that the directory refuses leaves nothing behind, and is followed once there is room", async () => {
  const { clock, directory } = openWorld();
  await directory.publish(carried());
  let full = true;
  const limited: Directory = {
    publish: (instance, options) => directory.publish(instance, options),
    watchCatalogue: (pattern, listener) => directory.watchCatalogue(pattern, listener),
    watch: (service, listener) => {
      if (full) throw new MeshError("registry.limit", "no room");
      return directory.watch(service, listener);
    },
  };
  const { face } = openWorld({ directory: limited, clock });
  assert.throws(() => face.watch(greeter, () => {}), { code: "registry.limit" });
  face.ensure(greeter); // a call is in the way, which nothing may break
  await clock.advance(0);
  assert.deepEqual([...face.outbound().keys()], []);
  full = false;
  face.ensure(greeter);
  await clock.advance(0);
  assert.equal(face.outbound().get(greeter)?.known, true);
});

test("nothing is told from inside watch", () => {
  const { face } = openWorld();
  const { shown } = subscribe(face, greeter);
  assert.deepEqual(shown, []);
});

test("carried providers, meshed or not, stand behind the loopback address in the registration of one of them", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(carried({ parameters: "timestamp=5&timeout=700" }));
  await directory.publish(dubbo({ host: "192.0.2.7" }));
  const { shown, sets } = subscribe(face, greeter);
  await clock.advance(10);
  assert.deepEqual(shown, [loop]);
  const instance = sets.at(-1)?.instances[0];
  assert.equal(instance?.registration.dialect, "dubbo");
  assert.match(instance?.registration.text ?? "", /^dubbo:\/\/192\.0\.2\.7:20880\/fx\.Greeter\?/);
});

test("the loopback address keeps its registration when providers that say the same come, go and restart", async () => {
  const { clock, directory, face } = openWorld();
  const first = await directory.publish(carried({ parameters: "timestamp=5&pid=1" }));
  const { sets } = subscribe(face, greeter);
  await clock.advance(10);
  const text = sets.at(-1)?.instances[0]?.registration.text;
  await directory.publish(carried({ host: "192.0.2.1", parameters: "timestamp=9&pid=4" }));
  await clock.advance(10);
  await first.update(carried({ parameters: "timestamp=7&pid=2" }));
  await clock.advance(10);
  await first.withdraw();
  await clock.advance(10);
  assert.equal(sets.at(-1)?.instances[0]?.registration.text, text);
  const other = await directory.publish(carried({ host: "192.0.2.1", parameters: "timestamp=9&pid=4&timeout=9" }));
  await clock.advance(10);
  assert.match(sets.at(-1)?.instances[0]?.registration.text ?? "", /timeout=9/);
  await other.withdraw();
  await clock.advance(10);
  assert.match(sets.at(-1)?.instances[0]?.registration.text ?? "", /timeout=9/, "stays when nobody is left");
});

test("a provider's tag is not worn by the address that stands for all", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(carried({ parameters: "dubbo.tag=gray&timeout=1" }));
  const { sets } = subscribe(face, greeter);
  await clock.advance(10);
  assert.doesNotMatch(sets.at(-1)?.instances[0]?.registration.text ?? "", /tag/);
});

test("providers that cannot be carried are shown beside the loopback address", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(carried());
  await directory.publish(unreadable);
  const { shown } = subscribe(face, greeter);
  await clock.advance(10);
  assert.equal(shown.at(-1), `${loop} ${real}`);
});

test("when every known provider is bypassed only those are shown, at once to a subscriber who has seen nothing else", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(unreadable);
  const { shown } = subscribe(face, greeter);
  await clock.advance(10);
  assert.equal(shown.at(-1), real);
  await clock.advance(20_000);
  assert.equal(shown.at(-1), real);
});

test("the change from loopback to real addresses shows both for six seconds", async () => {
  const { clock, directory, face } = openWorld();
  const { shown } = subscribe(face, greeter);
  await clock.advance(30_000);
  await directory.publish(unreadable);
  await clock.advance(5_900);
  assert.deepEqual(shown, [loop, `${loop} ${real}`]);
  await clock.advance(200);
  assert.deepEqual(shown, [loop, `${loop} ${real}`, real]);
});

test("the change from a real address to loopback shows both for six seconds", async () => {
  const { clock, directory, face } = openWorld();
  const publication = await directory.publish(unreadable);
  const { shown } = subscribe(face, greeter);
  await clock.advance(30_000);
  shown.length = 0;
  await publication.update(dubbo({ host: "192.0.2.9", mode: "mesh", port: 20_881 }));
  await clock.advance(5_900);
  assert.deepEqual(shown, [`${loop} ${real}`]);
  await clock.advance(200);
  assert.deepEqual(shown, [`${loop} ${real}`, loop]);
});

test("a real address that left is not shown any longer", async () => {
  const { clock, directory, face } = openWorld();
  const publication = await directory.publish(unreadable);
  const { shown } = subscribe(face, greeter);
  await clock.advance(30_000);
  shown.length = 0;
  await publication.withdraw();
  await clock.advance(10);
  assert.deepEqual(shown, [loop]);
});

test("the loopback address goes at once when the last carried provider left and real ones have long been shown", async () => {
  const { clock, directory, face } = openWorld();
  const publication = await directory.publish(carried());
  await directory.publish(unreadable);
  const { shown } = subscribe(face, greeter);
  await clock.advance(30_000);
  await publication.withdraw();
  await clock.advance(10);
  assert.equal(shown.at(-1), real);
});

test("the loopback address stays when everything known was removed", async () => {
  const { clock, directory, face } = openWorld();
  const publication = await directory.publish(carried());
  const { shown } = subscribe(face, greeter);
  await clock.advance(30_000);
  await publication.withdraw();
  await clock.advance(60_000);
  assert.deepEqual(shown, [loop]);
});

test("a protocol that is not carried passes through as it is, without a stand-in", async () => {
  const { clock, directory, face } = openWorld();
  const service = "tri/fx.Greeter::";
  directory.answering = false;
  const { shown } = subscribe(face, service);
  await clock.advance(1_000);
  assert.deepEqual(shown, []);
  directory.answering = true;
  await directory.publish(dubbo({ service, host: "192.0.2.9" }));
  await clock.advance(10);
  assert.equal(shown.at(-1), real);
  assert.equal(face.outbound().has(service), false);
});

test("the data plane is told the real endpoints of each service that changes", async () => {
  const { clock, directory, face } = openWorld();
  const told: [string, OutboundService | undefined][] = [];
  face.onOutbound((service, state) => told.push([service, state]));
  subscribe(face, greeter);
  directory.answering = false;
  await clock.advance(0);
  assert.equal(told.at(-1)?.[1]?.known, false);
  directory.answering = true;
  await directory.publish(carried({ parameters: "timeout=700" }));
  await directory.publish(unreadable);
  await clock.advance(10);
  const state = told.at(-1)?.[1];
  assert.equal(told.at(-1)?.[0], greeter);
  assert.equal(state?.known, true);
  assert.equal(state?.timeoutMs, 700);
  assert.deepEqual(
    state?.instances.map(({ address, port }) => `${address}:${port}`),
    ["192.0.2.8:20881"],
  );
});

test("without a carried provider the data plane tries the others, for callers that still have the loopback address", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(unreadable);
  subscribe(face, greeter);
  await clock.advance(10);
  assert.equal(face.outbound().get(greeter)?.instances[0]?.address, "192.0.2.9");
});

test("a service that is only called is followed, and dropped after an hour without a call", async () => {
  let calledAt = 0;
  const { clock, directory, face } = openWorld({ calledAt: () => calledAt });
  const told: (OutboundService | undefined)[] = [];
  await directory.publish(carried());
  face.onOutbound((_, state) => told.push(state));
  face.ensure(greeter);
  await clock.advance(10);
  assert.equal(told.at(-1)?.instances.length, 1);
  await clock.advance(30 * 60_000);
  calledAt = clock.now();
  await clock.advance(59 * 60_000);
  assert.equal(face.outbound().size, 1);
  await clock.advance(2 * 60_000);
  assert.equal(face.outbound().size, 0);
  assert.equal(told.at(-1), undefined);
});

test("what callers name is bounded: the service used longest ago makes room", async () => {
  const { clock, face } = openWorld();
  for (let index = 0; index < 4_097; index += 1) face.ensure(`dubbo/fx.S${index}::`);
  await clock.advance(10);
  assert.equal(face.outbound().size, 4_096);
  assert.equal(face.outbound().has("dubbo/fx.S0::"), false);
  face.ensure("rmi/shop::");
  assert.equal(face.outbound().has("rmi/shop::"), false);
});

test("a service keeps being followed for a while when its last subscriber leaves", async () => {
  const { clock, face } = openWorld();
  const watch = face.watch(greeter, () => {});
  watch.close();
  await clock.advance(59 * 60_000);
  assert.equal(face.outbound().size, 1);
  await clock.advance(2 * 60_000);
  assert.equal(face.outbound().size, 0);
});

test("the timeout that consumers registered comes before the provider's", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(carried({ parameters: "timeout=700" }));
  const timeoutMs = async (): Promise<number | undefined> => {
    await clock.advance(10);
    return face.outbound().get(greeter)?.timeoutMs;
  };
  face.ensure(greeter);
  assert.equal(await timeoutMs(), 700);
  face.consumer(greeter, 250);
  assert.equal(await timeoutMs(), 250);
  face.consumer(greeter, 400);
  assert.equal(await timeoutMs(), 400, "the longest of the consumers");
  face.consumer(greeter, 0);
  assert.equal(await timeoutMs(), 700, "one that says nothing goes by the provider");
});

test("status says what is shown and why something is not carried", async () => {
  const { clock, directory, face } = openWorld();
  await directory.publish(unreadable);
  subscribe(face, greeter);
  await clock.advance(10);
  const [status] = face.status().wanted;
  assert.deepEqual(status?.bypassed, [{ address: real, reason: "serialization kryo cannot be read" }]);
  assert.deepEqual(status?.shown, [real]);
  assert.equal(status?.subscribers, 1);
});
