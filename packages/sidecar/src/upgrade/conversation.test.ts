/** What two processes say to each other, by real sockets of packets: nothing is missed, however late who waits for it is. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type Clock, FakeClock } from "@dualmesh/base/clock";
import { openSystemCalls, whyNoHandles } from "../transport/native.ts";
import { Conversation } from "./conversation.ts";
import { encodeMessage, type Message, spoken } from "./messages.ts";

const why = whyNoHandles(process);
const hello: Message = { say: "hello", ...spoken, version: "1", pid: 1 };

describe("a conversation of two processes", { skip: why ?? false }, () => {
  test("hears one by one what came all at once", async () => {
    await using sockets = await open();
    const { calls, here, there } = sockets;
    for (const [message, body] of [
      [hello, ""],
      [{ say: "take-up", more: true }, "a text in "],
      [{ say: "take-up", more: false }, "two pieces"],
    ] as const)
      assert.ok(calls.send(here, encodeMessage(message, Buffer.from(body)), []));
    const talk = new Conversation({
      // Time stands still, so that nothing is left for another turn.
      ...{ calls, clock: new FakeClock(), socket: there, onEnd: () => {} },
      onMessage: ({ say }) => assert.fail(`nobody waited for "${say}"`),
    });
    await talk.greet("2", 5_000);
    await new Promise((resolve) => setImmediate(resolve));
    await talk.hears("take-up", 5_000);
    assert.equal(talk.text(), "a text in two pieces");
    talk.channel.close();
  });

  test("looks once more before it says that something was not said", async () => {
    await using sockets = await open();
    const { calls, here, there } = sockets;
    // Timers are due before the next turn of the event loop, as for a process that stood still until then.
    const due: (() => void)[] = [];
    const after = (_: number, task: () => void) => {
      due.push(task);
      return { cancel: () => {} };
    };
    const clock: Clock = { ...{ now: () => 0, wall: () => 0, after }, every: after };
    const talk = new Conversation({ ...{ calls, clock, socket: there, onEnd: () => {}, onMessage: () => {} } });
    const committed = talk.hears("committed", 1_000);
    assert.ok(calls.send(here, encodeMessage({ say: "committed" }), []));
    for (const task of due.splice(0)) task();
    await committed;
    const ready = talk.hears("ready", 1_000);
    for (const task of due.splice(0)) task();
    await assert.rejects(ready, { code: "upgrade.late" });
    talk.channel.close();
  });
});

async function open() {
  const calls = await openSystemCalls();
  const directory = mkdtempSync(join(tmpdir(), "dualmesh-talk-"));
  const listening = calls.listenAt(join(directory, "socket"));
  const here = calls.connectTo(join(directory, "socket"));
  const there = calls.accept(listening) as number;
  calls.close(listening);
  return {
    calls,
    here,
    there,
    [Symbol.asyncDispose]: async () => {
      calls.close(here);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
