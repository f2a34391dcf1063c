/**
 * Payloads of the registry stream as messages. Buffers in a message are views of the frame. Malformed bytes raise `FrameError`; bytes
 * behind the known fields are passed over, so that a later version can add some.
 */
import { frameHeadBytes, type StreamFrame } from "./codec.ts";
import { feedByte } from "./encode.ts";
import {
  maxAgentBytes,
  maxCredentialsBytes,
  maxNodeIdBytes,
  maxRecordBytes,
  maxServiceBytes,
  maxTextBytes,
  registryIdBytes,
  tokenBytes,
} from "./limits.ts";
import {
  type Delta,
  errorCodes,
  type FeedKind,
  type GoodbyeReason,
  goodbyeReasons,
  type Hello,
  type HelloAck,
  messageType,
  nodeKinds,
  type Removal,
  type Snapshot,
  type StreamErrorCode,
  type StreamMessage,
  type Subscribe,
} from "./messages.ts";
import { PayloadReader } from "./payload.ts";

const firstOptionalType = 0x80;
/** The keys of an instance take three texts' limits, a catalogue's one service text. */
const maxKeyBytes = maxServiceBytes + 2;

const errorNames = new Map(Object.entries(errorCodes).map(([name, code]) => [code as number, name as StreamErrorCode]));
const goodbyeNames = new Map(
  Object.entries(goodbyeReasons).map(([name, code]) => [code as number, name as GoodbyeReason]),
);

/** The message in `frame`, or undefined when its type is unknown and may be passed over. */
export function decodeMessage(frame: StreamFrame): StreamMessage | undefined {
  const end = frame.offset + frame.size;
  const reader = new PayloadReader(frame.bytes, frame.offset, frame.offset + frameHeadBytes, end);
  switch (frame.type) {
    case messageType.hello:
      return readHello(reader);
    case messageType.helloAck:
      return readHelloAck(reader);
    case messageType.subscribe:
      return readSubscribe(reader);
    case messageType.unsubscribe:
      return { type: "unsubscribe", feed: readFeed(reader), name: reader.text(maxServiceBytes) };
    case messageType.snapshot:
      return readSnapshot(reader);
    case messageType.delta:
      return readDelta(reader);
    case messageType.error:
      return {
        type: "error",
        request: reader.u32(),
        // A code of a later version is one that this version cannot act upon.
        code: errorNames.get(reader.u16()) ?? "internal",
        retryAfterMs: reader.u32(),
        text: reader.text(maxTextBytes),
      };
    case messageType.goodbye:
      return {
        type: "goodbye",
        reason: goodbyeNames.get(reader.u8()) ?? "shutting-down",
        text: reader.text(maxTextBytes),
      };
    default:
      return readPublishing(frame.type, reader);
  }
}

function readPublishing(type: number, reader: PayloadReader): StreamMessage | undefined {
  switch (type) {
    case messageType.register:
      return {
        type: "register",
        request: reader.u32(),
        claim: readFlag(reader),
        held: reader.revision(),
        service: reader.text(maxServiceBytes),
        record: reader.block(maxRecordBytes),
      };
    case messageType.registered:
      return { type: "registered", request: reader.u32(), stamp: reader.revision(), revision: reader.revision() };
    case messageType.deregister:
      return {
        type: "deregister",
        request: reader.u32(),
        session: reader.revision(),
        incarnation: reader.u64(),
        service: reader.text(maxServiceBytes),
        key: reader.block(maxKeyBytes),
      };
    case messageType.deregistered:
      return { type: "deregistered", request: reader.u32(), removed: readFlag(reader), revision: reader.revision() };
    case messageType.superseded:
      return {
        type: "superseded",
        request: reader.u32(),
        stamp: reader.revision(),
        service: reader.text(maxServiceBytes),
        key: reader.block(maxKeyBytes),
      };
    case messageType.reported:
      return { type: "reported" };
    case messageType.ping:
      return {
        type: "ping",
        sequence: reader.u32(),
        settled: readFlag(reader),
        revision: reader.revision(),
        subscriptions: reader.u32(),
        summary: reader.digest(),
      };
    case messageType.pong:
      return {
        type: "pong",
        sequence: reader.u32(),
        applied: reader.revision(),
        subscriptions: reader.u32(),
        summary: reader.digest(),
      };
    default:
      if (type >= firstOptionalType) return undefined;
      return reader.fail(`unknown message type ${type}`);
  }
}

function readHello(reader: PayloadReader): Hello {
  const versions = [reader.u16(), reader.u16()] as const;
  if (versions[0] > versions[1]) reader.fail(`versions from ${versions[0]} to ${versions[1]}`);
  const kind = nodeKinds[reader.u8() - 1] ?? reader.fail("unknown kind of node");
  const features = reader.u32();
  const nodeId = reader.text(maxNodeIdBytes);
  const agent = reader.text(maxAgentBytes);
  const credentials = reader.block(maxCredentialsBytes);
  return { type: "hello", versions, kind, features, nodeId, agent, credentials, token: readToken(reader) };
}

function readHelloAck(reader: PayloadReader): HelloAck {
  const version = reader.u16();
  const features = reader.u32();
  const session = reader.revision();
  const token = readToken(reader);
  const flags = readFlags(reader, 3);
  const registryId = reader.raw(registryIdBytes);
  const epoch = reader.u32();
  const limits = {
    frameBytes: reader.u32(),
    instances: reader.u32(),
    subscriptions: reader.u32(),
    patterns: reader.u32(),
    pingMs: reader.u32(),
    graceMs: reader.u32(),
  };
  return {
    type: "helloAck",
    version,
    features,
    session,
    token,
    resumed: (flags & 1) !== 0,
    settled: (flags & 2) !== 0,
    registryId,
    epoch,
    limits,
  };
}

function readSubscribe(reader: PayloadReader): Subscribe {
  const feed = readFeed(reader);
  const name = reader.text(maxServiceBytes);
  const from = readFlag(reader) ? { revision: reader.revision(), digest: reader.digest() } : undefined;
  return { type: "subscribe", feed, name, from };
}

function readSnapshot(reader: PayloadReader): Snapshot {
  const feed = readFeed(reader);
  const name = reader.text(maxServiceBytes);
  const revision = reader.revision();
  const digest = reader.digest();
  const flags = readFlags(reader, 3);
  const total = reader.u32();
  const records = readRecords(reader);
  return {
    type: "snapshot",
    feed,
    name,
    revision,
    digest,
    first: (flags & 1) !== 0,
    last: (flags & 2) !== 0,
    total,
    records,
  };
}

function readDelta(reader: PayloadReader): Delta {
  const feed = readFeed(reader);
  const name = reader.text(maxServiceBytes);
  const from = reader.revision();
  const to = reader.revision();
  const digest = reader.digest();
  const added = readRecords(reader);
  const changed = readRecords(reader);
  return { type: "delta", feed, name, from, to, digest, added, changed, removed: readRemovals(reader) };
}

/** Grows with what is there: each record takes two bytes at least, so a count that lies ends at the frame's end. */
function readRecords(reader: PayloadReader): Buffer[] {
  const count = reader.u32();
  if (count * 2 > reader.left) reader.fail(`${count} records promised in ${reader.left} bytes`);
  const records: Buffer[] = [];
  for (let index = 0; index < count; index++) records.push(reader.block(maxRecordBytes));
  return records;
}

function readRemovals(reader: PayloadReader): Removal[] {
  const count = reader.u32();
  if (count * 3 > reader.left) reader.fail(`${count} removals promised in ${reader.left} bytes`);
  const removed: Removal[] = [];
  for (let index = 0; index < count; index++) {
    const reason = reader.u8();
    if (reason !== 1 && reason !== 2) reader.fail(`unknown reason ${reason} of a removal`);
    removed.push({ key: reader.block(maxKeyBytes), reason: reason === 1 ? "withdrawn" : "expired" });
  }
  return removed;
}

function readFeed(reader: PayloadReader): FeedKind {
  const kind = reader.u8();
  if (kind === feedByte.service) return "service";
  if (kind === feedByte.catalogue) return "catalogue";
  return reader.fail(`unknown kind ${kind} of a feed`);
}

function readToken(reader: PayloadReader): Buffer {
  const length = reader.u8();
  if (length !== 0 && length !== tokenBytes) reader.fail(`a token of ${length} bytes`);
  return reader.raw(length);
}

function readFlag(reader: PayloadReader): boolean {
  return readFlags(reader, 1) === 1;
}

function readFlags(reader: PayloadReader, known: number): number {
  const flags = reader.u8();
  if ((flags & ~known) !== 0) reader.fail(`unknown flags ${flags}`);
  return flags;
}
