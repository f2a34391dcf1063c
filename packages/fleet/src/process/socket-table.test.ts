import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressOf, flowOf, parseSocketTable } from "./socket-table.ts";

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0200000A:9C40 0100000A:0885 01 00000000:00000000 02:000000A0 00000000  1001        0 12346 2 0000000000000000 20 4 30 10 -1
   2: 0200000A:9C41 0100000A:0885 06 00000000:00000000 03:000000A0 00000000     0        0 0 3 0000000000000000
`;
const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0CEA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000200000A:9C40 0000000000000000FFFF00000100000A:0885 01 00000000:00000000 02:000000A0 00000000     0        0 2 2 0000000000000000 20 4 30 10 -1
`;

test("what listens and what is established is read, and nothing else", () => {
  const [listening, established, ...others] = parseSocketTable(table);
  assert.deepEqual(others, []);
  assert.deepEqual(listening && [listening.state, listening.uid, listening.inode, addressOf(listening.local, true)], [
    "listening",
    1_000,
    12_345,
    { host: "127.0.0.1", port: 3_306 },
  ]);
  assert.equal(established?.state, "established");
  assert.deepEqual(addressOf(established?.remote ?? "", true), { host: "10.0.0.1", port: 2_181 });
});

test("v4 addresses that are mapped into v6 are v4", () => {
  const [listening, established] = parseSocketTable(table6);
  assert.deepEqual(addressOf(listening?.local ?? "", true), { host: "::", port: 3_306 });
  assert.ok(established !== undefined);
  assert.deepEqual(addressOf(established.local, true), { host: "10.0.0.2", port: 40_000 });
  assert.equal(flowOf(established).remote.port, 2_181);
});

/** As a kernel of either order writes the bytes of an address. */
function written(bytes: readonly number[], littleEndian: boolean): string {
  const buffer = Buffer.from(bytes);
  if (littleEndian) buffer.swap32();
  return `${buffer.toString("hex").toUpperCase()}:0050`;
}

test("an address is the same whichever order the machine writes its bytes in", () => {
  const bytes = fc.oneof(
    fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
    fc.array(fc.nat(255), { minLength: 16, maxLength: 16 }),
  );
  fc.assert(
    fc.property(bytes, (address) => {
      const [little, big] = [true, false].map((order) => addressOf(written(address, order), order));
      assert.deepEqual(little, big);
      assert.equal(little?.port, 80);
      if (address.length === 4) assert.equal(little?.host, address.join("."));
      else assert.equal(little?.host.includes(":"), true);
    }),
  );
});

test("garbage has no rows", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => assert.deepEqual(parseSocketTable(text), [])));
  fc.assert(
    fc.property(fc.nat(table.length), (length) => {
      assert.ok(parseSocketTable(table.slice(0, length)).length <= 2);
    }),
  );
});
