import assert from "node:assert/strict";
import { test } from "node:test";
import { socketCount } from "../process/socket-table.ts";
import { Namespace, netnsOf } from "./namespace.ts";
import { openTestNamespace, until, whyNoNamespaces } from "./testing.ts";
import { crowdOf, trackingLoad } from "./tracking.ts";

test("before the first move more than a quarter of what can be tracked is warned of, and more than half stops it", () => {
  const levelOf = (sockets: number, tracked = 0): string | undefined =>
    crowdOf({ sockets, tracked, limit: 1_000 })?.level;
  assert.deepEqual(
    [250, 251, 500, 501].map((sockets) => levelOf(sockets)),
    [undefined, "warning", "warning", "stops"],
  );
  assert.deepEqual(
    [899, 900].map((tracked) => levelOf(800, tracked)),
    [undefined, "stops"],
  );
  const { text = "" } = crowdOf({ sockets: 600, tracked: 0, limit: 1_000 }) ?? {};
  assert.match(
    text,
    /about 600, of at most 1000; packets beyond are dropped: raise net\.netfilter\.nf_conntrack_max first/,
  );
});

test("the sockets of a namespace are counted, those that only wait for stragglers as well", {
  skip: whyNoNamespaces(),
}, async () => {
  await using namespace = await openTestNamespace();
  const server = await namespace.peer();
  const member = server.pid;
  const none = socketCount(member);
  const port = await server.listen({ host: "127.0.0.1" }, "hello");
  const caller = await namespace.peer();
  const calls = await Promise.all(Array.from({ length: 5 }, () => caller.dial({ host: "127.0.0.1", port })));
  assert.equal(socketCount(member), none + 1 + 2 * calls.length);
  await caller.end();
  await until("they wait", () => namespace.run("ss", "-Htn", "state", "time-wait").split("\n").length > calls.length);
  assert.equal(socketCount(member), none + 1 + calls.length);
  assert.equal(trackingLoad(new Namespace(namespace.netns))?.sockets, none + 1 + calls.length);
});

test("how many connections the kernel can track is told where its module is", { skip: whyNoNamespaces() }, async () => {
  const load = trackingLoad(new Namespace(netnsOf("self") ?? 0));
  if (load !== undefined) assert.ok(load.limit > 0 && load.tracked >= 0 && load.sockets >= 0);
});
