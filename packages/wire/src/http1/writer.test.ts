import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { lastChunk, lastChunkWith, maxChunkHeadBytes, putChunkHead } from "./chunks.ts";
import { framing, method } from "./head.ts";
import { Http1Reader, readEvent } from "./reader.ts";
import { readAll } from "./reading.ts";
import { continueAnswer, plainAnswer } from "./reply.ts";
import { type Forwarding, fieldEdit, forwardedBound, forwardHead } from "./writer.ts";

/** The head of `text` forwarded, as text; `how` changes what is asked for. */
function forwarded(text: string, how: Partial<Forwarding> = {}, to: number = method.GET): string {
  const reader = new Http1Reader(text.startsWith("HTTP/") ? "server" : "client");
  reader.expect(to as 1);
  const bytes = Buffer.from(text, "latin1");
  assert.equal(reader.read(bytes, 0, bytes.length), readEvent.head);
  const { head } = reader;
  const forwarding = { edits: [], framing: head.framing, close: false, keepAlive: false, upgrade: false, ...how };
  const into = Buffer.alloc(forwardedBound(head, forwarding));
  return into.toString("latin1", 0, forwardHead(head, forwarding, into, 0));
}

const get = (fields: string): string => `GET /a HTTP/1.1\r\nHost: h\r\n${fields}\r\n`;

describe("a forwarded head", () => {
  it("is the received one, byte for byte, where nothing has to change", () => {
    const text = get("Accept:  */*\r\nX-odd_Name:\tv \r\nCookie: a=b\r\n");
    assert.equal(forwarded(text), text);
    const answer = "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\n\r\n";
    assert.equal(forwarded(answer), answer);
  });

  it("loses what is for one hop, wherever it stands", () => {
    const hop = "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n";
    assert.equal(
      forwarded(get(`Connection: keep-alive, Upgrade, HTTP2-Settings\r\nA: 1\r\n${hop}B: 2\r\nTrailer: X-Sum\r\n`)),
      get("A: 1\r\nB: 2\r\nTrailer: X-Sum\r\n"),
    );
  });

  it("loses what connection names, but never what others rely on", () => {
    const kept = "Authorization: x\r\nX-Forwarded-For: 1.1.1.1\r\nCookie: c\r\nX-Real-IP: 1\r\n";
    const options = "Connection: x-own, HOST, authorization, x-forwarded-for, cookie, x-real-ip, content-length\r\n";
    const text = get(`${options}X-OWN: 1\r\n${kept}X-Other: 2\r\nContent-Length: 0\r\n`);
    assert.equal(forwarded(text), get(`${kept}X-Other: 2\r\nContent-Length: 0\r\n`));
  });

  it("cannot be made to lose what an edit brings", () => {
    const edits = [fieldEdit("x-served", "replace", "me")];
    assert.equal(forwarded(get("Connection: x-served\r\nX-Served: you\r\n"), { edits }), get("x-served: me\r\n"));
  });

  it("has its fields replaced, appended to, added when absent, and dropped", () => {
    const edits = [
      fieldEdit("Host", "replace", "1.2.3.4:80"),
      fieldEdit("x-forwarded-for", "append", "9.9.9.9"),
      fieldEdit("x-forwarded-proto", "absent", "http"),
      fieldEdit("x-forwarded-host", "absent", "h"),
      fieldEdit("x-identity", "drop"),
    ];
    const text = get(
      "X-Forwarded-For: 1.1.1.1 \r\nX-Identity: forged\r\nx-forwarded-FOR: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n",
    );
    assert.equal(
      forwarded(text, { edits }),
      "GET /a HTTP/1.1\r\nhost: 1.2.3.4:80\r\nX-Forwarded-For: 1.1.1.1 \r\nx-forwarded-FOR: 2.2.2.2, 9.9.9.9\r\n" +
        "X-Forwarded-Proto: https\r\nx-forwarded-host: h\r\n\r\n",
    );
    assert.equal(
      forwarded(get("X-Forwarded-For:\r\n"), { edits: edits.slice(1, 2) }),
      get("X-Forwarded-For:9.9.9.9\r\n"),
    );
    const once = [fieldEdit("x-two", "replace", "3")];
    assert.equal(forwarded(get("X-Two: 1\r\nA: b\r\nX-Two: 2\r\n"), { edits: once }), get("x-two: 3\r\nA: b\r\n"));
  });

  it("has its location replaced in an answer", () => {
    const answer = "HTTP/1.1 302 Found\r\nLocation: http://1.2.3.4:8080/x\r\nContent-Length: 0\r\n\r\n";
    const edits = [fieldEdit("location", "replace", "http://127.4.5.6:20882/x")];
    assert.equal(
      forwarded(answer, { edits }),
      "HTTP/1.1 302 Found\r\nlocation: http://127.4.5.6:20882/x\r\nContent-Length: 0\r\n\r\n",
    );
  });

  it("has the canonical target, and the host of an absolute one", () => {
    assert.equal(
      forwarded("GET /a/../%62?q=%2f HTTP/1.1\r\nHost: h\r\n\r\n"),
      "GET /b?q=%2f HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert.equal(
      forwarded("GET http://Other:81//x HTTP/1.1\r\nA: b\r\nHost: h\r\nC: d\r\n\r\n"),
      "GET /x HTTP/1.1\r\nA: b\r\nhost: Other:81\r\nC: d\r\n\r\n",
    );
    assert.equal(forwarded("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n"), "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
  });

  it("is of version 1.1, whatever was received", () => {
    assert.equal(forwarded("GET /a HTTP/1.0\r\nHost: h\r\n\r\n"), "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert.equal(forwarded("GET http://o/a HTTP/1.0\r\n\r\n"), "GET /a HTTP/1.1\r\nhost: o\r\n\r\n");
    assert.equal(forwarded("GET /a HTTP/1.0\r\n\r\n"), "GET /a HTTP/1.1\r\nhost: \r\n\r\n");
    assert.equal(
      forwarded("GET /a HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\n\r\n"),
      "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert.equal(
      forwarded("HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\n"),
      "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n",
    );
    assert.equal(forwarded("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n"), "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n");
  });

  it("is framed anew in canonical form", () => {
    const chunked = get("tRANSFER-Encoding: CHUNKED\r\nA: b\r\n");
    assert.equal(forwarded(chunked), get("A: b\r\ntransfer-encoding: chunked\r\n"));
    assert.equal(forwarded(get("Content-Length: 0012\r\nA: b\r\n")), get("A: b\r\ncontent-length: 12\r\n"));
    for (const length of ["Content-Length:\t12", "Content-Length: 12 ", "content-length:12", "Content-Length:  12"]) {
      assert.equal(forwarded(get(`${length}\r\n`)), get("content-length: 12\r\n"));
    }
    assert.equal(forwarded(get("Content-Length: 0\r\n")), get("Content-Length: 0\r\n"));
    const endless = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    assert.equal(forwarded(endless), "HTTP/1.1 200 OK\r\nA: b\r\nconnection: close\r\n\r\n");
    assert.equal(
      forwarded(endless, { framing: framing.chunked }),
      "HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n",
    );
  });

  it("states a length without a body where that is a description, and not with 204", () => {
    const head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert.equal(forwarded(head, {}, method.HEAD), head);
    const unchanged = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    assert.equal(forwarded(unchanged), unchanged);
    assert.equal(forwarded("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), "HTTP/1.1 204 No Content\r\n\r\n");
  });

  it("says what becomes of the connection", () => {
    assert.equal(forwarded(get("Connection: keep-alive\r\n"), { close: true }), get("connection: close\r\n"));
    assert.equal(forwarded(get(""), { keepAlive: true }), get("connection: keep-alive\r\n"));
    const upgrade = get("Connection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\n");
    assert.equal(forwarded(upgrade, { upgrade: true }), get("A: b\r\nUpgrade: websocket\r\nconnection: upgrade\r\n"));
    assert.equal(
      forwarded(get("TE: Trailers, gzip;q=0.5\r\nConnection: TE\r\n")),
      get("te: trailers\r\nconnection: te\r\n"),
    );
  });

  it("can be written after the shared buffer is used again, once it is retained", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from(`xx${get("A: b\r\n")}`);
    reader.read(bytes, 2, bytes.length);
    reader.head.retain();
    bytes.fill(0);
    const forwarding = { edits: [], framing: framing.none, close: false, keepAlive: false, upgrade: false };
    const into = Buffer.alloc(forwardedBound(reader.head, forwarding));
    assert.equal(into.toString("latin1", 0, forwardHead(reader.head, forwarding, into, 0)), get("A: b\r\n"));
    assert.deepEqual([reader.head.path(), reader.head.host(), reader.head.fields.value(1)], ["/a", "h", "b"]);
  });

  it("takes no edit that would break a head or its framing", () => {
    for (const [name, value] of [
      ["a b", "x"],
      ["", "x"],
      ["a", "x\r\nb: c"],
      ["a", "\u4e2d"],
      ["content-length", "5"],
      ["Transfer-Encoding", "chunked"],
      ["connection", "close"],
    ] as const) {
      assert.throws(() => fieldEdit(name, "replace", value), RangeError, name);
    }
  });
});

describe("chunks", () => {
  it("have a size line that reads as their size", () => {
    for (const size of [1, 9, 10, 15, 16, 255, 256, 65_535, 65_536, 0x0fff_ffff, 0xffff_ffff]) {
      const line = Buffer.alloc(maxChunkHeadBytes + 2);
      const end = putChunkHead(line, 1, size);
      assert.equal(line.toString("latin1", 1, end), `${size.toString(16)}\r\n`);
    }
    for (const size of [0, -1, 2 ** 32, Number.NaN])
      assert.throws(() => putChunkHead(Buffer.alloc(20), 0, size), RangeError);
  });

  it("end with the trailers that came", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from(`${get("Transfer-Encoding: chunked\r\n")}0\r\nX-Sum:  1 \r\nX-Other:\r\n\r\n`);
    reader.read(bytes, 0, bytes.length);
    assert.equal(reader.read(bytes, reader.position, bytes.length), readEvent.trailers);
    assert.equal(lastChunkWith(reader.trailers).toString(), "0\r\nX-Sum: 1\r\nX-Other: \r\n\r\n");
    assert.equal(lastChunk.toString(), "0\r\n\r\n");
  });
});

describe("an answer of the proxy's own", () => {
  it("reads as a whole message, whatever its text has", () => {
    const bytes = plainAnswer({
      status: 503,
      text: "orders: no\r\nprovider \u4e2d<",
      fields: [["x-dualmesh", "no-provider"]],
      close: true,
    });
    const { messages, error, left } = readAll(bytes, { from: "server" });
    assert.equal(error, undefined);
    assert.equal(left, "");
    assert.equal(messages[0]?.body, "orders: no??provider ?<\n");
    assert.equal(messages[0]?.keepAlive, false);
    assert.ok(messages[0]?.fields.some(([name, value]) => name === "x-dualmesh" && value === "no-provider"));
  });

  it("to HEAD has the length and no body", () => {
    const bytes = plainAnswer({ status: 404, text: "none", close: false, head: true });
    const { messages, left } = readAll(bytes, { from: "server", to: "HEAD" });
    assert.equal(left, "");
    assert.ok(messages[0]?.ended && messages[0].keepAlive);
    assert.ok(messages[0].fields.some(([name, value]) => name === "content-length" && value === "5"));
  });

  it("takes no field that would break it, and no status that is none", () => {
    assert.throws(() => plainAnswer({ status: 200, text: "", fields: [["a", "b\r\nc"]], close: true }), RangeError);
    assert.throws(() => plainAnswer({ status: 99, text: "", close: true }), RangeError);
    assert.equal(readAll(continueAnswer, { from: "server" }).messages[0]?.start, "100");
  });
});
