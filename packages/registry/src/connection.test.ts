/** One connection of the stream over a fake clock: what a client gets that keeps the registry waiting. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { type Channel, type ChannelEvents, FrameCutter } from "@dualmesh/wire/stream/channel";
import { frameHeadBytes } from "@dualmesh/wire/stream/codec";
import { decodeMessage } from "@dualmesh/wire/stream/decode";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { frameTimeoutMs, maxStreamFrameBytes } from "@dualmesh/wire/stream/limits";
import { type StreamMessage, zeroRevision } from "@dualmesh/wire/stream/messages";
import { encodeInstance } from "@dualmesh/wire/stream/record";
import { registryConfigShape } from "./config.ts";
import { openRegistryCore, type RegistryCore } from "./registry.ts";
import { helloOf, instance, service, VolatileJournal } from "./testing/peer.ts";

const pingMs = 5_000;

class Caller implements Channel {
  readonly remote = "192.0.2.1:1000";
  readonly messages: StreamMessage[] = [];
  readonly #events: ChannelEvents;
  readonly #cutter: FrameCutter;
  queuedBytes = 0;
  paused = false;
  closed = false;

  constructor(core: RegistryCore) {
    this.#cutter = new FrameCutter(maxStreamFrameBytes, (frame) => {
      const message = decodeMessage(frame);
      if (message !== undefined) this.messages.push(message);
      return true;
    });
    this.#events = core.connect(this);
  }

  say(bytes: Buffer): void {
    if (!this.closed) this.#events.received(bytes);
  }

  drain(): void {
    this.queuedBytes = 0;
    this.#events.drained();
  }

  send(bytes: Buffer): void {
    this.#cutter.read(bytes, 0);
  }

  close(): void {
    this.closed = true;
  }

  destroy(): void {
    this.closed = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

async function opened(): Promise<{ clock: FakeClock; core: RegistryCore; caller: Caller }> {
  const clock = new FakeClock();
  const core = await openRegistryCore({
    config: registryConfigShape.parse({ pingMs, slowConsumerMs: 600_000 }),
    state: { epoch: 1, journal: () => Promise.resolve(new VolatileJournal()) },
    clock,
    random: seededRandom(1),
    log: silentLog,
  });
  const caller = new Caller(core);
  caller.say(encodeMessage(helloOf("slow")));
  await clock.advance(0);
  assert.equal(caller.messages.shift()?.type, "helloAck");
  return { clock, core, caller };
}

/** The head of a register that announces the largest frame that there is. */
function largestHead(): Buffer {
  const head = Buffer.from([0xd5, 0x4d, 1, 3, 0, 0, 0, 0]);
  head.writeUInt32BE(maxStreamFrameBytes - frameHeadBytes, 4);
  return head;
}

function register(appPort: number): Buffer {
  const record = encodeInstance(instance(appPort));
  return encodeMessage({ type: "register", request: appPort, claim: true, held: zeroRevision, service, record });
}

describe("a frame that is not whole", () => {
  it("S5: is waited for frameTimeoutMs and a ping, whoever sends a byte of it a second, and no longer", async () => {
    const { clock, core, caller } = await opened();
    caller.say(largestHead());
    const began = clock.now();
    while (!caller.closed && clock.now() - began < 10 * frameTimeoutMs) {
      await clock.advance(1_000);
      caller.say(Buffer.of(0));
    }
    const heldMs = clock.now() - began;
    assert.ok(heldMs >= frameTimeoutMs && heldMs <= frameTimeoutMs + pingMs + 1_000, `cut after ${heldMs} ms`);
    const last = caller.messages.at(-1);
    assert.deepEqual([last?.type, last?.type === "goodbye" && last.reason], ["goodbye", "silent"]);
    assert.equal(core.connections.size, 0);
    assert.deepEqual([core.counts.slowFrames, core.counts.silent], [1, 0]);
    core.stop();
  });

  it("has a time of its own: a client whose frames never end at the end of a read keeps its connection", async () => {
    const { clock, core, caller } = await opened();
    let rest = Buffer.alloc(0);
    for (let port = 1; port <= 100; port++) {
      const frame = register(port);
      caller.say(Buffer.concat([rest, frame.subarray(0, 20)]));
      rest = Buffer.from(frame.subarray(20));
      await clock.advance(pingMs);
    }
    assert.equal(caller.closed, false);
    assert.equal(core.counts.slowFrames, 0);
    core.stop();
  });

  it("is not counted while the registry does not read", async () => {
    const { clock, core, caller } = await opened();
    const frame = register(1);
    caller.queuedBytes = 2 * 1024 * 1024; // what the registry says is not taken, so that it pauses
    caller.say(Buffer.concat([register(2), frame.subarray(0, 20)]));
    assert.equal(caller.paused, true);
    await clock.advance(frameTimeoutMs + pingMs);
    assert.equal(caller.closed, false);
    caller.drain();
    assert.equal(caller.paused, false);
    await clock.advance(pingMs);
    caller.say(frame.subarray(20));
    assert.equal(caller.closed, false);
    assert.equal(caller.messages.at(-1)?.type, "registered");
    core.stop();
  });
});
