/**
 * Why this exists: reads bytes to the end as a connection's owner would, in pieces of any size, and tells what came as plain values that
 * tests can compare. Test support: no part of the product imports it.
 */
import { type Http1Head, method } from "./head.ts";
import { Http1Error, type Http1Limits } from "./limits.ts";
import { Http1Reader, readEvent } from "./reader.ts";

export interface ReadMessage {
  readonly start: string;
  readonly target: string;
  readonly host: string;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  readonly expectContinue: boolean;
  readonly framing: number;
  readonly fields: readonly (readonly [string, string])[];
  body: string;
  trailers: readonly (readonly [string, string])[];
  ended: boolean;
}

export interface Reading {
  readonly messages: readonly ReadMessage[];
  readonly error: { readonly status: number; readonly reason: string } | undefined;
  /** Bytes behind the last message, when reading stopped there. */
  readonly left: string;
  readonly reader: Http1Reader;
}

export interface ReadingOptions {
  readonly from: "client" | "server";
  readonly to?: "GET" | "HEAD" | "CONNECT";
  readonly limits?: Http1Limits;
  /** Where the bytes are split, in ascending order. */
  readonly cuts?: readonly number[];
  /** Stops after so many messages, as an owner does that answers one first. */
  readonly maxMessages?: number;
  /** The peer sends FIN behind the bytes. */
  readonly finish?: boolean;
  /** Keeps the head in memory of its own before going on. */
  readonly retain?: boolean;
}

export function readAll(bytes: Buffer, options: ReadingOptions): Reading {
  const reader = new Http1Reader(options.from, options.limits);
  const messages: ReadMessage[] = [];
  const cuts = [...(options.cuts ?? []), bytes.length];
  const maxMessages = options.maxMessages ?? Number.POSITIVE_INFINITY;
  let at = 0;
  let ends = 0;
  try {
    for (const cut of cuts) {
      // A copy that is overwritten afterwards, as the shared read buffer is, and at another place of it each time.
      const shared = Buffer.alloc(cut - at + (cut % 7), 0xaa);
      const offset = cut % 7;
      bytes.copy(shared, offset, at, cut);
      let place = offset;
      const stop = offset + cut - at;
      for (let steps = 0; ends < maxMessages; steps++) {
        if (steps > 4 * (bytes.length + 16)) throw new Error("reads without end");
        if (options.from === "server" && reader.idle) reader.expect(method[options.to ?? "GET"]);
        const event = reader.read(shared, place, stop);
        if (reader.position < place || reader.position > stop) throw new Error(`position ${reader.position}`);
        place = reader.position;
        if (event === readEvent.more) break;
        take(reader, event, shared, messages, options.retain === true);
        if (event === readEvent.end) ends++;
        if (event === readEvent.end && (place === stop || reader.head.framing === 4)) break;
      }
      shared.fill(0x55);
      at += place - offset;
      if (ends >= maxMessages || at < cut) break;
    }
    if (options.finish === true && at === bytes.length && reader.finish() === readEvent.end) {
      (messages.at(-1) as ReadMessage).ended = true;
    }
  } catch (error) {
    if (!(error instanceof Http1Error)) throw error;
    return { messages, error: { status: error.status, reason: error.reason }, left: "", reader };
  }
  return { messages, error: undefined, left: bytes.toString("latin1", at), reader };
}

function take(reader: Http1Reader, event: number, bytes: Buffer, messages: ReadMessage[], retain: boolean): void {
  if (event === readEvent.head) {
    if (retain) reader.head.retain();
    messages.push(tellHead(reader.head));
    return;
  }
  const message = messages.at(-1) as ReadMessage;
  if (event === readEvent.data) message.body += bytes.toString("latin1", reader.dataStart, reader.dataEnd);
  else if (event === readEvent.trailers) {
    const { trailers } = reader;
    message.trailers = Array.from({ length: trailers.count }, (_, index) => [
      trailers.name(index),
      trailers.value(index),
    ]);
  } else message.ended = true;
}

function tellHead(head: Http1Head): ReadMessage {
  const { fields } = head;
  return {
    start: head.status > 0 ? `${head.status}` : head.methodText(),
    target: head.status > 0 ? "" : head.path() + head.query(),
    host: head.status > 0 ? "" : head.host(),
    keepAlive: head.keepAlive,
    upgrade: head.upgrade,
    expectContinue: head.expectContinue,
    framing: head.framing,
    fields: Array.from({ length: fields.count }, (_, index) => [fields.name(index), fields.value(index)]),
    body: "",
    trailers: [],
    ended: false,
  };
}
