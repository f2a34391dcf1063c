import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { method } from "./head.ts";
import { defaultHttp1Limits, Http1Error } from "./limits.ts";
import { field, fieldIdOf, fieldIdOfName } from "./names.ts";
import { Http1Reader, readEvent } from "./reader.ts";
import { readAll } from "./reading.ts";
import { maxHttp1SniffBytes, sniffHttp1 } from "./sniff.ts";

const get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

describe("the owner of a connection", () => {
  it("reads one message at a time, and what is pipelined when it goes on", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from(get + get.replace("/a", "/b"));
    assert.equal(reader.read(bytes, 0, bytes.length), readEvent.head);
    assert.equal(reader.read(bytes, reader.position, bytes.length), readEvent.end);
    assert.equal(reader.position, get.length);
    assert.ok(reader.idle);
    assert.equal(reader.read(bytes, reader.position, bytes.length), readEvent.head);
    assert.equal(reader.head.path(), "/b");
  });

  it("can give a partial head to another reader, which reads it as if nothing had happened", () => {
    for (let cut = 1; cut < get.length; cut++) {
      const first = new Http1Reader("client");
      const bytes = Buffer.from(get);
      assert.equal(first.read(bytes, 0, cut), readEvent.more);
      assert.equal(first.idle, false);
      assert.ok(first.heldBytes >= cut);
      const rest = first.residual();
      assert.ok(rest && first.idle && first.heldBytes === 0);
      const second = readAll(Buffer.concat([rest, bytes.subarray(cut)]), { from: "client" });
      assert.deepEqual(second.messages, readAll(bytes, { from: "client" }).messages);
      assert.deepEqual(readAll(bytes, { from: "client" }).messages.length, 1);
    }
  });

  it("cannot give away what has been reported in part", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
    reader.read(bytes, 0, bytes.length);
    reader.read(bytes, reader.position, bytes.length);
    assert.equal(reader.residual(), undefined);
  });

  it("hears of an end between messages, in the midst of one, and as the end of one", () => {
    const reader = new Http1Reader("client");
    assert.equal(reader.finish(), readEvent.more);
    const bytes = Buffer.from(get);
    reader.read(bytes, 0, 9);
    assert.throws(() => reader.finish(), Http1Error);
    const answers = new Http1Reader("server");
    answers.expect(method.GET);
    assert.throws(
      () => answers.finish(),
      (error) => error instanceof Http1Error && error.status === 502,
    );
  });

  it("refuses an answer that nobody asked for, and one more than was asked for", () => {
    const answer = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    const reader = new Http1Reader("server");
    reader.expect(method.GET);
    assert.equal(reader.read(answer, 0, answer.length), readEvent.head);
    assert.equal(reader.read(answer, answer.length, answer.length), readEvent.end);
    assert.throws(() => reader.read(answer, 0, answer.length), /nobody asked for/);
  });

  it("awaits the answer after interim ones", () => {
    const reader = new Http1Reader("server");
    reader.expect(method.POST);
    const bytes = Buffer.from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    const events: number[] = [];
    for (let at = 0; at < bytes.length || events.at(-1) === readEvent.head; at = reader.position) {
      events.push(reader.read(bytes, at, bytes.length));
    }
    assert.deepEqual(events, [readEvent.head, readEvent.end, readEvent.head, readEvent.end]);
    assert.equal(reader.head.status, 201);
  });

  it("lets go of a head with forget, so that an idle connection holds nothing", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from(get);
    for (let at = 0; at < bytes.length; at++) reader.read(bytes, at, at + 1);
    assert.equal(reader.read(bytes, 0, 0), readEvent.end);
    assert.ok(reader.heldBytes > 0);
    reader.forget();
    assert.equal(reader.heldBytes, 0);
    assert.equal(reader.head.fields.count, 0);
  });

  it("retains one head in the memory of the last, and a long one in its own", () => {
    const reader = new Http1Reader("client");
    const retained = (bytes: Buffer): Buffer => {
      assert.equal(reader.read(bytes, 0, bytes.length), readEvent.head);
      reader.head.retain();
      const { start, end, bytes: copy } = reader.head;
      assert.ok(copy.subarray(start, end).equals(bytes));
      assert.equal(reader.read(bytes, bytes.length, bytes.length), readEvent.end);
      return copy;
    };
    const withField = (length: number): Buffer =>
      Buffer.from(`GET / HTTP/1.1\r\nHost: h\r\nA: ${"a".repeat(length)}\r\n\r\n`);
    const first = retained(withField(100));
    assert.equal(retained(withField(90)), first);
    assert.equal(retained(withField(110)), first);
    const longer = retained(withField(1_000));
    assert.notEqual(longer, first);
    assert.notEqual(retained(withField(10_000)), longer);
    assert.equal(retained(withField(10)), longer);
    reader.forget();
    assert.notEqual(retained(withField(10)), longer);
  });

  it("is told the limit and its value", () => {
    const limits = { ...defaultHttp1Limits, headerCount: 1 };
    const { error } = readAll(Buffer.from("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"), { from: "client", limits });
    assert.deepEqual(error, { status: 431, reason: "more than 1 fields (limit headerCount)" });
  });
});

describe("programs that are not recorded here", () => {
  it("are read as they are known to write: Tomcat, Apache HttpClient 5, Feign", () => {
    const tomcat =
      "HTTP/1.1 200 \r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" +
      "Date: Tue, 24 Nov 2026 02:00:00 GMT\r\nKeep-Alive: timeout=60\r\nConnection: keep-alive\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    const answer = readAll(Buffer.from(tomcat), { from: "server" }).messages[0];
    assert.deepEqual([answer?.start, answer?.body, answer?.keepAlive, answer?.ended], ["200", "{}", true, true]);
    const apache =
      "POST /orders HTTP/1.1\r\nAccept-Encoding: gzip, x-gzip, deflate\r\nContent-Length: 2\r\n" +
      "Content-Type: application/json; charset=UTF-8\r\nHost: 127.4.5.6:20882\r\nConnection: keep-alive\r\n" +
      "User-Agent: Apache-HttpClient/5.4.1 (Java/17.0.15)\r\n\r\n{}";
    const feign =
      "GET /orders/1 HTTP/1.1\r\nAccept: */*\r\nUser-Agent: Java/17.0.15\r\nHost: 127.4.5.6:20882\r\nConnection: keep-alive\r\n\r\n";
    const { messages, error } = readAll(Buffer.from(apache + feign), { from: "client" });
    assert.equal(error, undefined);
    assert.deepEqual(
      messages.map(({ start, target, host, body, keepAlive }) => [start, target, host, body, keepAlive]),
      [
        ["POST", "/orders", "127.4.5.6", "{}", true],
        ["GET", "/orders/1", "127.4.5.6", "", true],
      ],
    );
  });
});

describe("field names", () => {
  it("are told by any case, and by nothing that only looks like it", () => {
    for (const [name, id] of Object.entries(field)) {
      const text = name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`);
      assert.equal(fieldIdOfName(text), id);
      for (const spelled of [text, text.toUpperCase()]) {
        assert.equal(fieldIdOf(Buffer.from(`x${spelled}y`), 1, 1 + spelled.length), id, spelled);
      }
      assert.equal(fieldIdOf(Buffer.from(`${text}s`), 0, text.length + 1), 0);
      if (text.includes("-")) assert.equal(fieldIdOf(Buffer.from(text.replace("-", "_")), 0, text.length), 0);
    }
    assert.equal(fieldIdOf(Buffer.from(""), 0, 0), 0);
    assert.equal(fieldIdOf(Buffer.alloc(40, "a"), 0, 40), 0);
  });

  it("are found by name, known or not", () => {
    const reader = new Http1Reader("client");
    const bytes = Buffer.from("GET / HTTP/1.1\r\nHost: h\r\nX-Own: 1\r\nx-own: 2\r\n\r\n");
    reader.read(bytes, 0, bytes.length);
    const { fields } = reader.head;
    assert.equal(fields.find(field.host), 0);
    assert.equal(fields.find(field.cookie), -1);
    const first = fields.findName("x-own");
    assert.deepEqual([first, fields.findName("x-own", first + 1), fields.findName("x-none")], [1, 2, -1]);
  });
});

describe("sniffing HTTP/1", () => {
  it("knows any method by the space behind it, and takes no answer back", () => {
    for (const [text, answer] of [
      ["GET /", "yes"],
      ["PROPFIND /", "yes"],
      ["m-search * HTTP/1.1", "yes"],
      [`${"A".repeat(24)} /`, "yes"],
      [`${"A".repeat(25)} /`, "no"],
      ["", "more"],
      ["GE", "more"],
      [" GET", "no"],
      ["GET\t/", "no"],
      ["\r\nGET /", "yes"],
      [`\r\n${"A".repeat(24)} /`, "yes"],
      [`\r\n${"A".repeat(25)} /`, "no"],
      ["\r", "more"],
      ["\r\n", "more"],
      ["\r\nGE", "more"],
      ["\rGET /", "no"],
      ["\r\n\r\nGET /", "no"],
      ["\x16\x03", "no"],
      ["\xda\xbb", "no"],
      ["\x01\x00", "no"],
    ] as const) {
      const bytes = Buffer.from(text, "latin1");
      assert.equal(sniffHttp1(bytes), answer, text);
      if (answer === "yes")
        for (let size = 0; size < 2; size++) assert.notEqual(sniffHttp1(bytes.subarray(0, size)), "no");
      if (bytes.length >= maxHttp1SniffBytes)
        assert.notEqual(sniffHttp1(bytes.subarray(0, maxHttp1SniffBytes)), "more");
    }
  });
});
