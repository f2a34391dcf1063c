import assert from "node:assert/strict";
import { test } from "node:test";
import { openLinux } from "./linux.ts";
import { joinNamespaces, openTestNamespace, whyNoNamespaces } from "./testing.ts";

const skip = whyNoNamespaces();
const published = { host: "10.77.0.2", port: 20_881 };
const published6 = { host: "fd77::2", port: 20_881 };

test("what is called at a published port arrives at the application, from another host and from here, and no more when it is taken back", {
  skip,
}, async () => {
  await using caller = await openTestNamespace();
  await using called = await openTestNamespace();
  joinNamespaces(caller, called);
  const app = await called.peer();
  // At its own address only, as a provider may listen that was told which.
  const appPort = await app.listen({ host: published.host }, "application");
  await app.listen({ host: published6.host, port: appPort }, "application 6");
  const far = await caller.peer();
  const near = await called.peer();
  const host = await openLinux().host(called.netns);
  assert.ok(host !== undefined);
  await assert.rejects(far.dial(published), { message: "ECONNREFUSED" });

  await host.forward("app", [
    { published, appPort },
    { published: published6, appPort },
  ]);
  assert.deepEqual(await host.forwarded(), ["app"]);
  assert.deepEqual(await host.caught(), []);
  for (const peer of [far, near]) {
    assert.equal((await peer.dial(published)).greeting, "application");
    assert.equal((await peer.dial(published6)).greeting, "application 6");
  }
  assert.equal((await near.dial({ ...published, port: appPort })).greeting, "application");

  await host.keepTracking();
  const standing = await far.dial(published);
  await host.unforward("app");
  assert.deepEqual(await host.forwarded(), []);
  for (const peer of [far, near]) await assert.rejects(peer.dial(published), { message: "ECONNREFUSED" });
  await standing.echo("still here");
});

test("a sidecar that is there again keeps the connections that it has while its port is forwarded", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace("10.77.0.2/32");
  const sidecar = await namespace.peer();
  await sidecar.listen(published, "sidecar");
  const app = await namespace.peer();
  const appPort = await app.listen({ host: "0.0.0.0" }, "application");
  const caller = await namespace.peer();
  const host = await openLinux().host(namespace.netns);
  assert.ok(host !== undefined);
  const before = await caller.dial(published);
  await host.forward("app", [{ published, appPort }]);
  await before.echo("still here");
  assert.equal(before.greeting, "sidecar");
  assert.equal((await caller.dial(published)).greeting, "application");
});
