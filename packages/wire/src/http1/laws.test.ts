import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { arbitraryRequest, arbitraryResponse } from "./arbitrary.ts";
import { canonicalHost, canonicalPath } from "./canonical.ts";
import { requestCorpus, responseCorpus } from "./corpus.ts";
import { framing, type Http1Head, method } from "./head.ts";
import { defaultHttp1Limits, Http1Error, type Http1Limits } from "./limits.ts";
import { Http1Reader, readEvent } from "./reader.ts";
import { type ReadingOptions, readAll } from "./reading.ts";
import { type Forwarding, forwardedBound, forwardHead } from "./writer.ts";

const runs = 200;
const sides = [
  ["client", arbitraryRequest, requestCorpus],
  ["server", arbitraryResponse, responseCorpus],
] as const;

/** Small enough for hostile bytes to reach each of them. */
const smallLimits: Http1Limits = {
  headBytes: 200,
  headerCount: 5,
  targetBytes: 40,
  chunkExtensionBytes: 8,
  messageExtensionBytes: 12,
  chunkSizeDigits: 4,
  trailerBytes: 30,
  trailerCount: 2,
};

for (const [from, arbitrary, corpus] of sides) {
  describe(`laws of HTTP/1.1 as a ${from} sends it`, () => {
    it("tells the same wherever the bytes are split, and wherever they lie", () => {
      const cuts = fc.array(fc.nat({ max: 600 }), { maxLength: 12 });
      fc.assert(
        fc.property(fc.array(arbitrary, { minLength: 1, maxLength: 3 }), cuts, (messages, at) => {
          const bytes = Buffer.concat(messages);
          const whole = readAll(bytes, { from });
          assert.equal(whole.error, undefined);
          assert.ok(whole.messages.every((message) => message.ended));
          same(bytes, { from }, at);
          same(bytes, { from, retain: true }, [...bytes.keys()]);
        }),
        { numRuns: runs },
      );
    });

    it("refuses the same with the same words wherever the bytes are split, within small limits too", () => {
      const hostile = fc.oneof(arbitrary, fc.constantFrom(...corpus.map((one) => one.bytes)));
      const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 });
      fc.assert(
        fc.property(hostile, changes, fc.boolean(), fc.nat({ max: 50 }), (message, changed, small, step) => {
          const bytes = Buffer.from(message.subarray(0, 3_000));
          for (const [at, value] of changed) bytes[at % bytes.length] = value;
          const limits = small ? smallLimits : defaultHttp1Limits;
          const cuts = Array.from({ length: Math.floor(bytes.length / (step + 1)) }, (_, index) => index * (step + 1));
          same(bytes, { from, limits }, cuts);
        }),
        { numRuns: runs * 5 },
      );
    });

    it("answers garbage with its own error or by asking for more", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
          readAll(Buffer.from(garbage), { from, finish: true });
        }),
        { numRuns: runs * 5 },
      );
    });

    it("forwards what reads as the same message", () => {
      fc.assert(
        fc.property(arbitrary, (bytes) => {
          const reader = new Http1Reader(from);
          reader.expect(method.GET);
          assert.equal(reader.read(bytes, 0, bytes.length), readEvent.head);
          const forwarded = Buffer.concat([forward(reader.head), bytes.subarray(reader.position)]);
          const [before] = readAll(bytes, { from }).messages;
          const again = readAll(forwarded, { from });
          assert.equal(again.error, undefined, again.error?.reason);
          const [after] = again.messages;
          assert.ok(before && after);
          assert.deepEqual(comparable(after), comparable(before));
          // And what was forwarded once is canonical: forwarded again it stays as it is.
          const second = new Http1Reader(from);
          second.expect(method.GET);
          second.read(forwarded, 0, forwarded.length);
          assert.equal(forward(second.head).toString("latin1"), forwarded.toString("latin1", 0, second.position));
        }),
        { numRuns: runs },
      );
    });
  });
}

describe("laws of the canonical form", () => {
  const alphabet = fc.constantFrom(
    "/",
    ".",
    "..",
    "%2e",
    "%2E",
    "%25",
    "%2f",
    "%41",
    "%c3",
    ";",
    "a",
    "B",
    "~",
    "|",
    "%",
    "2",
    "e",
    "//",
  );
  const path = fc.array(alphabet, { maxLength: 14 }).map((parts) => `/${parts.join("")}`);

  it("is the canonical form of itself, has no dots to follow and no empty segment, or is refused with 400", () => {
    fc.assert(
      fc.property(path, (text) => {
        const canonical = orRefused(() => canonicalPath(text));
        if (canonical === undefined) return;
        assert.equal(canonicalPath(canonical), canonical);
        assert.ok(!/\/\/|\/\.{1,2}(\/|;|$)|%2f|%5c|%00/i.test(canonical), canonical);
        assert.ok(!/%(?:[a-f].|.[a-f])/.test(canonical), canonical); // an escape is written in capitals
      }),
      { numRuns: runs * 10 },
    );
  });

  it("decodes once and never twice: the path of a file server is the decoded text of the segments", () => {
    fc.assert(
      fc.property(path, (text) => {
        const canonical = orRefused(() => canonicalPath(text));
        if (canonical === undefined || /%[89a-f]/i.test(text)) return;
        // Another reading of the same path: decode, then resolve, as a server does.
        const stack: string[] = [];
        for (const segment of decodeURIComponent(text).split("/")) {
          if (segment === "..") stack.pop();
          else if (segment !== "." && segment !== "") stack.push(segment);
        }
        assert.deepEqual(decodeURIComponent(canonical).split("/").filter(Boolean), stack);
      }),
      { numRuns: runs * 10 },
    );
  });

  it("of a host is the canonical form of itself, or is refused with 400", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9.:@%[\]-]{0,20}$/), (text) => {
        const host = orRefused(() => canonicalHost(text));
        if (host === undefined) return;
        const again = canonicalHost(host.port > 0 ? `${host.host}:${host.port}` : host.host);
        assert.deepEqual(again, host);
        assert.equal(host.host, host.host.toLowerCase());
      }),
      { numRuns: runs * 10 },
    );
  });
});

function same(bytes: Buffer, options: ReadingOptions, cuts: readonly number[]): void {
  const whole = readAll(bytes, options);
  const sorted = [...cuts].filter((cut) => cut <= bytes.length).sort((left, right) => left - right);
  const split = readAll(bytes, { ...options, cuts: sorted });
  assert.deepEqual(split.messages, whole.messages);
  assert.deepEqual(split.error, whole.error);
  assert.equal(split.left, whole.left);
}

function forward(head: Http1Head): Buffer {
  const forwarding: Forwarding = { edits: [], framing: head.framing, close: false, keepAlive: false, upgrade: false };
  const bound = forwardedBound(head, forwarding);
  const into = Buffer.alloc(bound + 8, 0x7e);
  const end = forwardHead(head, forwarding, into, 4);
  assert.ok(end <= 4 + bound, "stays within its bound");
  assert.equal(into.toString("latin1", 0, 4) + into.toString("latin1", bound + 4), "~".repeat(8));
  return into.subarray(4, end);
}

/** A message without what forwarding is there to change: the writing of lengths, and the order and spelling of its own fields. */
function comparable(message: { readonly fields: readonly (readonly [string, string])[] }): unknown {
  const fields = message.fields.filter(([name]) => !/^(transfer-encoding|content-length|host)$/i.test(name));
  return { ...message, fields };
}

function orRefused<Value>(make: () => Value): Value | undefined {
  try {
    return make();
  } catch (error) {
    assert.ok(error instanceof Http1Error, String(error));
    assert.equal(error.status, 400);
    return undefined;
  }
}

describe("the memory of a reader", () => {
  it("is bounded while a head drips in without end, and given back when it is refused", () => {
    const reader = new Http1Reader("client");
    const drop = Buffer.from("GET / HTTP/1.1\r\nA: ");
    reader.read(drop, 0, drop.length);
    const letters = Buffer.alloc(100, "a");
    assert.throws(() => {
      for (let times = 0; times < 10_000; times++) {
        reader.read(letters, 0, letters.length);
        assert.ok(reader.heldBytes <= defaultHttp1Limits.headBytes + 1_024);
      }
    }, /limit headBytes/);
    assert.equal(reader.heldBytes, 0);
    assert.throws(() => reader.read(letters, 0, letters.length), /limit headBytes/, "stays refused");
  });

  it("holds nothing of a body, whatever its framing promises", () => {
    for (const text of [
      "Content-Length: 9007199254740991\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n1fffffffffffff\r\n",
    ]) {
      const reader = new Http1Reader("client");
      const bytes = Buffer.from(`POST / HTTP/1.1\r\nHost: h\r\n${text}`);
      assert.equal(reader.read(bytes, 0, bytes.length), readEvent.head);
      assert.equal(reader.head.framing === framing.length || reader.head.framing === framing.chunked, true);
      const data = Buffer.alloc(1_000);
      let at = reader.position;
      while (reader.read(bytes, at, bytes.length) !== readEvent.more) at = reader.position;
      for (let times = 0; times < 100; times++) assert.equal(reader.read(data, 0, data.length), readEvent.data);
      assert.equal(reader.heldBytes, 0);
    }
  });
});
