import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeInstance, type StreamInstance } from "@dualmesh/wire/stream/record";
import fc from "fast-check";
import { Joiner } from "./join.ts";
import { Splitter } from "./split.ts";

const splitter = new Splitter();
const joiner = new Joiner();

interface Parts {
  readonly shared: Buffer;
  readonly own: Buffer;
}

function split(record: Buffer): Parts {
  const { shared, own } = splitter.split(record);
  return { shared: Buffer.from(shared), own: Buffer.from(own) };
}

function join({ shared, own }: Parts): Buffer {
  const framed = Buffer.concat([Buffer.from("before"), shared, Buffer.from("after")]);
  return Buffer.from(joiner.join(framed, 6, 6 + shared.length, Buffer.concat([Buffer.from("x"), own]), 1));
}

const dubbo = (host: string, port: number, pid: number, at: number): StreamInstance => ({
  service: "dubbo/com.acme.Orders:1.0:",
  host,
  application: "orders",
  appPort: port,
  address: host,
  port,
  weight: 100,
  warmupMs: 600_000,
  startedAt: at,
  zone: "",
  labels: { side: "provider", pid: String(pid) },
  mode: "sdk",
  security: "plain",
  identity: "",
  bypassed: "",
  incarnation: at + 17,
  registration: {
    dialect: "dubbo",
    text: `dubbo://${host}:${port}/com.acme.Orders?application=orders&deprecated=false&dubbo=2.0.2&interface=com.acme.Orders&methods=place,cancel&pid=${pid}&release=2.7.23&revision=1.0&side=provider&timestamp=${at + 3}&version=1.0`,
  },
});

test("instances of one application share all but their own bytes, which are few", () => {
  const one = split(encodeInstance(dubbo("10.1.2.3", 20_880, 4_711, 1_796_000_000_123)));
  const other = split(encodeInstance(dubbo("10.200.30.41", 20_881, 31_337, 1_796_000_777_001)));
  assert.deepEqual(one.shared, other.shared);
  assert.ok(one.own.length <= 32, `${one.own.length} bytes`);
  for (const [parts, expected] of [
    [one, dubbo("10.1.2.3", 20_880, 4_711, 1_796_000_000_123)],
    [other, dubbo("10.200.30.41", 20_881, 31_337, 1_796_000_777_001)],
  ] as const)
    assert.deepEqual(join(parts), encodeInstance(expected));
});

test("ids in hexadecimal take half of their length, and other words of letters and digits their own", () => {
  const with_ = (id: string): Parts =>
    split(encodeInstance({ ...dubbo("10.1.2.3", 20_880, 4_711, 1_796_000_000_123), labels: { id } }));
  const uuid = with_("6f1c2d3e-aaaa-4bbb-8ccc-0123456789ab");
  assert.deepEqual(uuid.shared, with_("00112233-aaaa-4bbb-8ccc-ba9876543210").shared);
  const raw = with_("node7x8y9z0");
  assert.deepEqual(raw.shared, with_("pod1a2b3c4d5e6").shared);
  assert.ok(raw.own.includes("node7x8y9z0"));
});

const word = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "00012345",
    "12345",
    "123456789012345678",
    "9007199254740993",
    "deadbeef1234",
    "DEADBEEF1234",
    "abcd1234x",
    "10.1.2.3",
    "010.1.2.3",
    "1.2.3.256",
    "20880",
    "8080",
    "99",
  ),
  fc.string({ maxLength: 30 }),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.stringMatching(/^[0-9a-f]{0,40}$/),
  fc.integer({ min: 0, max: 65_535 }).map(String),
);
const text = fc
  .array(fc.oneof(word, fc.constantFrom("-", ".", ":", "/", "=", "&")), { maxLength: 12 })
  .map((parts) => parts.join("").slice(0, 60));
const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), text);
const port = fc.oneof(fc.integer({ min: 0, max: 65_535 }), fc.constantFrom(0, 80, 8_080, 20_880));
const moment = fc.oneof(fc.constantFrom(0, 1, 2 ** 48 - 1, 2 ** 48, Number.MAX_SAFE_INTEGER), fc.maxSafeNat());

const instance: fc.Arbitrary<StreamInstance> = fc
  .record({
    host,
    application: text,
    appPort: port,
    address: host,
    port,
    weight: fc.integer({ min: 0, max: 10_000 }),
    warmupMs: fc.nat(),
    startedAt: moment,
    zone: text,
    labels: fc.dictionary(text, text, { maxKeys: 5 }),
    mode: fc.constantFrom("sdk", "mesh"),
    identity: text,
    bypassed: text,
    incarnation: moment,
    dialect: fc.constantFrom("dubbo", "sofa", ""),
    registration: fc.array(text, { maxLength: 20 }),
    sameHost: fc.boolean(),
    samePort: fc.boolean(),
    sameTime: fc.boolean(),
  })
  .map(({ dialect, registration, sameHost, samePort, sameTime, ...fields }) => {
    const address = sameHost ? fields.host : fields.address;
    const calls = samePort ? fields.appPort : fields.port;
    return {
      ...fields,
      service: "x/y::",
      security: "plain" as const,
      address,
      port: calls,
      incarnation: sameTime ? fields.startedAt : fields.incarnation,
      registration: { dialect, text: `${fields.host}:${fields.appPort}/${registration.join(`@${address}:${calls}`)}` },
    };
  });

test("law: a record is what is joined of what it was split into, with whatever a later version adds", () => {
  fc.assert(
    fc.property(instance, fc.uint8Array({ maxLength: 20 }), (one, more) => {
      const record = Buffer.concat([encodeInstance(one), more]);
      assert.deepEqual(join(split(record)), record);
    }),
    { numRuns: 2_000 },
  );
});

test("law: records with the same shared and own part are equal", () => {
  fc.assert(
    fc.property(instance, instance, (one, other) => {
      const [first, second] = [encodeInstance(one), encodeInstance(other)];
      const [a, b] = [split(first), split(second)];
      assert.equal(a.shared.equals(b.shared) && a.own.equals(b.own), first.equals(second));
    }),
  );
});

test("the largest record goes through", () => {
  const parts = "a1b2c3d4e5f6-".repeat(1_200);
  const one = { ...dubbo("10.1.2.3", 20_880, 4_711, 1_796_000_000_123), registration: { dialect: "x", text: parts } };
  const record = encodeInstance(one);
  assert.deepEqual(join(split(record)), record);
});
