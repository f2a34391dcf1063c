/** The client's one connection over a fake clock: what a registry cannot do to it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { frameTimeoutMs, maxStreamFrameBytes } from "@dualmesh/wire/stream/limits";
import type { HelloAck } from "@dualmesh/wire/stream/messages";
import { Link } from "./link.ts";
import type { Dial, DialEvents } from "./tcp.ts";

const longestPingMs = 60_000;

function ackOf(pingMs: number): HelloAck {
  return {
    type: "helloAck",
    version: 1,
    features: 0,
    session: { epoch: 1, counter: 1 },
    token: Buffer.alloc(32),
    resumed: false,
    settled: true,
    registryId: Buffer.alloc(16),
    epoch: 1,
    limits: { frameBytes: maxStreamFrameBytes, instances: 1, subscriptions: 1, patterns: 1, pingMs, graceMs: 1 },
  };
}

/** A link that has been acknowledged, and how its registry speaks to it. */
function connected(pingMs: number): { clock: FakeClock; link: Link; registry: DialEvents; reasons: string[] } {
  const clock = new FakeClock();
  const dialled: DialEvents[] = [];
  const dial: Dial = (address, events) => {
    dialled.push(events);
    const nothing = (): void => {};
    return {
      remote: address,
      queuedBytes: 0,
      send: nothing,
      close: nothing,
      destroy: nothing,
      pause: nothing,
      resume: nothing,
    };
  };
  const reasons: string[] = [];
  const link: Link = new Link({
    addresses: ["registry:7710"],
    dial,
    clock,
    random: seededRandom(1),
    log: silentLog,
    hello: () => ({
      type: "hello",
      versions: [1, 1],
      kind: "sidecar",
      features: 0,
      nodeId: "node",
      agent: "test",
      credentials: Buffer.alloc(0),
      token: Buffer.alloc(0),
    }),
    onOpen: () => {},
    onMessage: () => {},
    onDown: () => reasons.push(link.lastError),
    onTakenOver: () => {},
  });
  link.start();
  const registry = dialled[0] as DialEvents;
  registry.opened();
  registry.received(encodeMessage(ackOf(pingMs)));
  assert.equal(link.open, true);
  return { clock, link, registry, reasons };
}

/** A byte of the largest snapshot each second until the link leaves; how long it stayed. */
async function drip({ clock, reasons, registry }: ReturnType<typeof connected>, limitMs: number): Promise<number> {
  const began = clock.now();
  const head = Buffer.from([0xd5, 0x4d, 1, 0x0b, 0, 0x0f, 0xff, 0xf8]);
  registry.received(head);
  while (reasons.length === 0 && clock.now() - began < limitMs) {
    await clock.advance(1_000);
    if (reasons.length === 0) registry.received(Buffer.of(0));
  }
  return clock.now() - began;
}

describe("a registry that keeps its client waiting", () => {
  it("S5: is left frameTimeoutMs and a ping after the first byte of a frame of which it sends one a second", async () => {
    const world = connected(5_000);
    const ms = await drip(world, 10 * frameTimeoutMs);
    assert.ok(ms >= frameTimeoutMs && ms <= frameTimeoutMs + 6_000, `left after ${ms} ms`);
    assert.match(world.reasons[0] ?? "", /did not end a frame within 30000 ms/);
    assert.deepEqual([world.link.counts.slowFrames, world.link.counts.silent], [1, 0]);
    world.link.close();
  });

  it("is left in time whatever ping period it names", async () => {
    for (const pingMs of [0, 2 ** 32 - 1]) {
      const world = connected(pingMs);
      const ms = await drip(world, 10 * frameTimeoutMs);
      assert.ok(ms <= frameTimeoutMs + longestPingMs + 1_000, `left after ${ms} ms`);
      world.link.close();
    }
  });
});
