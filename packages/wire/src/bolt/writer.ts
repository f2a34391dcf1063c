/**
 * Why this exists: a body in sofa-hessian begins with the definition of its class, in the order of fields that its library has. npm's server keeps
 * definitions per connection, by name and number of fields, so that the requests of two libraries must come by two connections.
 */
import { type BoltFrame, boltSerialization } from "./frame.ts";

const definition = 0x4f; // O
const instance = 0x6f; // o
const maxFields = 32;

/** A hash of the first class definition, never 0; 0 where the body does not begin with one. */
export function writer(frame: BoltFrame): number {
  if (frame.serialization !== boltSerialization.hessian2) return 0;
  const { bytes } = frame;
  const end = frame.contentAt + frame.contentLength;
  if (frame.contentLength < 4 || bytes[frame.contentAt] !== definition) return 0;
  let at = afterText(bytes, frame.contentAt + 1, end, 0x90);
  const fields = at < 0 || at >= end ? -1 : (bytes[at] as number) - 0x90;
  if (fields < 0 || fields > maxFields) return 0;
  at++;
  for (let field = 0; field < fields && at > 0; field++) at = afterText(bytes, at, end, 0);
  if (at < 0 || at >= end || bytes[at] !== instance) return 0;
  let hash = 0x811c9dc5; // FNV-1a, 32 bits
  for (let index = frame.contentAt; index < at; index++) hash = Math.imul(hash ^ (bytes[index] as number), 0x01000193);
  return hash >>> 0 || 1;
}

/** Behind a text whose length is one byte above `base` (a compact int for a class name, a short string's tag for a field); -1 otherwise. */
function afterText(bytes: Buffer, at: number, end: number, base: number): number {
  if (at >= end) return -1;
  const length = (bytes[at] as number) - base;
  const limit = base === 0 ? 0x1f : 0x2f;
  const next = at + 1 + length;
  return length < 0 || length > limit || next > end ? -1 : next;
}
