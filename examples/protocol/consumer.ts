/**
 * Calls `price` by the protocol `note`, where its sidecar's HTTP door says, and prints the answers.
 *
 *     DUALMESH=http://127.0.0.1:13380 node consumer.ts 1 2 3
 */
import { connect } from "node:net";
import { kinds } from "./codec.ts";
import { Peer } from "./peer.ts";

const { DUALMESH: door = "http://127.0.0.1:13380" } = process.env;
const items = process.argv.slice(2);

interface Found {
  readonly instances?: readonly { readonly url: string }[];
}
let url: string | undefined;
for (let tries = 0; url === undefined && tries < 20; tries++) {
  const answer = await fetch(`${door}/v1/services/note/price:1:`);
  url = ((await answer.json()) as Found).instances?.[0]?.url;
}
if (url === undefined) throw new Error("nothing is known of note/price:1:");

const { hostname, port } = new URL(url);
const socket = connect(Number(port), hostname);
let answers = 0;
const peer = new Peer(socket, ({ kind, id, status, body }) => {
  if (kind !== kinds.response) return;
  console.log(JSON.stringify({ item: items[id - 1], status, body }));
  if (++answers === items.length) socket.end();
});
for (const [index, body] of items.entries())
  peer.send({ kind: kinds.request, id: index + 1, service: "price:1", method: "quote", body, timeoutMs: 3_000 });
