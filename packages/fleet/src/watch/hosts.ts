/**
 * Why this exists: an address is text in what a mover asks and bytes in a packet. Each address has one text here, so that the two can be
 * compared: IPv4 that is mapped into IPv6 is IPv4, and IPv6 is written in full.
 */
import { isIPv4, isIPv6 } from "node:net";

/** The one text of these 4 or 16 bytes. */
export function hostText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2)
    groups.push((((bytes[at] as number) << 8) | (bytes[at + 1] as number)).toString(16));
  return groups.join(":");
}

/** The bytes of an address; undefined when the text is none. A zone (`%eth0`) is left out. */
export function hostBytes(text: string): Buffer | undefined {
  if (isIPv4(text)) return Buffer.from(text.split(".").map(Number));
  const [address = ""] = text.split("%");
  if (!isIPv6(address)) return undefined;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const last = dotted === null ? undefined : Buffer.from((dotted[2] as string).split(".").map(Number));
  const plain =
    last === undefined
      ? address
      : `${dotted?.[1]}${last.readUInt16BE(0).toString(16)}:${last.readUInt16BE(2).toString(16)}`;
  const [left = "", right] = plain.split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const before = groups(left);
  const after = right === undefined ? [] : groups(right);
  const bytes = Buffer.alloc(16);
  for (const [index, group] of before.entries()) bytes.writeUInt16BE(group, index * 2);
  for (const [index, group] of after.entries()) bytes.writeUInt16BE(group, 16 - (after.length - index) * 2);
  return bytes.subarray(0, 12).equals(mappedPrefix) ? bytes.subarray(12) : bytes;
}

const mappedPrefix: Buffer = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

/** Whether only this host itself calls from there. */
export function isLoopback(text: string): boolean {
  return text.startsWith("127.") || text === "0:0:0:0:0:0:0:1";
}
