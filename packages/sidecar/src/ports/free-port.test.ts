import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshError } from "@dualmesh/base/errors";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import { listenAtFreePort } from "./free-port.ts";

function host(...taken: readonly number[]): (port: number) => Promise<number> {
  return async (port) => {
    if (taken.includes(port)) throw new MeshError("listen.port-taken", `${port} is in use`);
    return port;
  };
}

const door = { key: "doors.zookeeper.port", configured: undefined, usual: 12_181 };

test("the first sidecar of a host takes the usual port and keeps nothing", async () => {
  const journal = new MemoryJournal();
  assert.equal(await listenAtFreePort({ ...door, journal, listen: host() }), 12_181);
  assert.deepEqual([...journal.entries()], []);
});

test("a second one takes the next free port and keeps it, also when the first has gone", async () => {
  const journal = new MemoryJournal();
  assert.equal(await listenAtFreePort({ ...door, journal, listen: host(12_181, 12_182) }), 12_183);
  assert.equal(await listenAtFreePort({ ...door, journal: new MemoryJournal(journal), listen: host() }), 12_183);
  const admin = { key: "admin.port", configured: undefined, usual: 20_883, step: 4 };
  assert.equal(await listenAtFreePort({ ...admin, journal, listen: host(20_883) }), 20_887);
});

test("a kept port that is taken, reserved or unreadable is exchanged", async () => {
  for (const [kept, reserved] of [
    ["12190", 0],
    ["12191", 12_191],
    ["x", 0],
    ["70000", 0],
  ] as const) {
    const journal = new MemoryJournal();
    journal.put("listen/doors.zookeeper.port", kept);
    const isReserved = (port: number): boolean => port === reserved;
    assert.equal(await listenAtFreePort({ ...door, journal, isReserved, listen: host(12_190) }), 12_181);
    assert.equal(journal.get("listen/doors.zookeeper.port"), undefined);
  }
});

test("a port that the configuration names is never exchanged for another one", async () => {
  const options = { ...door, journal: new MemoryJournal(), listen: host(4_000) };
  await assert.rejects(listenAtFreePort({ ...options, configured: 4_000 }), {
    code: "listen.port-taken",
    message: "doors.zookeeper.port: 4000 is in use",
  });
  assert.equal(await listenAtFreePort({ ...options, configured: 0 }), 0);
});

test("the search ends: after 64 ports that are taken, and at once for another reason", async () => {
  let tries = 0;
  const listen = async (port: number): Promise<never> => {
    tries += 1;
    throw new MeshError(port === 12_181 && tries > 100 ? "listen.denied" : "listen.port-taken", "no");
  };
  await assert.rejects(listenAtFreePort({ ...door, journal: new MemoryJournal(), listen }), {
    code: "listen.port-taken",
  });
  assert.equal(tries, 64);
  tries = 200;
  await assert.rejects(listenAtFreePort({ ...door, journal: new MemoryJournal(), listen }), { code: "listen.denied" });
  assert.equal(tries, 201);
});
