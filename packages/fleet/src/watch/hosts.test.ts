import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { hostBytes, hostText, isLoopback } from "./hosts.ts";

describe("an address", () => {
  it("has one text, which is read as the same bytes", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }).filter((all) => all.subarray(0, 10).some((byte) => byte !== 0)),
    );
    fc.assert(fc.property(bytes, (all) => assert.deepEqual(hostBytes(hostText(all)), Buffer.from(all))));
  });

  it("is the same however people write it", () => {
    for (const [text, same] of [
      ["::1", "0:0:0:0:0:0:0:1"],
      ["FE80::2:3%eth0", "fe80:0:0:0:0:0:2:3"],
      ["2001:db8::", "2001:db8:0:0:0:0:0:0"],
      ["::", "0:0:0:0:0:0:0:0"],
      ["64:ff9b::1.2.3.4", "64:ff9b:0:0:0:0:102:304"],
      ["::ffff:10.0.0.5", "10.0.0.5"],
      ["::ffff:a00:5", "10.0.0.5"],
    ] as const)
      assert.equal(hostText(hostBytes(text) as Buffer), same, text);
  });

  it("is none when it is a name or garbage", () => {
    for (const text of ["db.example", "", "1.2.3", "1::2::3", "[::1]", "10.0.0.5:80"])
      assert.equal(hostBytes(text), undefined, text);
    fc.assert(fc.property(fc.string(), (text) => [undefined, 4, 16].includes(hostBytes(text)?.length)));
  });

  it("of loopback is known in both families", () => {
    assert.deepEqual(["127.0.0.1", "127.16.0.9", "0:0:0:0:0:0:0:1", "10.0.0.1"].map(isLoopback), [
      true,
      true,
      true,
      false,
    ]);
  });
});
