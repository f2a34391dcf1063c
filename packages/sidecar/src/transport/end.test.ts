/** The end of a connection whose peer is slow: what was written for it is not lost, and never passes for all there was. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { listen } from "./listener.ts";
import { dialTransport } from "./tcp.ts";
import type { Transport } from "./transport.ts";

const size = 24 << 20;

/** A connection that was ended with much left for its peer, which has not begun to read. */
async function ended(): Promise<{ peer: net.Socket; received: () => number; reason: Promise<string>; close(): void }> {
  const accepted = Promise.withResolvers<Transport>();
  const reason = Promise.withResolvers<string>();
  const listener = await listen({
    ...{ host: "127.0.0.1", port: 0, maxConnections: 1, dropped() {} },
    accept: (transport) => {
      transport.open({ onBytes() {}, onDrain() {}, onPeerEnd() {}, onClose: reason.resolve });
      accepted.resolve(transport);
    },
  });
  const peer = net.connect({ port: listener.port, host: "127.0.0.1" });
  let received = 0;
  peer.on("error", () => {});
  peer.on("data", (bytes) => {
    received += bytes.length;
  });
  peer.pause();
  const transport = await accepted.promise;
  transport.write(Buffer.alloc(size), 0, size);
  transport.end();
  const close = (): void => {
    peer.destroy();
    void listener.close();
  };
  return { peer, received: () => received, reason: reason.promise, close };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("a slow peer is given all that was written, and one that takes nothing sees a break and no end", async () => {
  const [slow, stuck] = await Promise.all([ended(), ended()]);
  const stuckClosed = new Promise((resolve) => stuck.peer.once("close", resolve));
  let stuckEnded = false;
  stuck.peer.on("end", () => {
    stuckEnded = true;
  });
  // Takes some within the time that a connection has to close, and the rest after it.
  await pause(3_000);
  slow.peer.resume();
  while (slow.received() < size / 2) await pause(1);
  slow.peer.pause();
  await pause(3_500);
  const slowEnded = new Promise((resolve) => slow.peer.once("end", resolve));
  slow.peer.resume();
  await slowEnded;
  assert.equal(slow.received(), size);
  assert.match(await stuck.reason, /did not take/);
  stuck.peer.resume();
  await stuckClosed;
  assert.equal(stuckEnded, false);
  slow.close();
  stuck.close();
});

test("a peer that is silent is asked by the kernel whether it is still there, whoever opened the connection", async (context) => {
  if (process.platform !== "linux") return context.skip("only Linux says it");
  const accepted = Promise.withResolvers<Transport>();
  const { port, close } = await listen({
    ...{ host: "127.0.0.1", port: 0, maxConnections: 1, dropped() {} },
    accept: accepted.resolve,
  });
  const dialled = Promise.withResolvers<Transport | undefined>();
  dialTransport({ host: "127.0.0.1", port, timeoutMs: 1_000 }, dialled.resolve);
  for (const transport of [await accepted.promise, await dialled.promise]) {
    const ends = [transport?.localPort, transport?.remotePort].map(
      (end) => `:${end?.toString(16).toUpperCase().padStart(4, "0")}`,
    );
    const line = readFileSync("/proc/net/tcp", "latin1")
      .split("\n")
      .map((text) => text.trim().split(/\s+/))
      .find(([, local, remote]) => local?.endsWith(ends[0] ?? "") && remote?.endsWith(ends[1] ?? ""));
    assert.match(line?.[5] ?? "", /^02:/, "its timer is that of keep-alive");
    transport?.destroy("the test is over");
  }
  await close();
});
