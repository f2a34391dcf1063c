/**
 * Why this exists: Dubbo's attachments (group, calling application, timeout) stand behind the arguments of a call, and Hessian 2 values
 * do not say how long they are. The skipper steps over values of the final dialect without building any: no recursion, no
 * allocation, no class by name. Hostile input costs at most one pass over the bytes that are there.
 */
import { int32 } from "../bytes.ts";
import { textEnd } from "./text.ts";

/** Deeper nesting is not followed: the applications that receive it recurse and could not read it either. */
export const maxDepth = 4_096;

/** More class definitions than this in one body are not followed. */
export const maxClasses = 1_024;

/** More values than this in one body are not followed; it takes some ten milliseconds. */
export const maxValues = 1_000_000;

/** In the stack of open containers: this one goes on until `Z`. */
const untilEnd = -1;

export class HessianSkipper {
  readonly #open: Int32Array;
  readonly #fields: Int32Array;
  #classes: number;
  #values: number;
  #int: number;

  constructor() {
    this.#open = new Int32Array(maxDepth);
    this.#fields = new Int32Array(maxClasses);
    this.#classes = 0;
    this.#values = 0;
    this.#int = 0;
  }

  /**
   * Begins a body: its values share class definitions and are skipped in order. With `classes`, goes back to a place of the same body
   * at which so many were defined.
   */
  begin(classes = 0): void {
    this.#classes = Math.min(classes, this.#classes);
    this.#values = 0;
  }

  /** How many classes were defined so far. */
  get classes(): number {
    return this.#classes;
  }

  /** Where the value at `at` ends, or -1 when it is malformed, cut off by `end`, or beyond the limits. */
  skip(bytes: Buffer, at: number, end: number): number {
    const open = this.#open;
    let depth = 0;
    let next = at;
    open[0] = 1;
    while (depth >= 0) {
      const left = open[depth] as number;
      if (left === 0) {
        depth--;
        continue;
      }
      if (next >= end || ++this.#values > maxValues) return -1;
      const tag = bytes[next] as number;
      if (tag === 0x5a) {
        if (left !== untilEnd) return -1;
        depth--;
        next++;
        continue;
      }
      if (tag === 0x43) {
        next = this.#define(bytes, next + 1, end); // stands before a value and is none
        if (next < 0) return -1;
        continue;
      }
      if (left !== untilEnd) open[depth] = left - 1;
      const after = scalarEnd(bytes, next, end, tag);
      if (after > 0) {
        next = after;
        continue;
      }
      if (after < 0) return -1;
      next = this.#enter(bytes, next, end, tag);
      if (next < 0) return -1;
      const inside = this.#int;
      if (inside === 0) continue;
      // A value takes a byte at least: a count that the bytes cannot hold is not believed.
      if (inside > end - next || ++depth >= maxDepth) return -1;
      open[depth] = inside;
    }
    return next;
  }

  /** Reads the head of a container; how many values are inside stands in `#int` then. */
  #enter(bytes: Buffer, at: number, end: number, tag: number): number {
    this.#int = untilEnd;
    if (tag >= 0x60 && tag <= 0x6f) return this.#object(tag - 0x60, at + 1);
    if (tag >= 0x70 && tag <= 0x77) return this.#counted(tag - 0x70, this.#type(bytes, at + 1, end));
    if (tag >= 0x78 && tag <= 0x7f) return this.#counted(tag - 0x78, at + 1);
    switch (tag) {
      case 0x48: // H: untyped map
      case 0x57: // W: untyped list until Z
        return at + 1;
      case 0x4d: // M: typed map
      case 0x55: // U: typed list until Z
        return this.#type(bytes, at + 1, end);
      case 0x56: // V: typed list with its length
        return this.#count(bytes, this.#type(bytes, at + 1, end), end);
      case 0x58: // X: untyped list with its length
        return this.#count(bytes, at + 1, end);
      case 0x4f: {
        const after = this.#count(bytes, at + 1, end);
        return after < 0 ? -1 : this.#object(this.#int, after);
      }
      default:
        return -1;
    }
  }

  #object(definition: number, after: number): number {
    if (definition < 0 || definition >= this.#classes) return -1;
    return this.#counted(this.#fields[definition] as number, after);
  }

  #counted(count: number, after: number): number {
    this.#int = count;
    return after;
  }

  /** An int that must not be negative, into `#int`. */
  #count(bytes: Buffer, at: number, end: number): number {
    if (at < 0) return -1;
    const after = intEnd(bytes, at, end);
    if (after < 0) return -1;
    this.#int = intAt(bytes, at);
    return this.#int < 0 ? -1 : after;
  }

  /** A type is its name, or the number of one that stood before. */
  #type(bytes: Buffer, at: number, end: number): number {
    const after = textEnd(bytes, at, end);
    return after >= 0 ? after : intEnd(bytes, at, end);
  }

  #define(bytes: Buffer, at: number, end: number): number {
    let next = this.#count(bytes, textEnd(bytes, at, end), end);
    const count = this.#int;
    if (next < 0 || count > end - next || this.#classes >= maxClasses) return -1;
    for (let field = 0; field < count && next >= 0; field++) next = textEnd(bytes, next, end);
    if (next < 0) return -1;
    this.#fields[this.#classes++] = count;
    return next;
  }
}

const oneValue: HessianSkipper = new HessianSkipper();

/** Where a value that uses no class definition from outside ends, or -1. */
export function skipValue(bytes: Buffer, at: number, end: number): number {
  oneValue.begin();
  return oneValue.skip(bytes, at, end);
}

/** Where the int at `at` ends, or -1 when there is none. */
export function intEnd(bytes: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const tag = bytes[at] as number;
  const size =
    tag >= 0x80 && tag <= 0xbf
      ? 1
      : tag >= 0xc0 && tag <= 0xcf
        ? 2
        : tag >= 0xd0 && tag <= 0xd7
          ? 3
          : tag === 0x49
            ? 5
            : 0;
  return size === 0 || at + size > end ? -1 : at + size;
}

/** The int at `at`, where `intEnd` found one. */
export function intAt(bytes: Buffer, at: number): number {
  const tag = bytes[at] as number;
  if (tag === 0x49) return int32(bytes, at + 1);
  if (tag <= 0xbf) return tag - 0x90;
  if (tag <= 0xcf) return ((tag - 0xc8) << 8) | (bytes[at + 1] as number);
  return ((tag - 0xd4) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
}

/** Where a value without others inside ends; -1 when it is cut off; 0 when `tag` is none of these. */
function scalarEnd(bytes: Buffer, at: number, end: number, tag: number): number {
  if (tag <= 0x1f || (tag >= 0x30 && tag <= 0x33) || tag === 0x52 || tag === 0x53) return textEnd(bytes, at, end);
  if (tag <= 0x2f || (tag >= 0x34 && tag <= 0x37) || tag === 0x41 || tag === 0x42) return binaryEnd(bytes, at, end);
  if (tag === 0x51) return intEnd(bytes, at + 1, end); // Q: a value that stood before; never followed, so a cycle is nothing
  const size = fixedSize(tag);
  return size === 0 ? 0 : at + size > end ? -1 : at + size;
}

/** The whole size of a value whose tag tells it, else 0. */
function fixedSize(tag: number): number {
  if (tag >= 0x80) return tag <= 0xbf ? 1 : tag <= 0xcf ? 2 : tag <= 0xd7 ? 3 : tag <= 0xef ? 1 : 2;
  if (tag >= 0x38 && tag <= 0x3f) return 3; // long of three bytes
  switch (tag) {
    case 0x46: // F
    case 0x54: // T
    case 0x4e: // N
    case 0x5b: // 0.0
    case 0x5c: // 1.0
      return 1;
    case 0x5d: // double of one byte
      return 2;
    case 0x5e: // double of two
      return 3;
    case 0x49: // I
    case 0x4b: // K: minutes
    case 0x59: // Y: long of four bytes
    case 0x5f: // double of four
      return 5;
    case 0x44: // D
    case 0x4a: // J: milliseconds
    case 0x4c: // L
      return 9;
    default:
      return 0;
  }
}

function binaryEnd(bytes: Buffer, at: number, end: number): number {
  let next = at;
  while (next < end) {
    const tag = bytes[next] as number;
    const short = tag >= 0x20 && tag <= 0x2f ? next + 1 + (tag - 0x20) : -1;
    if (short > 0) return short > end ? -1 : short;
    if (tag >= 0x34 && tag <= 0x37 && next + 2 <= end) {
      next += 2 + (((tag - 0x34) << 8) | (bytes[next + 1] as number));
      return next > end ? -1 : next;
    }
    if ((tag !== 0x41 && tag !== 0x42) || next + 3 > end) return -1;
    next += 3 + (((bytes[next + 1] as number) << 8) | (bytes[next + 2] as number));
    if (next > end) return -1;
    if (tag === 0x42) return next;
  }
  return -1;
}
