import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import fc from "fast-check";
import { rangeOf, ServiceAddresses } from "./service-addresses.ts";

const day = 24 * 3_600_000;

function world() {
  const clock = new FakeClock();
  const journal = new MemoryJournal();
  const open = () => new ServiceAddresses({ journal, clock, log: silentLog, range: { second: 16 } });
  return { clock, journal, open };
}

test("each service has an address of its own and keeps it over a restart", () => {
  const { open } = world();
  const before = open();
  assert.equal(before.assign("http/orders::"), "127.16.0.1");
  assert.equal(before.assign("http/users::"), "127.16.0.2");
  assert.equal(before.assign("http/orders::"), "127.16.0.1");
  const after = open();
  assert.equal(after.assign("http/stock::"), "127.16.0.3", "a newcomer does not take what belongs to another");
  assert.equal(after.assign("http/users::"), "127.16.0.2");
  assert.deepEqual(after.active().length, 3);
});

test("a freed address is its service's for a day more, and nobody else's", async () => {
  const { open, clock } = world();
  const table = open();
  const address = table.assign("http/orders::");
  table.free("http/orders::");
  assert.deepEqual(table.active(), []);
  await clock.advance(day / 2);
  assert.equal(table.assign("http/orders::"), address);
});

test("when a range is used up, rested addresses are given out and others are not", async () => {
  const { open, clock } = world();
  const table = open();
  for (let number = 0; number < 256 * 254; number += 1) table.assign(`http/s${number}::`);
  assert.throws(() => table.assign("http/one-more::"), { code: "addresses.exhausted" });
  table.free("http/s5::");
  await clock.advance(day - 1);
  assert.throws(() => table.assign("http/one-more::"), { code: "addresses.exhausted" });
  await clock.advance(1);
  assert.equal(table.assign("http/one-more::"), "127.16.0.6");
});

test("law: whatever comes, goes and restarts, no two services in use share an address", () => {
  const step = fc.record({ kind: fc.constantFrom("assign", "free", "restart"), service: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { open } = world();
      let table = open();
      for (const { kind, service } of steps) {
        if (kind === "assign") table.assign(`http/s${service}::`);
        else if (kind === "free") table.free(`http/s${service}::`);
        else table = open();
        const addresses = table.active().map(([, address]) => address);
        assert.equal(new Set(addresses).size, addresses.length);
      }
    }),
  );
});

test("sidecars with neighbouring pairs of ports have ranges of their own", () => {
  assert.deepEqual(rangeOf(20_882), { second: 16 });
  assert.deepEqual(rangeOf(20_884), { second: 17 });
  for (let port = 1; port < 65_536; port += 1) {
    const { second } = rangeOf(port);
    assert.ok(second >= 16 && second < 240);
  }
});

test("a damaged entry is left out and said", () => {
  const { journal, open } = world();
  journal.put("address/http/orders::", "{nonsense");
  assert.equal(open().assign("http/orders::"), "127.16.0.1");
});
