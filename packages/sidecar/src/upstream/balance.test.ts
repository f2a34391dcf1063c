import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { seededRandom } from "@dualmesh/base/random";
import type { Endpoint } from "../snapshot.ts";
import { Balancer, effectiveWeight } from "./balance.ts";

const clock = new FakeClock(1_000_000);
const random = seededRandom(7);

function endpoint(port: number, weight = 100, more: Partial<Endpoint> = {}): Endpoint {
  return { address: "10.0.0.1", port, weight, warmupMs: 0, startedAt: 0, security: "plain", mode: "sdk", ...more };
}

function counts(
  endpoints: readonly Endpoint[],
  picks: number,
  usable: (port: number) => boolean = () => true,
): Record<number, number> {
  const balancer = new Balancer(
    endpoints.map((one) => ({ endpoint: one, pool: one.port })),
    { clock, random, usable },
  );
  const seen: Record<number, number> = {};
  for (let pick = 0; pick < picks; pick++) {
    const port = balancer.pick(undefined)?.endpoint.port as number;
    seen[port] = (seen[port] ?? 0) + 1;
  }
  return seen;
}

test("equal weights share equally", () => {
  assert.deepEqual(counts([endpoint(1), endpoint(2), endpoint(3)], 300), { 1: 100, 2: 100, 3: 100 });
});

test("unequal weights share by weight, smoothly", () => {
  const seen = counts([endpoint(1, 300), endpoint(2, 100)], 400);
  assert.ok(Math.abs((seen[1] ?? 0) - 300) <= 2, JSON.stringify(seen));
});

test("weight 0 gets nothing while another endpoint is there, and everything when it is alone", () => {
  assert.deepEqual(counts([endpoint(1, 0), endpoint(2)], 10), { 2: 10 });
  assert.deepEqual(counts([endpoint(1, 0)], 10), { 1: 10 });
});

test("an endpoint that cannot be used is passed over, unless none can", () => {
  assert.deepEqual(
    counts([endpoint(1), endpoint(2)], 10, (port) => port === 2),
    { 2: 10 },
  );
  assert.equal(
    Object.values(counts([endpoint(1), endpoint(2)], 10, () => false)).reduce((a, b) => a + b),
    10,
  );
});

test("one usable endpoint among many is found", () => {
  const many = Array.from({ length: 500 }, (_, port) => endpoint(port + 1));
  assert.deepEqual(
    counts(many, 20, (port) => port === 400),
    { 400: 20 },
  );
});

test("an instance that warms up begins with little and ends with its whole weight", () => {
  const starting = endpoint(1, 100, { warmupMs: 600_000, startedAt: clock.wall() });
  assert.equal(effectiveWeight(starting, clock.wall()), 1);
  assert.equal(effectiveWeight(starting, clock.wall() + 300_000), 50);
  assert.equal(effectiveWeight(starting, clock.wall() + 600_000), 100);
  const seen = counts([starting, endpoint(2)], 303);
  assert.ok((seen[1] ?? 0) <= 6, JSON.stringify(seen));
});

test("another endpoint than the one that failed is picked, or none", () => {
  const two = [endpoint(1), endpoint(2)].map((one) => ({ endpoint: one, pool: one.port }));
  const balancer = new Balancer<number>(two, { clock, random, usable: () => true });
  for (let pick = 0; pick < 10; pick++) assert.equal(balancer.pick(1)?.pool, 2);
  const alone = new Balancer<number>(two.slice(0, 1), { clock, random, usable: () => true });
  assert.equal(alone.pick(1), undefined);
});
