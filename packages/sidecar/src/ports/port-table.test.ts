import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import fc from "fast-check";
import { type Offer, PortTable } from "./port-table.ts";

const greeter = "dubbo/fx.Greeter::";
const clocks = "dubbo/fx.Clock::";
const offer = (service: string, appPort: number): Offer => ({ service, host: "192.0.2.2", appPort });

function world(range = { from: 20_900, to: 20_902 }) {
  const clock = new FakeClock();
  const journal = new MemoryJournal();
  const table = () => new PortTable({ journal, clock, log: silentLog, inboundPort: 20_881, range });
  return { clock, journal, table };
}

test("services of several applications share the inbound port as long as each is offered by one of them", () => {
  const table = world().table();
  assert.equal(table.assign(offer(greeter, 20_880)), 20_881);
  assert.equal(table.assign(offer(clocks, 20_880)), 20_881);
  assert.equal(table.assign(offer("bolt/fx.Greeter:1.0:", 12_200)), 20_881);
});

test("a second provider of one service gets a published port of its own, for all such services of it", () => {
  const table = world().table();
  table.assign(offer(greeter, 20_880));
  table.assign(offer(clocks, 20_880));
  assert.equal(table.assign(offer(greeter, 20_890)), 20_900);
  assert.equal(table.assign(offer(clocks, 20_890)), 20_900);
  assert.equal(table.assign(offer(greeter, 20_891)), 20_901);
});

test("every port whose requests name no service has a published port of its own, and keeps it", () => {
  const { clock, journal } = world();
  const isAddressed = (service: string): boolean => service.startsWith("http/");
  const range = { from: 20_900, to: 20_902 };
  const open = () => new PortTable({ journal, clock, log: silentLog, inboundPort: 20_881, range, isAddressed });
  const before = open();
  assert.equal(before.assign(offer("http/orders::", 8_080)), 20_900);
  assert.equal(before.assign(offer(greeter, 20_880)), 20_881);
  assert.equal(before.assign(offer("http/users::", 8_081)), 20_901);
  assert.equal(
    before.assign(offer("http/orders-v2::", 8_080)),
    20_900,
    "services of one port are told apart by the application",
  );
  const after = open();
  assert.equal(after.assign(offer("http/users::", 8_081)), 20_901);
});

test("ports stay the same over a restart, whatever the order in which the applications come back", () => {
  const { table } = world();
  const before = table();
  assert.equal(before.assign(offer(greeter, 20_880)), 20_881);
  assert.equal(before.assign(offer(greeter, 20_890)), 20_900);
  const after = table();
  assert.equal(after.assign(offer(greeter, 20_890)), 20_900);
  assert.equal(
    after.assign(offer(greeter, 20_891)),
    20_901,
    "a newcomer does not take what belongs to one that is not back yet",
  );
  assert.equal(after.assign(offer(greeter, 20_880)), 20_881);
});

test("what nobody claims after a restart is given to others after a minute", async () => {
  const { table, clock } = world();
  table().assign(offer(greeter, 20_880));
  const after = table();
  await clock.advance(60_000);
  assert.equal(after.assign(offer(greeter, 20_891)), 20_881);
});

test("a freed port rests before another application gets it, and is kept for its own", async () => {
  const { table, clock } = world({ from: 20_900, to: 20_900 });
  const ports = table();
  ports.assign(offer(greeter, 20_880));
  assert.equal(ports.assign(offer(greeter, 20_890)), 20_900);
  ports.release(offer(greeter, 20_890));
  await clock.advance(30 * 60_000);
  assert.throws(() => ports.assign(offer(greeter, 20_891)), { code: "ports.exhausted" });
  assert.equal(ports.assign(offer(greeter, 20_890)), 20_900);
  ports.release(offer(greeter, 20_890));
  await clock.advance(3_600_000);
  assert.equal(ports.assign(offer(greeter, 20_891)), 20_900);
});

test("the shared port passes at once to another provider of the same service", () => {
  const ports = world().table();
  ports.assign(offer(greeter, 20_880));
  ports.release(offer(greeter, 20_880));
  assert.equal(ports.assign(offer(greeter, 20_890)), 20_881);
});

test("a port that something else uses is passed over, also by those that had it", () => {
  const ports = world().table();
  ports.assign(offer(greeter, 20_880));
  assert.equal(ports.assign(offer(greeter, 20_890)), 20_900);
  ports.avoid(20_900);
  assert.equal(ports.assign(offer(greeter, 20_890)), 20_901);
  assert.equal(ports.isOwn(20_901), true);
  assert.equal(ports.isOwn(20_880), false);
});

test("a port outside a range that was narrowed is given up", () => {
  const { table, journal, clock } = world();
  const wide = table();
  wide.assign(offer(greeter, 20_880));
  wide.assign(offer(greeter, 20_890));
  const range = { from: 20_950, to: 20_951 };
  const narrow = new PortTable({ journal, clock, log: silentLog, inboundPort: 20_881, range });
  assert.equal(narrow.assign(offer(greeter, 20_890)), 20_950);
});

test("entries that cannot be read are left out", () => {
  const { table, journal } = world();
  journal.put("port/x", "{");
  journal.put("port/y", JSON.stringify({ service: greeter, host: "h", appPort: 1, port: 20_900 }));
  assert.deepEqual(table().entries(), []);
  assert.equal(journal.get("port/x"), undefined);
});

test("law: no published port ever stands for two applications that offer the same service", () => {
  const step = fc.record({
    kind: fc.constantFrom("assign", "release", "restart"),
    service: fc.constantFrom(greeter, clocks),
    appPort: fc.integer({ min: 1, max: 4 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { table } = world({ from: 20_900, to: 20_920 });
      let ports = table();
      for (const { kind, service, appPort } of steps) {
        if (kind === "assign") ports.assign(offer(service, appPort));
        else if (kind === "release") ports.release(offer(service, appPort));
        else ports = table();
        const active = ports.entries().filter((entry) => entry.active);
        assert.equal(new Set(active.map((entry) => `${entry.service} ${entry.port}`)).size, active.length);
        const own = active.filter((entry) => entry.port !== 20_881);
        for (const one of own) for (const two of own) if (one.port === two.port) assert.equal(one.appPort, two.appPort);
      }
    }),
  );
});
