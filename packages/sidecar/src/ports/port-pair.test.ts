import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshError } from "@dualmesh/base/errors";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import { choosePair, type PortPair } from "./port-pair.ts";

const isReserved = (port: number): boolean => port === 20_883 || (port >= 20_900 && port <= 20_999);

function host(...taken: readonly number[]) {
  const used = new Set(taken);
  return {
    used,
    listen: async (pair: PortPair): Promise<string> => {
      for (const port of [pair.inbound, pair.outbound])
        if (used.has(port)) throw new MeshError("listen.port-taken", `${port} is in use`);
      return "listening";
    },
  };
}

test("the first sidecar of a host takes the default pair", async () => {
  const { pair, listening } = await choosePair({ journal: new MemoryJournal(), isReserved, listen: host().listen });
  assert.deepEqual(pair, { inbound: 20_881, outbound: 20_882 });
  assert.equal(listening, "listening");
});

test("a second sidecar takes the next free pair and keeps it, also when the first has gone", async () => {
  const journal = new MemoryJournal();
  const first = await choosePair({ journal, isReserved, listen: host(20_882).listen });
  assert.deepEqual(first.pair, { inbound: 20_885, outbound: 20_886 });
  const again = await choosePair({ journal: new MemoryJournal(journal), isReserved, listen: host().listen });
  assert.deepEqual(again.pair, first.pair);
});

test("a kept pair that is taken is exchanged for the next free one", async () => {
  const journal = new MemoryJournal();
  journal.put("pair", JSON.stringify({ inbound: 20_885, outbound: 20_886 }));
  const { pair } = await choosePair({ journal, isReserved, listen: host(20_885).listen });
  assert.deepEqual(pair, { inbound: 20_881, outbound: 20_882 });
});

test("a port that the configuration names is never exchanged for another one", async () => {
  const options = { journal: new MemoryJournal(), isReserved, listen: host(4_001).listen };
  await assert.rejects(choosePair({ ...options, inbound: 4_001, outbound: 4_002 }), { code: "listen.port-taken" });
  await assert.rejects(choosePair({ ...options, inbound: 4_001 }), { code: "listen.port-taken" });
  const { pair } = await choosePair({ ...options, inbound: 4_000 });
  assert.deepEqual(pair, { inbound: 4_000, outbound: 20_882 });
});

test("reserved ports are passed over", async () => {
  const every = Array.from({ length: 20 }, (_, index) => 20_880 + index);
  const { pair } = await choosePair({ journal: new MemoryJournal(), isReserved, listen: host(...every).listen });
  assert.deepEqual(pair, { inbound: 21_001, outbound: 21_002 });
});

test("another failure than a taken port ends the choice", async () => {
  const listen = async (): Promise<never> => {
    throw new MeshError("listen.denied", "needs a privilege");
  };
  await assert.rejects(choosePair({ journal: new MemoryJournal(), isReserved, listen }), { code: "listen.denied" });
});

test("a kept pair that cannot be read is chosen anew", async () => {
  for (const text of ["", "{", "7", '{"inbound":"x","outbound":1}', '{"inbound":0,"outbound":70000}']) {
    const journal = new MemoryJournal();
    journal.put("pair", text);
    const { pair } = await choosePair({ journal, isReserved, listen: host().listen });
    assert.equal(pair.inbound, 20_881);
  }
});

test("a pair of whatever is free is not kept", async () => {
  const journal = new MemoryJournal();
  await choosePair({ journal, isReserved, inbound: 0, outbound: 0, listen: host().listen });
  assert.deepEqual([...journal.entries()], []);
});
