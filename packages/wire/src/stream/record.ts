/**
 * The canonical bytes of an instance and of a catalogue entry: equal values have equal bytes, so that a registry compares, hashes and
 * forwards them unread. A record begins with its key; the service stands in the frame around it. Bytes behind the known fields are
 * kept, hashed and passed on, which leaves room for later versions.
 */
import { MeshError } from "@dualmesh/base/errors";
import {
  maxAddressBytes,
  maxApplicationBytes,
  maxCatalogueApplications,
  maxDialectBytes,
  maxHostBytes,
  maxIdentityBytes,
  maxLabelNameBytes,
  maxLabels,
  maxLabelValueBytes,
  maxReasonBytes,
  maxRecordBytes,
  maxRegistrationBytes,
  maxServiceBytes,
  maxZoneBytes,
} from "./limits.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";

/** An instance as the stream carries it; the same shape as `Instance` of the model, which this package may not know. */
export interface StreamInstance {
  readonly service: string;
  readonly host: string;
  readonly application: string;
  readonly appPort: number;
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly warmupMs: number;
  readonly startedAt: number;
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: "sdk" | "mesh";
  readonly security: "plain";
  readonly identity: string;
  readonly bypassed: string;
  readonly incarnation: number;
  readonly registration: { readonly dialect: string; readonly text: string };
}

export interface StreamCatalogueEntry {
  readonly service: string;
  readonly applications: readonly string[];
}

export type StreamInstanceKey = Pick<StreamInstance, "host" | "application" | "appPort">;

const modeByte = { sdk: 1, mesh: 2 } as const;
const securityPlain = 0;
const maxWeight = 10_000;

export function encodeInstance(instance: StreamInstance): Buffer {
  const writer = new PayloadWriter(256);
  writeKey(writer, instance);
  writer.text(instance.address, maxAddressBytes).u16(instance.port).u16(Math.min(instance.weight, maxWeight));
  writer.u32(instance.warmupMs).u64(instance.startedAt).u64(instance.incarnation);
  writer.u8(modeByte[instance.mode]).u8(securityPlain);
  writer.text(instance.zone, maxZoneBytes).text(instance.identity, maxIdentityBytes);
  writer.text(instance.bypassed, maxReasonBytes);
  const names = Object.keys(instance.labels).sort();
  if (names.length > maxLabels)
    throw new MeshError("stream.limit", `${names.length} labels on ${instance.service}, allowed are ${maxLabels}`);
  writer.u16(names.length);
  for (const name of names) {
    writer.text(name, maxLabelNameBytes).text(instance.labels[name] as string, maxLabelValueBytes);
  }
  writer.text(instance.registration.dialect, maxDialectBytes).text(instance.registration.text, maxRegistrationBytes);
  if (writer.size > maxRecordBytes)
    throw new MeshError("stream.limit", `an instance of ${writer.size} bytes, allowed are ${maxRecordBytes}`);
  return writer.take();
}

/** Reads a record. `FrameError` when it is malformed or not canonical. */
export function decodeInstance(service: string, record: Buffer): StreamInstance {
  const reader = new PayloadReader(record, 0, 0, record.length);
  const host = reader.text(maxHostBytes);
  const application = reader.text(maxApplicationBytes);
  const appPort = reader.u16();
  const address = reader.text(maxAddressBytes);
  const port = reader.u16();
  const weight = reader.u16();
  if (weight > maxWeight) reader.fail(`weight ${weight}, allowed are 0 to ${maxWeight}`);
  const warmupMs = reader.u32();
  const startedAt = reader.u64();
  const incarnation = reader.u64();
  const modeNumber = reader.u8();
  if (modeNumber !== modeByte.sdk && modeNumber !== modeByte.mesh) reader.fail(`unknown mode ${modeNumber}`);
  const security = reader.u8();
  if (security !== securityPlain) reader.fail(`unknown security ${security}`);
  const zone = reader.text(maxZoneBytes);
  const identity = reader.text(maxIdentityBytes);
  const bypassed = reader.text(maxReasonBytes);
  const labels = readLabels(reader);
  const dialect = reader.text(maxDialectBytes);
  const text = reader.text(maxRegistrationBytes);
  const mode = modeNumber === modeByte.mesh ? "mesh" : "sdk";
  const registration = { dialect, text };
  return {
    service,
    host,
    application,
    appPort,
    address,
    port,
    weight,
    warmupMs,
    startedAt,
    zone,
    labels,
    mode,
    security: "plain",
    identity,
    bypassed,
    incarnation,
    registration,
  };
}

export function encodeInstanceKey(key: StreamInstanceKey): Buffer {
  const writer = new PayloadWriter(64);
  writeKey(writer, key);
  return writer.take();
}

export function decodeInstanceKey(key: Buffer): StreamInstanceKey {
  const reader = new PayloadReader(key, 0, 0, key.length);
  return { host: reader.text(maxHostBytes), application: reader.text(maxApplicationBytes), appPort: reader.u16() };
}

/** The key at the beginning of an instance's record, as a view. */
export function instanceKeyOf(record: Buffer): Buffer {
  const reader = new PayloadReader(record, 0, 0, record.length);
  reader.block(maxHostBytes);
  reader.block(maxApplicationBytes);
  reader.u16();
  return record.subarray(0, reader.at);
}

/** `applications` are sorted. Of more than `maxCatalogueApplications` the first are named. */
export function encodeCatalogueEntry(entry: StreamCatalogueEntry): Buffer {
  const writer = new PayloadWriter(128).text(entry.service, maxServiceBytes);
  const named = entry.applications.slice(0, maxCatalogueApplications);
  writer.u16(named.length);
  for (const application of named) writer.text(application, maxApplicationBytes);
  return writer.take();
}

export function decodeCatalogueEntry(record: Buffer): StreamCatalogueEntry {
  const reader = new PayloadReader(record, 0, 0, record.length);
  const service = reader.text(maxServiceBytes);
  const count = reader.u16();
  if (count > maxCatalogueApplications) reader.fail(`${count} applications, allowed are ${maxCatalogueApplications}`);
  const applications: string[] = [];
  for (let index = 0; index < count; index++) applications.push(reader.text(maxApplicationBytes));
  return { service, applications };
}

export function encodeCatalogueKey(service: string): Buffer {
  return new PayloadWriter(64).text(service, maxServiceBytes).take();
}

/** The key at the beginning of a catalogue record, as a view. */
export function catalogueKeyOf(record: Buffer): Buffer {
  const reader = new PayloadReader(record, 0, 0, record.length);
  reader.block(maxServiceBytes);
  return record.subarray(0, reader.at);
}

function writeKey(writer: PayloadWriter, key: StreamInstanceKey): void {
  writer.text(key.host, maxHostBytes).text(key.application, maxApplicationBytes).u16(key.appPort);
}

function readLabels(reader: PayloadReader): Readonly<Record<string, string>> {
  const count = reader.u16();
  if (count > maxLabels) reader.fail(`${count} labels, allowed are ${maxLabels}`);
  const labels: Record<string, string> = Object.create(null);
  let last: string | undefined;
  for (let index = 0; index < count; index++) {
    const name = reader.text(maxLabelNameBytes);
    if (last !== undefined && name <= last) reader.fail("labels out of order");
    last = name;
    labels[name] = reader.text(maxLabelValueBytes);
  }
  return labels;
}
