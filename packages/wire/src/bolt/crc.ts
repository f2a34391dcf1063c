/**
 * Why this exists: Bolt v2 ends a frame with the CRC-32 of everything before it, and a proxy rewrites the request id of every
 * frame. CRC-32 is linear: what a change of four bytes does to it depends only on the change and on how many bytes follow, so
 * the CRC is patched in the logarithm of the frame's size instead of being computed again over the whole body. A frame that came
 * corrupt leaves corrupt by the same amount, and the receiver sees it.
 */
import { maxFrameBytes } from "../codec.ts";

/** The CRC after the big-endian 32-bit word `before` became `after`, with `tail` bytes following that word. */
export function patchCrc(crc: number, before: number, after: number, tail: number): number {
  return (crc ^ advance(swap(before ^ after), tail + 4)) >>> 0;
}

/**
 * One table for each bit of a length: the bytes of a CRC register to what 2^bit zero bytes make of them. Built with the first frame that
 * has a CRC: the loop is long enough to be compiled by the optimizing compiler, whose 5 MB of code an idle process does without.
 */
const lengthBits = 32 - Math.clz32(maxFrameBytes);
const polynomial = 0xedb88320;
let tables: Int32Array | undefined;

/** The CRC register `register` after `count` zero bytes, that is its product with x^(8·count) modulo the polynomial. */
function advance(register: number, count: number): number {
  let value = register;
  let left = count;
  tables ??= buildTables();
  for (let base = 0; left !== 0; left >>>= 1, base += 1_024) {
    if ((left & 1) !== 0) value = multiply(tables, value, base);
  }
  return value;
}

function multiply(tables: Int32Array, value: number, base: number): number {
  return (
    (tables[base + (value & 0xff)] as number) ^
    (tables[base + 256 + ((value >>> 8) & 0xff)] as number) ^
    (tables[base + 512 + ((value >>> 16) & 0xff)] as number) ^
    (tables[base + 768 + (value >>> 24)] as number)
  );
}

/** The register is reflected: the first byte of the message is its lowest byte. */
function swap(word: number): number {
  return (word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff0000) | (word << 24);
}

function buildTables(): Int32Array {
  const built = new Int32Array(lengthBits * 1_024);
  for (let byte = 0; byte < 1_024; byte++) {
    let value = (byte & 0xff) << ((byte >>> 8) * 8);
    for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ polynomial : value >>> 1;
    built[byte] = value;
  }
  for (let base = 1_024; base < built.length; base += 1_024) {
    const half = base - 1_024;
    for (let byte = 0; byte < 1_024; byte++) {
      const value = built[half + byte] as number;
      built[base + byte] =
        (built[half + (value & 0xff)] as number) ^
        (built[half + 256 + ((value >>> 8) & 0xff)] as number) ^
        (built[half + 512 + ((value >>> 16) & 0xff)] as number) ^
        (built[half + 768 + (value >>> 24)] as number);
    }
  }
  return built;
}
