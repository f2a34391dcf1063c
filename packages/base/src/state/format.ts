/**
 * The one format of all state files, version 1, integers big-endian:
 *
 *     header  16 bytes   "dualmesh", u16 format version, u16 kind (1 journal, 2 document), u32 CRC-32 of the 12 bytes before it
 *     record  8 + n      u32 n (1 to 16 MiB), u32 CRC-32 of the payload, payload
 *
 * A journal's payload is u8 1 (put) or 2 (delete), u16 length of the key, the key in UTF-8, the value. A document has one
 * record, JSON in UTF-8. A length of 0 is never valid, so that a tail of zeros, as a power cut leaves it, is no record.
 */
import { crc32 } from "node:zlib";
import { MeshError } from "../errors.ts";

export const fileKinds = { journal: 1, document: 2 } as const;
type FileKind = keyof typeof fileKinds;

const magic = "dualmesh";
const formatVersion = 1;
const kindAt = 10;
export const headerSize = 16;
export const recordHeadSize = 8;
export const maxPayloadSize = 16 * 1024 * 1024;

export function fileHeader(kind: FileKind): Buffer {
  const header = Buffer.alloc(headerSize);
  header.write(magic, 0, "latin1");
  header.writeUInt16BE(formatVersion, magic.length);
  header.writeUInt16BE(fileKinds[kind], kindAt);
  header.writeUInt32BE(crc32(header.subarray(0, 12)), 12);
  return header;
}

/** Throws when `bytes` are not a file of this kind. A file torn within its header counts as one without records. */
export function checkHeader(bytes: Buffer, kind: FileKind, path: string): void {
  const expected = fileHeader(kind);
  const head = bytes.subarray(0, headerSize);
  if (head.equals(expected.subarray(0, head.length))) return;
  if (head.length === headerSize && head.toString("latin1", 0, magic.length) === magic) {
    const version = head.readUInt16BE(magic.length);
    if (head.readUInt32BE(12) === crc32(head.subarray(0, 12)) && version !== formatVersion) {
      throw new MeshError(
        "state.version",
        `${path} is in state format ${version}, and this dualmesh reads format ${formatVersion}: start the version that wrote it, or move the file away to begin empty`,
        { path, version },
      );
    }
  }
  throw new MeshError(
    "state.damaged",
    `${path} does not begin as a ${kind} of dualmesh: restore it from a backup, or move it away to begin empty`,
    { path, kind },
  );
}

/** A record around `payload`, which the caller has kept within `maxPayloadSize`. */
export function record(payload: Buffer): Buffer {
  const head = Buffer.alloc(recordHeadSize);
  head.writeUInt32BE(payload.length, 0);
  head.writeUInt32BE(crc32(payload), 4);
  return Buffer.concat([head, payload]);
}

/** The payload of the record at `offset`, or undefined when none is there whole and right. */
export function payloadAt(bytes: Buffer, offset: number): Buffer | undefined {
  if (bytes.length - offset < recordHeadSize) return undefined;
  const size = bytes.readUInt32BE(offset);
  const from = offset + recordHeadSize;
  if (size === 0 || size > maxPayloadSize || size > bytes.length - from) return undefined;
  const payload = bytes.subarray(from, from + size);
  return crc32(payload) === bytes.readUInt32BE(offset + 4) ? payload : undefined;
}
