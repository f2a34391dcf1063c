/** What is written in pieces of any size arrives whole and in order, whether it fits a small stage, outgrows it or needs none. */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { listen } from "./listener.ts";
import { returnStage, stageBytes, takeStage, widerStage } from "./stage.ts";
import type { Transport, TransportEvents } from "./transport.ts";

const quiet: TransportEvents = { onBytes() {}, onDrain() {}, onPeerEnd() {}, onClose() {} };

test("a stage fits what it is asked for, and its content goes on in the wider one", () => {
  for (const size of [0, 1, 8_192, 8_193, stageBytes]) assert.ok(takeStage(size).length >= size, `${size} bytes`);
  const small = takeStage(1);
  small.fill(7);
  const wide = widerStage(small, small.length);
  assert.equal(wide.length, stageBytes);
  assert.deepEqual(wide.subarray(0, small.length), small);
  assert.equal(takeStage(1), small, "the small one is free again");
});

test("no more stages are kept than a bound", () => {
  for (const size of [1, stageBytes]) {
    const taken = Array.from({ length: 300 }, () => takeStage(size));
    for (const stage of taken) returnStage(stage);
    const again = new Set(Array.from({ length: 300 }, () => takeStage(size)));
    assert.ok(taken.filter((stage) => again.has(stage)).length <= 256);
  }
});

test("bytes arrive whole and in order, whatever the sizes of the writes and turns between them", async () => {
  let opened: (transport: Transport) => void = () => {};
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 1_000,
    accept: (transport) => {
      transport.open(quiet);
      opened(transport);
    },
    dropped: () => {},
  });
  const sizes = fc.oneof(fc.nat(3_000), fc.nat(9_000), fc.integer({ min: 60_000, max: 140_000 }));
  const turns = fc.array(fc.array(sizes, { maxLength: 8 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(turns, async (written) => {
      const accepted = new Promise<Transport>((resolve) => {
        opened = resolve;
      });
      const received = receiveAll(listener.port);
      const transport = await accepted;
      const sent: Buffer[] = [];
      for (const writes of written) {
        for (const size of writes) {
          const bytes = Buffer.alloc(size, sent.length + 1);
          sent.push(bytes);
          transport.write(bytes, 0, size);
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      transport.end();
      assert.ok((await received).equals(Buffer.concat(sent)));
    }),
    { numRuns: 50 },
  );
  await listener.close();
});

test("a long body in large pieces to a reader that is slower than its writer takes the stages of one moment", async () => {
  const pieces = 512;
  const piece = Buffer.alloc(256 * 1024);
  let written = 0;
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 1,
    accept: (transport) => {
      const go = (): void => {
        while (written < pieces && transport.queuedBytes <= piece.length) {
          transport.write(piece, 0, piece.length);
          written++;
        }
        if (written === pieces) transport.end();
      };
      transport.open({ ...quiet, onDrain: go });
      go();
    },
    dropped: () => {},
  });
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  let received = 0;
  await new Promise<void>((resolve, reject) => {
    const onread = {
      buffer: Buffer.alloc(16 * 1024),
      callback: (size: number): boolean => {
        received += size;
        most = Math.max(most, process.memoryUsage().arrayBuffers);
        return true;
      },
    };
    const socket = net.connect({ port: listener.port, host: "127.0.0.1", onread });
    socket.on("error", reject);
    socket.on("close", () => resolve());
  });
  await listener.close();
  assert.equal(received, pieces * piece.length);
  assert.ok(most - before < 4 * 1024 * 1024, `${most - before} bytes more`);
});

function receiveAll(port: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = net.connect(port, "127.0.0.1");
    socket.on("data", (chunk: Buffer) => void chunks.push(chunk));
    socket.on("error", reject);
    socket.on("close", () => resolve(Buffer.concat(chunks)));
  });
}
