import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import type { Instance } from "@dualmesh/model/instance";
import type { OutboundService } from "../face/wanted.ts";
import type { EndpointCell, Snapshot } from "../snapshot.ts";
import { type FeedTarget, SnapshotFeed } from "./feed.ts";
import { RouteGate } from "./gate.ts";

const service = "bolt/a:1.0:";

/** As the data plane does: a cell with the number that it has is the same. */
class Target implements FeedTarget {
  cell: EndpointCell | undefined;

  apply({ outbound }: Snapshot): void {
    for (const { cell } of outbound) this.#replace(cell);
  }

  replaceCell(_: string, cell: EndpointCell): void {
    this.#replace(cell);
  }

  #replace(cell: EndpointCell): void {
    if (cell.revision !== this.cell?.revision) this.cell = cell;
  }

  get ports(): readonly number[] | undefined {
    return this.cell?.endpoints.map(({ port }) => port);
  }
}

function stateOf(...ports: readonly number[]): OutboundService {
  const instances = ports.map((port) => ({ service, address: "10.0.0.1", port, weight: 100 }) as unknown as Instance);
  return { known: true, timeoutMs: 0, instances } as unknown as OutboundService;
}

const feedTo = (target: FeedTarget, above?: Snapshot): SnapshotFeed =>
  new SnapshotFeed({ target, defaultTimeoutMs: 1_000, isLoop: () => false, above });

test("a list that changed while nobody was told replaces the one that was in force, though both are the first of their feeds", async () => {
  const target = new Target();
  const former = feedTo(target);
  former.outbound(service, stateOf(1, 2));
  await Promise.resolve();
  assert.deepEqual(target.ports, [1, 2]);
  const gate = new RouteGate({ target, clock: new FakeClock(), before: former.snapshot });
  const feed = feedTo(gate, former.snapshot);
  gate.follow(feed);
  feed.outbound(service, stateOf(1));
  await gate.opened();
  assert.deepEqual(target.ports, [1]);
});

test("a route that is heard of and goes again is waited for, though thousands of others have come one by one", async () => {
  const target = new Target();
  const former = feedTo(target);
  const names = Array.from({ length: 5_000 }, (_, index) => `bolt/s${index}:1.0:`);
  for (const name of names) former.outbound(name, stateOf(1));
  const before = former.snapshot;
  const gate = new RouteGate({ target, clock: new FakeClock(), before });
  const feed = feedTo(gate, before);
  gate.follow(feed);
  let isOpen = false;
  void gate.opened().then(() => {
    isOpen = true;
  });
  const [first = "", ...others] = names;
  feed.outbound(first, stateOf(2));
  feed.outbound(first, { ...stateOf(), known: false });
  await Promise.resolve();
  for (const name of others) gate.replaceCell(name, { revision: 9_000, known: true, endpoints: [] });
  for (const name of others) feed.outbound(name, stateOf(2));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isOpen, false, "the first is not known again");
  feed.outbound(first, stateOf(2));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isOpen, true);
});

test("what does not come back is told of after ten seconds, by name, and the rest is put in force", async () => {
  const target = new Target();
  const former = feedTo(target);
  former.outbound(service, stateOf(1));
  const clock = new FakeClock();
  const gate = new RouteGate({ target, clock, before: former.snapshot });
  gate.follow(feedTo(gate, former.snapshot));
  const refused = assert.rejects(gate.opened(), {
    code: "upgrade.routes",
    message: /of 1 routes that there were: bolt\/a:1\.0:/,
  });
  await clock.advance(10_000);
  await refused;
});
