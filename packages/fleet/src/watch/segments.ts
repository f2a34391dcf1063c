/**
 * Why this exists: from a captured packet down to its TCP payload, without a copy: head of the link, IPv4 or IPv6, TCP. What is
 * no TCP, a fragment, or shorter than it says is passed over. Packets as the kernel hands them around within a host may be trains of
 * segments, with an IP length of 0 when they are longer than the field can say; then the packet's own length counts.
 */
import { int32, uint16 } from "@dualmesh/wire/bytes";
import { linkType, type PcapPacket } from "./pcap.ts";

export const tcpFlag = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

/** Numbers that refer to `bytes`, filled anew for each packet. */
export class Segment {
  bytes: Buffer = nothing;
  /** Where the two addresses stand, of `hostSize` bytes each: 4 or 16. */
  sourceAt = 0;
  destinationAt = 0;
  hostSize = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** The number of the payload's first byte, as a signed number of 32 bits. */
  sequence = 0;
  flags = 0;
  payloadAt = 0;
  /** Where what was captured of the payload ends. */
  payloadEnd = 0;
  /** How long the payload was on the wire. */
  size = 0;
  atMs = 0;
}

const nothing: Buffer = Buffer.alloc(0);

const etherType = { ipv4: 0x0800, ipv6: 0x86dd, vlan: 0x8100, serviceVlan: 0x88a8 } as const;
const tcpProtocol = 6;
const maxVlanTags = 2;
/** Headers that may stand between that of IPv6 and TCP: hop by hop, routing, destination. */
const ipv6Options: readonly number[] = [0, 43, 60];
const maxIpv6Options = 8;

/** Reads a packet into `into`; false when it is none of TCP. */
export function readSegment(packet: PcapPacket, into: Segment): boolean {
  const { bytes, start, end, linkType: link } = packet;
  const headBytes = link === linkType.sll2 ? 20 : link === linkType.sll ? 16 : 14;
  let at = start + headBytes;
  if (at > end) return false;
  let type = uint16(bytes, link === linkType.sll2 ? start : at - 2);
  for (let tag = 0; tag < maxVlanTags && (type === etherType.vlan || type === etherType.serviceVlan); tag++) {
    if (at + 4 > end) return false;
    type = uint16(bytes, at + 2);
    at += 4;
  }
  into.bytes = bytes;
  into.atMs = packet.atMs;
  const wireEnd = start + packet.wireSize;
  if (type === etherType.ipv4) return readIpv4(bytes, at, end, wireEnd, into);
  return type === etherType.ipv6 && readIpv6(bytes, at, end, wireEnd, into);
}

function readIpv4(bytes: Buffer, at: number, end: number, wireEnd: number, into: Segment): boolean {
  if (at + 20 > end || (bytes[at] as number) >> 4 !== 4) return false;
  const headBytes = ((bytes[at] as number) & 0x0f) * 4;
  const isFragment = (uint16(bytes, at + 6) & 0x3fff) !== 0; // more to come, or not the first
  if (headBytes < 20 || isFragment || bytes[at + 9] !== tcpProtocol) return false;
  const length = uint16(bytes, at + 2);
  into.sourceAt = at + 12;
  into.destinationAt = at + 16;
  into.hostSize = 4;
  return readTcp(bytes, at + headBytes, end, length === 0 ? wireEnd : Math.min(at + length, wireEnd), into);
}

function readIpv6(bytes: Buffer, at: number, end: number, wireEnd: number, into: Segment): boolean {
  if (at + 40 > end || (bytes[at] as number) >> 4 !== 6) return false;
  const length = uint16(bytes, at + 4);
  const ipEnd = length === 0 ? wireEnd : Math.min(at + 40 + length, wireEnd);
  into.sourceAt = at + 8;
  into.destinationAt = at + 24;
  into.hostSize = 16;
  let protocol = bytes[at + 6] as number;
  let next = at + 40;
  for (let option = 0; option < maxIpv6Options && ipv6Options.includes(protocol); option++) {
    if (next + 8 > end) return false;
    protocol = bytes[next] as number;
    next += ((bytes[next + 1] as number) + 1) * 8;
  }
  return protocol === tcpProtocol && readTcp(bytes, next, end, ipEnd, into);
}

function readTcp(bytes: Buffer, at: number, end: number, ipEnd: number, into: Segment): boolean {
  if (at + 20 > end) return false;
  const headBytes = ((bytes[at + 12] as number) >> 4) * 4;
  const payloadAt = at + headBytes;
  if (headBytes < 20 || payloadAt > end || payloadAt > ipEnd) return false;
  into.sourcePort = uint16(bytes, at);
  into.destinationPort = uint16(bytes, at + 2);
  into.sequence = int32(bytes, at + 4);
  into.flags = bytes[at + 13] as number;
  into.payloadAt = payloadAt;
  into.payloadEnd = Math.min(end, ipEnd);
  into.size = ipEnd - payloadAt;
  return true;
}
