/** Providers of every protocol, which note in the ledger what comes to them and answer as the call itself asks. */
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { boltResponse, type Peer, type Received } from "@dualmesh/sidecar/request/testing";
import { frameKind } from "@dualmesh/wire/rpc";
import { dubboResponse } from "../hostile/dubbo.ts";
import { openProvider } from "../hostile/world.ts";
import { Conversations, switched } from "./conversations.ts";
import { markOf, readMark, TextReader, textOf } from "./marked.ts";
import type { LedgerPlace } from "./world.ts";

export interface Providers {
  readonly bolt: number;
  readonly dubbo: number;
  readonly http: number;
  readonly tcp: number;
  readonly conversations: Conversations;
  close(): Promise<void>;
}

export async function openProviders(place: LedgerPlace): Promise<Providers> {
  const timers = new Set<NodeJS.Timeout>();
  const later = (ms: number, work: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      work();
    }, ms);
    timers.add(timer);
  };
  const rpc = (protocol: "bolt" | "dubbo") => openProvider(protocol, (peer, frame) => answer(protocol, peer, frame));
  const answer = (protocol: "bolt" | "dubbo", peer: Peer, frame: Received): void => {
    peer.frames.length = 0;
    if (frame.kind !== frameKind.request && frame.kind !== frameKind.oneway) return;
    const mark = readMark(frame.bytes.toString("latin1"));
    if (mark === undefined) return;
    place.ledger.of(mark.client)?.arrives(mark.sequence);
    if (frame.kind === frameKind.oneway) return;
    const text = markOf(mark) + "=".repeat(mark.answerBytes);
    const reply = protocol === "bolt" ? boltResponse(frame.id, Buffer.from(text)) : dubboResponse(frame.id, text);
    if (mark.delayMs === 0) peer.send(reply);
    else later(mark.delayMs, () => peer.send(reply));
  };
  const [bolt, dubbo] = [await rpc("bolt"), await rpc("dubbo")];
  const conversations = await Conversations.listen(later);
  const web = await openWeb(place, later, conversations);
  return {
    bolt: bolt.port,
    dubbo: dubbo.port,
    http: web.port,
    tcp: conversations.port,
    conversations,
    async close() {
      for (const timer of timers) clearTimeout(timer);
      bolt.close();
      dubbo.close();
      conversations.close();
      await web.close();
    },
  };
}

/** GET streams a text in pieces over some time; POST reads one and answers how much was right; what switches protocols becomes a conversation. */
async function openWeb(
  place: LedgerPlace,
  later: (ms: number, work: () => void) => void,
  conversations: Conversations,
) {
  const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const mark = readMark(decodeURIComponent(request.url ?? ""));
    if (mark === undefined) return void response.writeHead(404).end();
    place.ledger.of(mark.client)?.arrives(mark.sequence);
    if (request.method === "GET") stream(response, mark.sequence, mark.answerBytes, mark.delayMs, later);
    else {
      const text = new TextReader(mark.sequence);
      request.on("data", (bytes: Buffer) => text.read(bytes));
      request.on("end", () => response.end(`${markOf(mark)} ${text.at} ${text.wrongAt ?? "right"}`));
    }
  });
  server.on("upgrade", (_request, socket, first: Buffer) => {
    socket.write(switched);
    conversations.serve(socket as net.Socket, later, first);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const piecesPerSecond = 20;

function stream(
  response: http.ServerResponse,
  number: number,
  bytes: number,
  overMs: number,
  later: (ms: number, work: () => void) => void,
): void {
  // Of two each: one says its length, the other comes in chunks.
  if (number % 2 === 0) response.setHeader("content-length", bytes);
  const pieces = Math.max(1, Math.round((overMs * piecesPerSecond) / 1_000));
  const piece = (index: number): void => {
    const [from, to] = [index, index + 1].map((one) => Math.floor((bytes * one) / pieces)) as [number, number];
    response.write(textOf(number, from, to - from));
    if (index + 1 === pieces) response.end();
    else later(1_000 / piecesPerSecond, () => piece(index + 1));
  };
  piece(0);
}
