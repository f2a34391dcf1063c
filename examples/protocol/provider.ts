/**
 * Offers the service `price` by the protocol `note`, and registers it at its sidecar's HTTP door for as long as it lives.
 *
 *     DUALMESH=http://127.0.0.1:13380 NAME=one PORT=9301 node provider.ts
 */
import { type AddressInfo, createServer } from "node:net";
import { kinds, statuses } from "./codec.ts";
import { Peer } from "./peer.ts";

const { DUALMESH: door = "http://127.0.0.1:13380", NAME: name = "one", PORT: port = "0" } = process.env;

const server = createServer(
  (socket) =>
    new Peer(socket, ({ kind, id, method, body = "" }, peer) => {
      if (kind !== kinds.request) return;
      const item = Number(body);
      if (method !== "quote" || Number.isNaN(item)) {
        peer.send({ kind: kinds.response, id, status: statuses.failed, body: "quote wants a number" });
      } else peer.send({ kind: kinds.response, id, body: `${name}: ${(item * 7) % 100}` });
    }),
);
await new Promise<void>((resolve) => server.listen(Number(port), "127.0.0.1", resolve));

const offer = {
  service: "note/price:1:",
  host: "127.0.0.1",
  port: (server.address() as AddressInfo).port,
  application: name,
};
const registered = await fetch(`${door}/v1/instances?follow`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(offer),
});
// The registration lives as long as this answer is read, and it says what becomes of it.
for await (const bytes of registered.body ?? []) process.stdout.write(bytes);
