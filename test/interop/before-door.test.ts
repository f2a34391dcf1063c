/**
 * The ZooKeeper door that stands before a real ensemble: raw clients keep their sessions through it and do what they did. How unmodified
 * applications go into the mesh and back through it is in crossing.test.ts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JuteWriter } from "@dualmesh/wire/jute/record";
import { BeforeHost, type Policy, rawClient } from "./before-host.ts";
import { CrossingWorld } from "./crossing-world.ts";
import { buildFixtures } from "./fixtures.ts";
import { eventually } from "./program.ts";
import { replied } from "./recorder.ts";
import { takeTurn } from "./turn.ts";

const ephemeralSequential = 3;
const recursive = 1;

const untouched: Policy = {
  modes: () => ({ provides: "direct", consumes: "direct" }),
  published: () => undefined,
  original: () => undefined,
  shown: ({ instances }) => instances,
};

test("raw clients use a real ensemble through the door as if it were not there", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = new CrossingWorld();
  await world.startEnsemble();
  const { ensemble } = world;
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
