/** Messages of the registry stream as whole frames. `stream.limit` when a field is beyond its limit. */
import {
  maxAgentBytes,
  maxCredentialsBytes,
  maxNodeIdBytes,
  maxRecordBytes,
  maxServiceBytes,
  maxTextBytes,
} from "./limits.ts";
import { errorCodes, goodbyeReasons, messageType, nodeKinds, type StreamMessage } from "./messages.ts";
import { PayloadWriter } from "./payload.ts";

export const feedByte = { service: 1, catalogue: 2 } as const;
export const removalByte = { withdrawn: 1, expired: 2 } as const;

export function encodeMessage(message: StreamMessage): Buffer {
  const writer = new PayloadWriter(sizeHint(message)).head(messageType[message.type]);
  writeBody(writer, message);
  return writer.frame();
}

/** Bytes that records take in a frame; what stands around them is below 2 KiB. */
function sizeHint(message: StreamMessage): number {
  if (message.type === "snapshot") return 2_048 + sizeOf(message.records);
  if (message.type === "delta")
    return 2_048 + sizeOf(message.added) + sizeOf(message.changed) + message.removed.length * 64;
  return 256;
}

function sizeOf(records: readonly Buffer[]): number {
  let size = 0;
  for (const record of records) size += record.length + 2;
  return size;
}

function writeBody(writer: PayloadWriter, message: StreamMessage): void {
  switch (message.type) {
    case "hello":
      writer.u16(message.versions[0]).u16(message.versions[1]);
      writer.u8(nodeKinds.indexOf(message.kind) + 1).u32(message.features);
      writer.text(message.nodeId, maxNodeIdBytes).text(message.agent, maxAgentBytes);
      writer.block(message.credentials, maxCredentialsBytes).u8(message.token.length).raw(message.token);
      return;
    case "helloAck":
      writer.u16(message.version).u32(message.features).revision(message.session);
      writer.u8(message.token.length).raw(message.token);
      writer
        .u8((message.resumed ? 1 : 0) | (message.settled ? 2 : 0))
        .raw(message.registryId)
        .u32(message.epoch);
      writer.u32(message.limits.frameBytes).u32(message.limits.instances).u32(message.limits.subscriptions);
      writer.u32(message.limits.patterns);
      writer.u32(message.limits.pingMs).u32(message.limits.graceMs);
      return;
    case "register":
      writer
        .u32(message.request)
        .u8(message.claim ? 1 : 0)
        .revision(message.held);
      writer.text(message.service, maxServiceBytes).block(message.record, maxRecordBytes);
      return;
    case "registered":
      writer.u32(message.request).revision(message.stamp).revision(message.revision);
      return;
    case "deregister":
      writer.u32(message.request).revision(message.session).u64(message.incarnation);
      writer.text(message.service, maxServiceBytes).block(message.key, maxServiceBytes);
      return;
    case "deregistered":
      writer
        .u32(message.request)
        .u8(message.removed ? 1 : 0)
        .revision(message.revision);
      return;
    case "superseded":
      writer.u32(message.request).revision(message.stamp);
      writer.text(message.service, maxServiceBytes).block(message.key, maxServiceBytes);
      return;
    case "reported":
      return;
    case "error":
      writer.u32(message.request).u16(errorCodes[message.code]).u32(message.retryAfterMs);
      writer.text(message.text, maxTextBytes);
      return;
    case "goodbye":
      writer.u8(goodbyeReasons[message.reason]).text(message.text, maxTextBytes);
      return;
    case "ping":
      writer
        .u32(message.sequence)
        .u8(message.settled ? 1 : 0)
        .revision(message.revision);
      writer.u32(message.subscriptions).digest(message.summary);
      return;
    case "pong":
      writer.u32(message.sequence).revision(message.applied).u32(message.subscriptions).digest(message.summary);
      return;
    default:
      writeFeedBody(writer, message);
  }
}

type FeedMessage = Extract<StreamMessage, { type: "subscribe" | "unsubscribe" | "snapshot" | "delta" }>;

function writeFeedBody(writer: PayloadWriter, message: FeedMessage): void {
  writer.u8(feedByte[message.feed]).text(message.name, maxServiceBytes);
  switch (message.type) {
    case "subscribe":
      writer.u8(message.from === undefined ? 0 : 1);
      if (message.from !== undefined) writer.revision(message.from.revision).digest(message.from.digest);
      return;
    case "unsubscribe":
      return;
    case "snapshot":
      writer.revision(message.revision).digest(message.digest);
      writer.u8((message.first ? 1 : 0) | (message.last ? 2 : 0)).u32(message.total);
      writeRecords(writer, message.records);
      return;
    case "delta":
      writer.revision(message.from).revision(message.to).digest(message.digest);
      writeRecords(writer, message.added);
      writeRecords(writer, message.changed);
      writer.u32(message.removed.length);
      for (const { key, reason } of message.removed) writer.u8(removalByte[reason]).block(key, maxServiceBytes + 2);
      return;
  }
}

function writeRecords(writer: PayloadWriter, records: readonly Buffer[]): void {
  writer.u32(records.length);
  // A catalogue's record may reach the limit of its applications' names, which is below that of an instance.
  for (const record of records) writer.block(record, maxRecordBytes);
}
