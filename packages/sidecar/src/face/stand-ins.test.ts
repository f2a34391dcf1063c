import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import type { CatalogueEntry } from "@dualmesh/model/directory";
import { ServiceAddresses } from "../ports/service-addresses.ts";
import { StandIns } from "./stand-ins.ts";

const hour = 3_600_000;

function world({ maxServices = 10, maxUnoffered = 10 } = {}) {
  const clock = new FakeClock();
  const journal = new MemoryJournal();
  const listening = new Map<string, string>();
  const taken = new Set<string>();
  const called = new Map<string, number>();
  let tell: (entries: readonly CatalogueEntry[]) => void = () => {};
  const open = () =>
    new StandIns({
      addresses: new ServiceAddresses({ journal, clock, log: silentLog, range: { second: 16 } }),
      port: 20_882,
      open: async (service, address) => {
        if (taken.has(address)) throw new MeshError("listen.port-taken", `${address} is in use`);
        listening.set(service, address);
      },
      shut: async (service) => void listening.delete(service),
      directory: {
        watchCatalogue: (pattern, listener) => {
          if (pattern.startsWith("http/")) tell = listener;
          return { close() {} };
        },
      },
      clock,
      log: silentLog,
      calledAt: (service) => called.get(service),
      maxServices,
      maxUnoffered,
    });
  const offer = (...services: string[]) => tell(services.map((service) => ({ service, applications: [] })));
  return { clock, listening, taken, called, open, offer };
}

test("a service that its requests do not name is reached at an address of its own, others are not", async () => {
  const { open, listening } = world();
  const standIns = open();
  assert.deepEqual(await standIns.get("http/orders::"), { address: "127.16.0.1", port: 20_882 });
  assert.deepEqual(await standIns.get("tcp/redis::"), { address: "127.16.0.2", port: 20_882 });
  assert.equal(await standIns.get("dubbo/fx.Greeter::"), undefined);
  assert.deepEqual(
    [...listening],
    [
      ["http/orders::", "127.16.0.1"],
      ["tcp/redis::", "127.16.0.2"],
    ],
  );
  standIns.close();
});

test("after a restart every address listens again before anybody asks", async () => {
  const { open, listening } = world();
  const before = open();
  await before.get("http/orders::");
  before.close();
  listening.clear();
  const after = open();
  await after.restore();
  assert.deepEqual([...listening], [["http/orders::", "127.16.0.1"]]);
  after.close();
});

test("an address that something else holds keeps no other service from its own", async () => {
  const { open, taken, listening } = world();
  taken.add("127.16.0.1");
  const standIns = open();
  assert.equal(await standIns.get("http/orders::"), undefined);
  assert.notEqual(await standIns.get("http/users::"), undefined);
  assert.deepEqual([...listening.keys()], ["http/users::"]);
  standIns.close();
});

test("what nobody offers or calls for an hour gives its address back; what is called keeps it", async () => {
  const { open, clock, called, offer, listening } = world();
  const standIns = open();
  await standIns.get("http/gone::");
  await standIns.get("http/called::");
  await standIns.get("http/offered::");
  await clock.advance(2 * hour);
  assert.equal(listening.size, 3, "before the directory has said what is offered nothing is judged");
  offer("http/offered::");
  for (let step = 0; step < 8; step += 1) {
    called.set("http/called::", clock.now());
    await clock.advance(hour / 4);
  }
  assert.deepEqual([...listening.keys()], ["http/called::", "http/offered::"]);
  assert.equal((await standIns.get("http/gone::"))?.address, "127.16.0.1", "it is still its own");
  standIns.close();
});

test("made-up names are bounded", async () => {
  const { open } = world({ maxServices: 2 });
  const standIns = open();
  await standIns.get("http/a::");
  await standIns.get("http/b::");
  assert.equal(await standIns.get("http/c::"), undefined);
  assert.notEqual(await standIns.get("http/a::"), undefined);
  standIns.close();
});

test("made-up names leave places for what is offered", async () => {
  const { open, offer } = world({ maxServices: 4, maxUnoffered: 2 });
  const standIns = open();
  offer("http/real::", "http/late::");
  assert.notEqual(await standIns.get("http/made-up-1::"), undefined);
  assert.notEqual(await standIns.get("http/made-up-2::"), undefined);
  assert.equal(await standIns.get("http/made-up-3::"), undefined);
  assert.notEqual(await standIns.get("http/real::"), undefined);
  assert.notEqual(await standIns.get("http/late::"), undefined);
  standIns.close();
});

test("what has an address has it again after a restart, although made-up names are asked for before", async () => {
  const { open, listening } = world({ maxServices: 2 });
  const before = open();
  await before.get("http/real-1::");
  await before.get("http/real-2::");
  before.close();
  listening.clear();
  const after = open();
  assert.equal(after.addressOf("http/made-up-1::"), undefined);
  assert.equal(after.addressOf("http/made-up-2::"), undefined);
  await after.restore();
  assert.deepEqual([...listening.keys()], ["http/real-1::", "http/real-2::"]);
  after.close();
});
