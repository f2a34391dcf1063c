import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { rpcCodecOf, rpcCodecs } from "./protocols.ts";
import { maxSniffBytes, type Sniffed, sniffProtocol } from "./sniff.ts";

const beginnings: readonly (readonly [Sniffed, Buffer])[] = [
  ["bolt", Buffer.from("0101000101", "hex")],
  ["bolt", Buffer.from("0202010001", "hex")],
  ["dubbo", Buffer.from("dabbc200", "hex")],
  ["http2", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["http1", Buffer.from("GET / HTTP/1.1\r\n")],
  ["http1", Buffer.from("POST /echo HTTP/1.1\r\n")],
  ["http1", Buffer.from("PATCH /echo HTTP/1.1\r\n")],
  ["http1", Buffer.from("CONNECT host:1 HTTP/1.1\r\n")],
  ["tls", Buffer.from("1603010200", "hex")],
];

describe("sniffing", () => {
  it("tells protocols by their first bytes, and asks for more until it can", () => {
    for (const [protocol, bytes] of beginnings) {
      assert.equal(sniffProtocol(bytes), protocol);
      let decided = false;
      for (let size = 0; size <= bytes.length; size++) {
        const sniffed = sniffProtocol(bytes.subarray(0, size));
        if (sniffed === "more") assert.ok(!decided, "never takes an answer back");
        else assert.equal(sniffed, protocol);
        decided ||= sniffed === protocol;
      }
    }
  });

  it("never asks for more than its limit, and calls the rest unknown", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: maxSniffBytes, maxLength: 40 }), (bytes) => {
        assert.notEqual(sniffProtocol(bytes), "more");
      }),
    );
    for (const text of ["get / HTTP/1.1", "HELO", "\0\0\0\0", "PRX", "GETX", "\x16\x02"]) {
      assert.equal(sniffProtocol(Buffer.from(text, "latin1")), "unknown", text);
    }
  });
});

describe("the table of protocols", () => {
  it("finds each codec by its name and nothing else", () => {
    for (const codec of rpcCodecs) assert.equal(rpcCodecOf(codec.protocol), codec);
    assert.equal(rpcCodecOf("toString"), undefined);
  });
});
