import assert from "node:assert/strict";
import { test } from "node:test";
import { readFacts } from "../process/read.ts";
import type { CatchRule, Selection } from "./host.ts";
import { openLinux } from "./linux.ts";
import { openTestCgroup, openTestNamespace, until, whyNoCgroups, whyNoNamespaces } from "./testing.ts";

const registry = { host: "10.76.0.1", port: 2_181 };
const registry6 = { host: "fd76::1", port: 2_181 };
const appUid = 4_101;
const sidecarUid = 4_102;

/** A namespace with a registry at an address of its own, and a door on loopback. */
async function openScene(cutByReset = false) {
  const namespace = await openTestNamespace("10.76.0.1/32", "10.76.0.2/32", "fd76::1/128");
  const server = await namespace.peer();
  await server.listen(registry, "registry");
  await server.listen(registry6, "registry 6");
  const sidecar = await namespace.peer({ uid: sidecarUid });
  const port = await sidecar.listen({ host: "127.0.0.1" }, "door");
  const port6 = await sidecar.listen({ host: "::1" }, "door 6");
  const host = await openLinux({ cutByReset }).host(namespace.netns);
  assert.ok(host !== undefined);
  const rule = (name: string, of: Selection): CatchRule => ({
    name,
    of,
    ways: [
      { server: registry, port },
      { server: registry6, port: port6 },
    ],
  });
  return {
    namespace,
    server,
    sidecar,
    host,
    rule,
    port,
    port6,
    [Symbol.asyncDispose]: () => namespace[Symbol.asyncDispose](),
  };
}

for (const kind of ["uid", "cgroup"] as const) {
  for (const depth of kind === "uid" ? ([1] as const) : ([1, 2] as const)) {
    test(`by ${kind} of depth ${depth} the new connections of one process are caught, and nobody else's`, {
      skip: whyNoCgroups(),
    }, async () => {
      using cgroup = openTestCgroup(depth);
      await using scene = await openScene();
      const { namespace, sidecar, host, rule } = scene;
      const app = await namespace.peer({ uid: appUid, cgroup });
      const other = await namespace.peer({ uid: 4_103 });
      const before = await app.dial(registry);
      assert.equal(before.greeting, "registry");
      const of: Selection = kind === "uid" ? { kind, uid: appUid } : { kind, path: cgroup.path };
      assert.deepEqual(await host.check(of), []);
      await host.catch(rule("app", of));
      assert.deepEqual(await host.caught(), ["app"]);
      assert.equal((await app.dial(registry)).greeting, "door");
      assert.equal((await app.dial(registry6)).greeting, "door 6");
      assert.equal((await other.dial(registry)).greeting, "registry");
      assert.equal((await sidecar.dial(registry)).greeting, "registry");
      assert.equal((await sidecar.dial(registry6)).greeting, "registry 6");
      await before.echo("still here");
      await host.release("app");
      assert.deepEqual(await host.caught(), []);
      assert.equal((await app.dial(registry)).greeting, "registry");
      await host.release("app");
      await app.end();
    });
  }
}

test("a server at a loopback address is led to its door as well", { skip: whyNoNamespaces() }, async () => {
  await using scene = await openScene();
  const { namespace, server, host, port } = scene;
  const local = { host: "127.0.0.1", port: await server.listen({ host: "127.0.0.1" }, "local registry") };
  const app = await namespace.peer({ uid: appUid });
  await host.catch({ name: "app", of: { kind: "uid", uid: appUid }, ways: [{ server: local, port }] });
  assert.equal((await app.dial(local)).greeting, "door");
});

test("rules of two names are in force together, and a rule takes the place of the one of its name", {
  skip: whyNoNamespaces(),
}, async () => {
  await using scene = await openScene();
  const { namespace, host, rule } = scene;
  const first = await namespace.peer({ uid: appUid });
  const second = await namespace.peer({ uid: 4_104 });
  await host.catch(rule("first", { kind: "uid", uid: appUid }));
  await host.catch(rule("second", { kind: "uid", uid: 4_104 }));
  assert.deepEqual(await host.caught(), ["first", "second"]);
  assert.equal((await first.dial(registry)).greeting, "door");
  assert.equal((await second.dial(registry)).greeting, "door");
  await host.catch(rule("first", { kind: "uid", uid: 4_105 }));
  assert.equal((await first.dial(registry)).greeting, "registry");
  await host.release("second");
  assert.deepEqual(await host.caught(), ["first"]);
  assert.equal((await second.dial(registry)).greeting, "registry");
});

test("a rule leads an established connection nowhere, also where nothing was tracked before", {
  skip: whyNoNamespaces(),
}, async () => {
  await using scene = await openScene();
  const { namespace, host, rule } = scene;
  const app = await namespace.peer({ uid: appUid });
  const standing = [await app.dial(registry), await app.dial(registry6)];
  await host.catch(rule("app", { kind: "uid", uid: appUid }));
  for (const [index, flow] of standing.entries()) await flow.echo(`after the rule ${index}`);
  await host.keepTracking();
  for (const [index, flow] of standing.entries()) await flow.echo(`after the table ${index}`);
});

test("connections that a rule led go on when it is taken back, and a cut after that is heard at both ends within a second", {
  skip: whyNoNamespaces(),
}, async (t) => {
  await using scene = await openScene();
  const { namespace, sidecar, host, rule } = scene;
  const app = await namespace.peer({ uid: appUid });
  await host.keepTracking();
  await host.keepTracking();
  await host.catch(rule("app", { kind: "uid", uid: appUid }));
  const led = [await app.dial(registry), await app.dial(registry6)];
  assert.deepEqual(
    led.map(({ greeting }) => greeting),
    ["door", "door 6"],
  );
  await host.release("app");
  for (const [index, flow] of led.entries()) await flow.echo(`after the release ${index}`);
  const began = performance.now();
  assert.equal(await host.cut(led.map(({ flow }) => flow)), 2);
  await until(
    "both ends have heard",
    () => led.every((flow) => flow.ended() !== undefined) && sidecar.ended.length === 2,
  );
  const tookMs = performance.now() - began;
  t.diagnostic(`both ends of two connections heard of it within ${Math.round(tookMs)} ms`);
  assert.ok(tookMs < 1_000, `${tookMs} ms`);
  assert.deepEqual(
    led.map((flow) => flow.ended()),
    ["ECONNABORTED", "ECONNABORTED"],
  );
  assert.deepEqual(
    sidecar.ended.map(({ why }) => why),
    ["ECONNRESET", "ECONNRESET"],
  );
  assert.equal((await app.dial(registry)).greeting, "registry");
});

test("a cut ends the connections that are named and no other, and counts those that are gone", {
  skip: whyNoNamespaces(),
}, async () => {
  await using scene = await openScene();
  const { namespace, server, host } = scene;
  const app = await namespace.peer({ uid: appUid });
  const flows = await Promise.all(Array.from({ length: 70 }, () => app.dial(registry)));
  const [kept, ...others] = flows;
  assert.ok(kept !== undefined);
  assert.equal(await host.cut(others.map(({ flow }) => flow)), 69);
  await until("the others have ended", () => app.ended.length === 69 && server.ended.length === 69);
  await kept.echo("still here");
  assert.equal(await host.cut([]), 0);
  assert.equal(await host.cut(others.map(({ flow }) => flow)), 69);
  await app.end();
});

test("connections of a socket for both families, as a JVM opens it, are cut", { skip: whyNoNamespaces() }, async () => {
  await using scene = await openScene();
  const { namespace, host, server } = scene;
  const app = await namespace.peer();
  const mapped = await app.dial({ host: "::ffff:10.76.0.1", port: registry.port });
  const [facts] = readFacts({ kind: "pid", pid: app.pid });
  assert.deepEqual(
    facts?.connections.map(({ remote }) => remote),
    [registry],
  );
  assert.equal(await host.cut(facts?.connections ?? []), 1);
  await until("both ends have heard", () => mapped.ended() !== undefined && server.ended.length === 1);
});

test("where the kernel cannot end a connection, its next packet is answered with a reset, and no rule is left", {
  skip: whyNoNamespaces(),
}, async () => {
  await using scene = await openScene(true);
  const { namespace, sidecar, host, rule } = scene;
  const app = await namespace.peer({ uid: appUid });
  const direct = await app.dial(registry);
  await host.keepTracking();
  await host.catch(rule("app", { kind: "uid", uid: appUid }));
  const led = [await app.dial(registry), await app.dial(registry6)];
  const kept = await app.dial(registry);
  const cutting = host.cut([direct, ...led].map(({ flow }) => flow));
  await until("the rule is there", () => namespace.run("nft", "list", "tables").includes("dualmesh-cut-"));
  for (const { connection } of [direct, ...led]) await app.write(connection, "ping");
  assert.equal(await cutting, 3);
  await until("the application has heard", () => app.ended.length === 3);
  assert.deepEqual(new Set(app.ended.map(({ why }) => why)), new Set(["ECONNRESET"]));
  await kept.echo("still here");
  // The other end hears of it at its own next word.
  for (const connection of [1, 2]) await sidecar.write(connection, "are you there?");
  await until("the door has heard", () => sidecar.ended.length === 2);
  assert.ok(!namespace.run("nft", "list", "tables").includes("dualmesh-cut-"));
});
