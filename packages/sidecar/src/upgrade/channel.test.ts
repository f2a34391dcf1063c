import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Packets } from "../transport/native.ts";
import { Channel } from "./channel.ts";

/** A kernel that takes a packet when it may, and knows which copies of descriptors are open. */
class Kernel implements Packets {
  readonly takesDescriptors = true;
  readonly open = new Set<number>();
  sent = 0;
  takes = 0;
  isGone = false;
  #next = 1_000;

  send(): boolean {
    if (this.isGone) throw new MeshError("upgrade.gone", "nobody is there");
    if (this.takes === 0) return false;
    this.takes--;
    this.sent++;
    return true;
  }

  receive(): "empty" {
    return "empty";
  }

  duplicate(): number {
    this.open.add(++this.#next);
    return this.#next;
  }

  close(descriptor: number): void {
    this.open.delete(descriptor);
  }

  credentialsOf(): undefined {
    return undefined;
  }

  listenAt(): number {
    return 1;
  }

  accept(): undefined {
    return undefined;
  }

  connectTo(): number {
    return 1;
  }
}

test("descriptors that wait to be taken are copied, and no copy is left when nobody takes them any more", async () => {
  for (const end of ["gone", "closed"] as const) {
    const clock = new FakeClock();
    const calls = new Kernel();
    const events = { onMessage: () => {}, onEnd: () => {} };
    const channel = new Channel({ calls, socket: 3, clock, events, silenceMs: () => undefined });
    for (let key = 1; key <= 100; key++) channel.say({ say: "forget", key }, undefined, [key, key]);
    assert.equal(calls.open.size, 200);
    calls.takes = 30;
    await clock.advance(20);
    assert.deepEqual([calls.sent, calls.open.size], [30, 140], end);
    if (end === "closed") channel.close();
    else {
      calls.isGone = true;
      await clock.advance(20);
    }
    assert.equal(calls.open.size, 0, end);
    channel.close();
  }
});

test("thousands of packets that are taken in pieces all go, in their order", async () => {
  const clock = new FakeClock();
  const calls = new Kernel();
  const events = { onMessage: () => {}, onEnd: () => {} };
  const channel = new Channel({ calls, socket: 3, clock, events, silenceMs: () => undefined });
  for (let key = 1; key <= 5_000; key++) channel.say({ say: "forget", key });
  for (let round = 0; round < 10; round++) {
    calls.takes = 500;
    await clock.advance(10);
  }
  assert.equal(calls.sent, 5_000);
  await channel.drained();
  channel.close();
});
