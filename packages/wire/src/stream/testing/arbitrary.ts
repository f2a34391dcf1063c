/** Arbitrary messages and records of the registry stream, for laws. Test support. */
import fc from "fast-check";
import type { StreamMessage } from "../messages.ts";
import { errorCodes, type GoodbyeReason, goodbyeReasons, nodeKinds, type StreamErrorCode } from "../messages.ts";
import type { Revision } from "../payload.ts";
import type { StreamCatalogueEntry, StreamInstance } from "../record.ts";

const shape = <Fields>(fields: { [Key in keyof Fields]: fc.Arbitrary<Fields[Key]> }): fc.Arbitrary<Fields> =>
  fc.record(fields, { noNullPrototype: true }) as fc.Arbitrary<Fields>;
const text = (maxLength: number): fc.Arbitrary<string> => fc.string({ maxLength, unit: "binary" });
const u32 = fc.nat({ max: 0xffff_ffff });
const u16 = fc.nat({ max: 0xffff });
const number = fc.maxSafeNat();
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const digest = shape({ high: u32, low: u32 });
const revision: fc.Arbitrary<Revision> = shape({ epoch: u32, counter: number });
const flag = fc.boolean();
const feed = fc.constantFrom("service" as const, "catalogue" as const);
const records = fc.array(bytes(0, 40), { maxLength: 5 });
const token = fc.oneof(bytes(0, 0), bytes(32, 32));

export const arbitraryInstance: fc.Arbitrary<StreamInstance> = shape({
  service: text(40),
  host: text(40),
  application: text(40),
  appPort: u16,
  address: text(40),
  port: u16,
  weight: fc.nat({ max: 10_000 }),
  warmupMs: u32,
  startedAt: number,
  zone: text(20),
  labels: fc.dictionary(fc.oneof(text(12), fc.constant("__proto__")), text(20), { maxKeys: 5 }),
  mode: fc.constantFrom("sdk" as const, "mesh" as const),
  security: fc.constant("plain" as const),
  identity: text(20),
  bypassed: text(20),
  incarnation: number,
  registration: shape({ dialect: text(8), text: text(200) }),
});

export const arbitraryCatalogueEntry: fc.Arbitrary<StreamCatalogueEntry> = shape({
  service: text(40),
  applications: fc.array(text(20), { maxLength: 5 }),
});

const message = <Type extends StreamMessage["type"]>(
  type: Type,
  fields: { [Key in Exclude<keyof Extract<StreamMessage, { type: Type }>, "type">]: fc.Arbitrary<unknown> },
): fc.Arbitrary<StreamMessage> =>
  shape({ type: fc.constant(type), ...fields } as never) as unknown as fc.Arbitrary<StreamMessage>;

const versions = fc.tuple(u16, u16).map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const);
const key = bytes(0, 60);

export const arbitraryMessage: fc.Arbitrary<StreamMessage> = fc.oneof(
  message("hello", {
    versions,
    kind: fc.constantFrom(...nodeKinds),
    features: u32,
    nodeId: text(40),
    agent: text(40),
    credentials: bytes(0, 80),
    token,
  }),
  message("helloAck", {
    version: u16,
    features: u32,
    session: revision,
    token,
    resumed: flag,
    settled: flag,
    registryId: bytes(16, 16),
    epoch: u32,
    limits: shape({ frameBytes: u32, instances: u32, subscriptions: u32, patterns: u32, pingMs: u32, graceMs: u32 }),
  }),
  message("register", { request: u32, claim: flag, held: revision, service: text(40), record: bytes(0, 200) }),
  message("registered", { request: u32, stamp: revision, revision }),
  message("deregister", { request: u32, session: revision, incarnation: number, service: text(40), key }),
  message("deregistered", { request: u32, removed: flag, revision }),
  message("superseded", { request: u32, stamp: revision, service: text(40), key }),
  message("reported", {}),
  message("subscribe", { feed, name: text(40), from: fc.option(shape({ revision, digest }), { nil: undefined }) }),
  message("unsubscribe", { feed, name: text(40) }),
  message("snapshot", { feed, name: text(40), revision, digest, first: flag, last: flag, total: u32, records }),
  message("delta", {
    feed,
    name: text(40),
    from: revision,
    to: revision,
    digest,
    added: records,
    changed: records,
    removed: fc.array(shape({ key, reason: fc.constantFrom("withdrawn", "expired") }), { maxLength: 4 }),
  }),
  message("ping", { sequence: u32, settled: flag, revision, subscriptions: u32, summary: digest }),
  message("pong", { sequence: u32, applied: revision, subscriptions: u32, summary: digest }),
  message("error", {
    request: u32,
    code: fc.constantFrom(...(Object.keys(errorCodes) as StreamErrorCode[])),
    retryAfterMs: u32,
    text: text(60),
  }),
  message("goodbye", { reason: fc.constantFrom(...(Object.keys(goodbyeReasons) as GoodbyeReason[])), text: text(60) }),
);
