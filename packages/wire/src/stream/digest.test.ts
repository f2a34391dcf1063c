import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { addDigests, type Digest, digestText, finalise, fnv1a, recordHash, subtractDigests } from "./digest.ts";

const mask = (1n << 64n) - 1n;
const digest = fc.record({ high: fc.nat({ max: 0xffff_ffff }), low: fc.nat({ max: 0xffff_ffff }) });

function big(value: Digest): bigint {
  return (BigInt(value.high) << 32n) | BigInt(value.low);
}

/** fmix64 as MurmurHash3 publishes it. */
function fmix64(value: bigint): bigint {
  let k = value;
  k ^= k >> 33n;
  k = (k * 0xff51afd7ed558ccdn) & mask;
  k ^= k >> 33n;
  k = (k * 0xc4ceb9fe1a85ec53n) & mask;
  return k ^ (k >> 33n);
}

describe("the digest", () => {
  it("uses FNV-1a 64 as it is published", () => {
    const vectors = {
      "": "cbf29ce484222325",
      a: "af63dc4c8601ec8c",
      b: "af63df4c8601f1a5",
      foobar: "85944171f73967e8",
      "chongo was here!\n": "46810940eff5f915",
    };
    for (const [text, hash] of Object.entries(vectors)) {
      assert.equal(digestText(fnv1a(Buffer.from(text), 0, text.length)), hash, JSON.stringify(text));
    }
  });

  it("finalises as MurmurHash3 does", () => {
    fc.assert(fc.property(digest, (value) => assert.equal(big(finalise(value)), fmix64(big(value)))));
    assert.equal(digestText(finalise({ high: 0, low: 0 })), "0000000000000000");
    assert.equal(digestText(finalise({ high: 0, low: 1 })), "b456bcfc34c2cb2c");
  });

  it("adds and subtracts modulo 2^64", () => {
    fc.assert(
      fc.property(digest, digest, (one, other) => {
        assert.equal(big(addDigests(one, other)), (big(one) + big(other)) & mask);
        assert.equal(big(subtractDigests(one, other)), (big(one) - big(other)) & mask);
      }),
    );
  });

  it("does not care for order, and tells apart records that differ in one bit", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (records) => {
        const sum = (list: Uint8Array[]): string =>
          digestText(list.map((record) => recordHash(record)).reduce(addDigests, { high: 0, low: 0 }));
        assert.equal(sum(records), sum([...records].reverse()));
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), fc.nat({ max: 7 }), (record, at, bit) => {
        const other = Uint8Array.from(record);
        other[at % record.length] = (record[at % record.length] as number) ^ (1 << bit);
        assert.notEqual(digestText(recordHash(record)), digestText(recordHash(other)));
      }),
    );
  });
});
