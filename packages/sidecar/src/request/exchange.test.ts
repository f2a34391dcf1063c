/** The claim of docs/adr/0003: a stream with flow control, trailers and a reset, and a TLS connection, fit the types as they stand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageCodec, MessageEvents } from "@dualmesh/wire/codec";
import type { Transport, TransportEvents } from "../transport/transport.ts";
import type { ExchangeStream } from "./exchange.ts";

interface Head {
  readonly path: string;
}

/** HTTP/2 in miniature: one-byte types (h, d, t, e, r, w), a one-byte stream and one byte of length; a window of 4 bytes a stream. */
function miniature(): MessageCodec<Head> {
  const windows = new Map<number, number>();
  const frame = (type: string, stream: number, body: string | Buffer = ""): Buffer => {
    const bytes = Buffer.from(body);
    return Buffer.concat([Buffer.from(type), Buffer.from([stream, bytes.length]), bytes]);
  };
  return {
    protocol: "miniature",
    sniff: (head) => (head.length === 0 ? "more" : head[0] === 0x68 ? "yes" : "no"),
    read(bytes, events) {
      for (let at = 0; at < bytes.length; at += 3 + (bytes[at + 2] as number)) {
        const stream = bytes[at + 1] as number;
        const body = bytes.subarray(at + 3, at + 3 + (bytes[at + 2] as number));
        const type = String.fromCharCode(bytes[at] as number);
        if (type === "h") events.head(stream, { path: body.toString() });
        else if (type === "d") events.data(stream, body);
        else if (type === "t") events.trailers(stream, [["grpc-status", body.toString()]]);
        else if (type === "e") events.end(stream);
        else if (type === "r") events.cancel(stream, "stream.cancelled");
        else if (type === "w") {
          windows.set(stream, (windows.get(stream) ?? 4) + (body[0] as number));
          events.credit(stream, body[0] as number);
        }
      }
      return true;
    },
    writeHead: (stream, head) => frame("h", stream, head.path),
    writeData(stream, bytes) {
      windows.set(stream, (windows.get(stream) ?? 4) - bytes.length);
      return frame("d", stream, bytes);
    },
    writeTrailers: (stream, trailers) => frame("t", stream, trailers[0]?.[1] ?? ""),
    writeEnd: (stream) => frame("e", stream),
    writeCancel: (stream) => frame("r", stream),
    credit: (stream) => windows.get(stream) ?? 4,
  };
}

/** Passes one stream from a caller to an endpoint, holding data back where the endpoint has given no credit. */
function passOn(
  codec: MessageCodec<Head>,
  send: (bytes: Buffer) => void,
  grant: (bytes: number) => void,
): ExchangeStream<Head> {
  let held = Buffer.alloc(0);
  const flush = (stream: number): void => {
    const size = Math.min(held.length, codec.credit(stream));
    if (size === 0) return;
    send(codec.writeData(stream, held.subarray(0, size)));
    held = held.subarray(size);
    grant(size); // only what has left widens the caller's window: memory is bounded by it
  };
  return {
    head: (stream, head) => send(codec.writeHead(stream, head)),
    data: (stream, bytes) => {
      held = Buffer.concat([held, bytes]);
      flush(stream);
    },
    credit: (stream) => flush(stream),
    trailers: (stream, trailers) => send(codec.writeTrailers(stream, trailers)),
    end: (stream) => send(codec.writeEnd(stream)),
    cancel: (stream, code) => send(codec.writeCancel(stream, code)),
  };
}

test("a stream with windows, trailers and a reset goes through the exchange; data waits for credit and nothing else does", () => {
  const [caller, endpoint] = [miniature(), miniature()];
  const sent: string[] = [];
  const granted: number[] = [];
  const upstream = passOn(
    endpoint,
    (bytes) => sent.push(bytes.toString("latin1")),
    (bytes) => granted.push(bytes),
  );
  caller.read(
    Buffer.concat([caller.writeHead(1, { path: "/fx.Greeter/sayHello" }), caller.writeData(1, Buffer.from("abcdef"))]),
    upstream,
  );
  assert.deepEqual(granted, [4]);
  const events: MessageEvents<Head> = {
    ...upstream,
    head: () => {},
    data: () => {},
    trailers: () => {},
    end: () => {},
    cancel: () => {},
  };
  endpoint.read(Buffer.from([0x77, 1, 1, 10]), events);
  assert.deepEqual(granted, [4, 2]);
  caller.read(
    Buffer.concat([
      caller.writeTrailers(1, [["grpc-status", "0"]]),
      caller.writeEnd(1),
      caller.writeCancel(3, "stream.cancelled"),
    ]),
    upstream,
  );
  assert.deepEqual(sent.map((text) => text[0]).join(""), "hddter");
});

test("a TLS connection has the same face: what it wraps stays behind the transport", () => {
  const written: Buffer[] = [];
  let events: TransportEvents | undefined;
  /** Stands where node:tls will: it copies before it encrypts, and hands on plain text. */
  const secured: Transport = {
    remoteAddress: "10.0.0.1",
    remotePort: 1,
    localAddress: "10.0.0.2",
    localPort: 2,
    queuedBytes: 0,
    open: (owner) => {
      events = owner;
    },
    write: (bytes, start, end) => void written.push(Buffer.from(bytes.subarray(start, end))),
    flush() {},
    pause() {},
    resume() {},
    endWriting() {},
    end() {},
    destroy: (reason) => events?.onClose(reason),
    reset: (reason) => events?.onClose(reason),
    wroteAll: false,
    // It is drained, and never handed over.
    descriptor: undefined,
    freeze: () => false,
    thaw() {},
    letGo() {},
  };
  const seen: string[] = [];
  secured.open({
    onBytes: (bytes, size) => seen.push(bytes.subarray(0, size).toString()),
    onDrain() {},
    onPeerEnd() {},
    onClose: (reason) => seen.push(reason),
  });
  const shared = Buffer.from("frame");
  secured.write(shared, 0, 5);
  shared.fill(0);
  assert.equal(written[0]?.toString(), "frame");
  secured.destroy("expired");
  assert.deepEqual(seen, ["expired"]);
});
