/**
 * Why this exists: what a Dubbo request says of itself stands in its body, in the frame's own serialisation: Dubbo version, path,
 * service version, method, parameter types, arguments, attachments. This finds the first ones without reading the arguments, and
 * the attachments by stepping over them.
 */
import { findInMap, mapStart } from "../hessian/map.ts";
import { HessianSkipper } from "../hessian/skip.ts";
import { readText, textBytes, textEnd } from "../hessian/text.ts";
import { TextTable } from "../texts.ts";
import { type DubboFrame, dubboSerialization, notLooked, notReached } from "./frame.ts";
import { findInObject, itemEnd, readText as readJsonbText, valueEnd } from "./jsonb.ts";

/** How many texts stand before the arguments: Dubbo version, path, service version, method, parameter types. */
const headTexts = 5;

const skipper: HessianSkipper = new HessianSkipper();

/** Whose body `skipper` went through last, and how many classes were defined before its attachments. */
let skipped: DubboFrame | undefined;
let classesBefore = 0;

/** Keyed by the bytes of path and version together, with their lengths. */
const hessianServices: TextTable = new TextTable((bytes, start, end) => {
  const pathEnd = textEnd(bytes, start, end);
  return serviceOf(readText(bytes, start, end), readNullable(bytes, pathEnd, end));
});
const jsonbServices: TextTable = new TextTable((bytes, start, end) => {
  const pathEnd = itemEnd(bytes, start, end);
  return serviceOf(readJsonbText(bytes, start + 4, pathEnd), readJsonbText(bytes, pathEnd + 4, end));
});
const hessianTexts: TextTable = new TextTable(readText);
const jsonbTexts: TextTable = new TextTable((bytes, start, end) => readJsonbText(bytes, start + 4, end));

function serviceOf(path: string | undefined, version: string | undefined): string | undefined {
  if (path === undefined || path === "") return undefined;
  return `${path}:${version === undefined || version === "0.0.0" ? "" : version}`;
}

/** `path:version` of a request, or undefined when its serialisation is unknown or its head malformed. */
export function readService(frame: DubboFrame): string | undefined {
  const { bytes, bodyAt, serialization } = frame;
  const end = bodyAt + frame.bodyLength;
  if (serialization === dubboSerialization.hessian2) {
    const pathAt = nullableEnd(bytes, bodyAt, end);
    const pathEnd = pathAt < 0 ? -1 : textEnd(bytes, pathAt, end);
    const versionEnd = pathEnd < 0 ? -1 : nullableEnd(bytes, pathEnd, end);
    return versionEnd < 0 ? undefined : hessianServices.textOf(bytes, pathAt, versionEnd);
  }
  if (serialization !== dubboSerialization.fastjson2) return undefined;
  const pathAt = itemEnd(bytes, bodyAt, end);
  const versionEnd = itemEnd(bytes, itemEnd(bytes, pathAt, end), end);
  return versionEnd < 0 ? undefined : jsonbServices.textOf(bytes, pathAt, versionEnd);
}

export function readMethod(frame: DubboFrame): string | undefined {
  const { bytes, bodyAt, serialization } = frame;
  const end = bodyAt + frame.bodyLength;
  if (serialization === dubboSerialization.hessian2) {
    let at = bodyAt;
    for (let text = 0; text < 3 && at >= 0; text++) at = nullableEnd(bytes, at, end);
    const after = at < 0 ? -1 : textEnd(bytes, at, end);
    return after < 0 ? undefined : hessianTexts.textOf(bytes, at, after);
  }
  if (serialization !== dubboSerialization.fastjson2) return undefined;
  const at = itemEnd(bytes, itemEnd(bytes, itemEnd(bytes, bodyAt, end), end), end);
  const after = itemEnd(bytes, at, end);
  return after < 0 ? undefined : jsonbTexts.textOf(bytes, at, after);
}

/** `name` as it stands in the frame's serialisation: Hessian writes characters beyond 16 bits in its own way. */
export function attachmentKey(frame: DubboFrame, name: string): Buffer {
  return frame.serialization === dubboSerialization.hessian2 ? textBytes(name) : Buffer.from(name);
}

/** The attachment `key` of a request, as far as it is a text or an int. */
export function readAttachment(frame: DubboFrame, key: Buffer): string | undefined {
  const inHessian = frame.serialization === dubboSerialization.hessian2;
  // `decode` forgets where the attachments are; another frame's walk forgets the classes that may be named in them.
  if (frame.attachmentsAt === notLooked || (inHessian && skipped !== frame))
    frame.attachmentsAt = findAttachments(frame);
  if (frame.attachmentsAt === notReached) return undefined;
  const end = frame.bodyAt + frame.bodyLength;
  if (!inHessian) return findInObject(frame.bytes, frame.attachmentsAt, end, key);
  skipper.begin(classesBefore);
  return findInMap(skipper, frame.bytes, frame.attachmentsAt, end, key);
}

/** The attachments are the last value of the body. */
function findAttachments(frame: DubboFrame): number {
  const { bytes, bodyAt, serialization } = frame;
  const end = bodyAt + frame.bodyLength;
  if (serialization === dubboSerialization.hessian2) {
    skipped = frame;
    return lastHessianMap(bytes, bodyAt, end);
  }
  if (serialization !== dubboSerialization.fastjson2) return notReached;
  let last = notReached;
  let count = 0;
  for (let at = bodyAt; at < end; count++) {
    last = at;
    at = itemEnd(bytes, at, end);
    if (at < 0) return notReached;
  }
  return count > headTexts && valueEnd(bytes, last + 4, end) === end ? last + 4 : notReached;
}

function lastHessianMap(bytes: Buffer, bodyAt: number, end: number): number {
  let at = bodyAt;
  for (let text = 0; text < headTexts; text++) {
    at = nullableEnd(bytes, at, end);
    if (at < 0) return notReached;
  }
  let last = notReached;
  skipper.begin();
  while (at < end) {
    last = at;
    classesBefore = skipper.classes;
    at = skipper.skip(bytes, at, end);
    if (at < 0) return notReached;
  }
  return mapStart(bytes, last, end) < 0 ? notReached : last;
}

/** Where the text or null at `at` ends, or -1. */
function nullableEnd(bytes: Buffer, at: number, end: number): number {
  return at < end && bytes[at] === 0x4e ? at + 1 : textEnd(bytes, at, end);
}

function readNullable(bytes: Buffer, at: number, end: number): string | undefined {
  return bytes[at] === 0x4e ? undefined : readText(bytes, at, end);
}
