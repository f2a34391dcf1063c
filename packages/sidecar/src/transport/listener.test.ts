import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { isLoopback, listen } from "./listener.ts";
import { machineAddress } from "./machine.ts";
import type { Transport, TransportEvents } from "./transport.ts";

const quiet: TransportEvents = { onBytes() {}, onDrain() {}, onPeerEnd() {}, onClose() {} };

/** Connects, and resolves when the connection has closed. */
function visit(port: number, act: (socket: net.Socket) => void = (socket) => socket.end()): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => act(socket));
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.resume();
  });
}

test("the limit counts the connections that are open, not those that ever were", async () => {
  const open: Transport[] = [];
  let dropped = 0;
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 3,
    accept: (transport) => {
      open.push(transport);
      transport.open(quiet);
    },
    dropped: () => dropped++,
  });
  for (let visits = 0; visits < 20; visits++) await visit(listener.port);
  assert.deepEqual([open.length, dropped], [20, 0]);
  const staying = [1, 2, 3].map(() => visit(listener.port, () => {}));
  while (open.length < 23) await new Promise((resolve) => setImmediate(resolve));
  await visit(listener.port, () => {});
  assert.deepEqual([open.length, dropped], [23, 1], "one beyond the limit is turned away");
  for (const transport of open) transport.destroy("the test is over");
  await Promise.all(staying);
  await listener.close();
});

test("a peer that goes on talking after the end is cut within six seconds", { timeout: 20_000 }, async () => {
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 3,
    accept: (transport) => {
      transport.open(quiet);
      transport.end();
    },
    dropped: () => {},
  });
  const before = performance.now();
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    const socket = net.connect({ port: listener.port, host: "127.0.0.1", allowHalfOpen: true }, () => {
      timer = setInterval(() => socket.write("x"), 100);
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.resume();
  });
  clearInterval(timer);
  assert.ok(performance.now() - before < 6_000);
  await listener.close();
});

test("what waits for a peer that does not read costs its own size, and no stage for each write", async () => {
  const accepted = Promise.withResolvers<Transport>();
  const accept = (transport: Transport): void => {
    transport.open(quiet);
    accepted.resolve(transport);
  };
  const listener = await listen({ host: "127.0.0.1", port: 0, maxConnections: 3, accept, dropped: () => {} });
  const stuck = net.connect({ port: listener.port, host: "127.0.0.1" });
  stuck.pause();
  const transport = await accepted.promise;
  const piece = Buffer.alloc(1_000);
  while (transport.queuedBytes < 4_000_000) {
    for (let times = 0; times < 100; times++) transport.write(piece, 0, piece.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const before = process.memoryUsage().arrayBuffers;
  for (let times = 0; times < 1_000; times++) {
    transport.write(piece, 0, 100);
    transport.flush();
  }
  const more = process.memoryUsage().arrayBuffers - before;
  assert.ok(more < 1 << 20, `${more} bytes for 100,000`);
  transport.destroy("the test is over");
  stuck.destroy();
  await listener.close();
});

test("a port for this host's applications turns away who called another address than loopback", async () => {
  const address = machineAddress();
  const seen = { accepted: 0, refused: 0 };
  const listener = await listen({
    host: "0.0.0.0",
    port: 0,
    maxConnections: 10,
    accept: (transport) => {
      seen.accepted++;
      transport.open(quiet);
      transport.destroy("counted");
    },
    dropped: () => {},
    notFromLoopback: () => void seen.refused++,
  });
  for (const host of ["127.0.0.1", "127.1.2.3", address]) {
    const socket = net.connect({ host, port: listener.port });
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("close", resolve).resume());
  }
  await listener.close();
  // A machine without a network has nothing but loopback to be called by.
  const elsewhere = isLoopback(address) ? 0 : 1;
  assert.deepEqual(seen, { accepted: 3 - elsewhere, refused: elsewhere });
});
