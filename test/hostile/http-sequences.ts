/**
 * What is sent over one connection: a request, a message of the corpus or of those below, and a marker, which tells whether everybody agrees on
 * where the message ended. What must become of it is read off with the codec, whose verdicts the corpus fixes.
 */
import { readAll } from "@dualmesh/wire/http1/reading";
import { type Taken, taken } from "./http-bytes.ts";

export interface Sequence {
  readonly name: string;
  readonly bytes: Buffer;
}

export interface Expected {
  /** What is forwarded, in order. */
  readonly forwarded: readonly Taken[];
  /** The status that the sidecar itself answers with after them; 0 when it answers nothing. */
  readonly refusal: number;
  /** The connection ends without the client's doing. */
  readonly closes: boolean;
}

const tunnelled = "CONNECT";

/** What a sidecar makes of these bytes. */
export function expectedOf(bytes: Buffer): Expected {
  const { messages, error } = readAll(bytes, { from: "client" });
  const forwarded: Taken[] = [];
  for (const message of messages) {
    if (message.start === tunnelled) return { forwarded, refusal: 400, closes: true };
    if (!message.ended) break;
    forwarded.push(taken(message.start, message.target, Buffer.from(message.body, "latin1")));
    if (!message.keepAlive) return { forwarded, refusal: 0, closes: true };
  }
  return { forwarded, refusal: error?.status ?? 0, closes: error !== undefined };
}

const marker = (at: string): string => `GET ${at} HTTP/1.1\r\nHost: m\r\n\r\n`;

/** Between two whole requests that say where they stand. */
export function surrounded(bytes: Buffer, number: number): Buffer {
  return Buffer.concat([Buffer.from(marker(`/before/${number}`)), bytes, Buffer.from(marker(`/after/${number}`))]);
}

const inner = marker("/smuggled");
const post = (fields: string, body: string): string => `POST /outer HTTP/1.1\r\nHost: h\r\n${fields}\r\n${body}`;
const size = inner.length;
const hex = size.toString(16);
const chunkedInner = `${hex}\r\n${inner}\r\n0\r\n\r\n`;

/** The ways in which one request is hidden in another, each with a whole request inside. */
const hidden: Readonly<Record<string, string>> = {
  "a request as a body with a length": post(`Content-Length: ${size}\r\n`, inner),
  "a request as a chunk": post("Transfer-Encoding: chunked\r\n", chunkedInner),
  "a request as the body of GET": `GET /outer HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${inner}`,
  "a request as the body of DELETE in chunks": `DELETE /outer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${chunkedInner}`,
  "a request as the body of OPTIONS *": `OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${inner}`,
  "a request as the body of HTTP/1.0": `POST /outer HTTP/1.0\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${inner}`,
  "a request behind HTTP/1.0": `POST /outer HTTP/1.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n${inner}`,
  "a request behind connection: close": post("Connection: close\r\nContent-Length: 0\r\n", inner),
  "a request in one chunk each byte": post(
    "Transfer-Encoding: chunked\r\n",
    `${[...inner].map((letter) => `1\r\n${letter}\r\n`).join("")}0\r\n\r\n`,
  ),
  "a request in the trailers": post("Transfer-Encoding: chunked\r\n", `0\r\nX: y\r\n\r\n${inner}`),
  "a request in an extension": post("Transfer-Encoding: chunked\r\n", `5;a="GET / HTTP/1.1"\r\nhello\r\n0\r\n\r\n`),
  "a request behind a chunk that is too short": post(
    "Transfer-Encoding: chunked\r\n",
    `4\r\nhello\r\n0\r\n\r\n${inner}`,
  ),
  "a length and chunks, the chunks shorter": post(
    `Content-Length: ${size + 5}\r\nTransfer-Encoding: chunked\r\n`,
    `0\r\n\r\n${inner}`,
  ),
  "chunks and a length, the length shorter": post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunkedInner),
  "an unknown coding and a length": post(`Content-Length: ${size}\r\nTransfer-Encoding: xchunked\r\n`, inner),
  "chunks behind a space": post(`Content-Length: ${size}\r\nTransfer-Encoding : chunked\r\n`, inner),
  "chunks in a folded field": post(`Content-Length: ${size}\r\nX: y\r\n Transfer-Encoding: chunked\r\n`, inner),
  "chunks behind a bare CR": post(`Content-Length: ${size}\r\nX: y\rTransfer-Encoding: chunked\r\n`, inner),
  "chunks behind a bare LF": post(`Content-Length: ${size}\r\nX: y\nTransfer-Encoding: chunked\r\n`, inner),
  "a length that Connection takes away": post(`Connection: content-length\r\nContent-Length: ${size}\r\n`, inner),
  "a coding that Connection takes away": post(
    "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
    chunkedInner,
  ),
  "a host that Connection takes away": post(`Connection: host\r\nContent-Length: ${size}\r\n`, inner),
  "a trailer that is a length": post("Transfer-Encoding: chunked\r\n", `0\r\nContent-Length: ${size}\r\n\r\n${inner}`),
  "a trailer that is a coding": post(
    "Transfer-Encoding: chunked\r\n",
    `0\r\nTransfer-Encoding: chunked\r\n\r\n${inner}`,
  ),
  "a body that was to wait for 100": post(`Expect: 100-continue\r\nContent-Length: ${size}\r\n`, inner),
  "an upgrade to h2c": post(
    `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nContent-Length: ${size}\r\n`,
    inner,
  ),
  "an upgrade to WebSocket with early data": `GET /outer HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n${inner}`,
  "an upgrade to WebSocket with a body": post(
    `Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${size}\r\n`,
    inner,
  ),
  "CONNECT with early data": `CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n${inner}`,
  "CONNECT with a body": `CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nContent-Length: ${size}\r\n\r\n${inner}`,
  "the preface of HTTP/2": `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${inner}`,
  "an empty line behind a body": post("Content-Length: 2\r\n", `hi\r\n${inner}`),
  "a length in an absolute target": `GET http://h/outer HTTP/1.1\r\nHost: other\r\nContent-Length: ${size}\r\n\r\n${inner}`,
  "ten requests at once": Array.from({ length: 10 }, (_, index) => marker(`/one/${index}`)).join(""),
  "ten bodies at once": Array.from({ length: 10 }, (_, index) =>
    post(`Content-Length: ${size}\r\nX: ${index}\r\n`, inner),
  ).join(""),
};

export const hiddenRequests: readonly Sequence[] = Object.entries(hidden).map(([name, text]) => ({
  name,
  bytes: Buffer.from(text, "latin1"),
}));
