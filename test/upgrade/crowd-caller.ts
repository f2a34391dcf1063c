/**
 * Thousands of callers' connections, in a process of their own so that nobody runs out of descriptors: `crowd-caller.ts PORT COUNT` opens them, calls once on
 * each and prints a line of JSON, and the same for each line that it reads.
 */
import net from "node:net";
import { createInterface } from "node:readline";
import { boltRequest, Peer } from "@dualmesh/sidecar/request/testing";
import { rpcName } from "./rpc-caller.ts";

const [port, count] = process.argv.slice(2).map(Number) as [number, number];
const batch = 100;
const answerMs = 20_000;
const peers: Peer[] = [];
let calls = 0;

for (let at = 0; at < count; at += batch) {
  const sockets = Array.from({ length: Math.min(batch, count - at) }, () => net.connect({ host: "127.0.0.1", port }));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
  peers.push(...sockets.map((socket) => new Peer(socket)));
}
await callAll();
for await (const _ of createInterface({ input: process.stdin })) await callAll();
for (const { socket } of peers) socket.destroy();

async function callAll(): Promise<void> {
  calls++;
  const began = performance.now();
  for (let at = 0; at < peers.length; at += batch) {
    for (const peer of peers.slice(at, at + batch))
      if (!peer.closed)
        peer.send(boltRequest({ id: calls, service: `${rpcName}:1.0`, body: Buffer.from("[[999999 0 0 0]]") }));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const answered = (): number => peers.filter(({ frames }) => frames.at(-1)?.id === calls).length;
  while (answered() < peers.length && performance.now() < began + answerMs)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const good = peers.filter(({ frames }) => frames.at(-1)?.id === calls && frames.at(-1)?.status === 0).length;
  console.log(JSON.stringify({ answered: good, closed: peers.filter(({ closed }) => closed).length }));
}
