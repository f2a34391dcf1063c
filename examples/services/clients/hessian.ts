/**
 * hessian.js, as the Dubbo provider uses it.
 * The library brings no types; these are of what is used here.
 */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

interface EncoderV2 {
  write(value: unknown): EncoderV2;
  get(): Buffer;
}

interface DecoderV2 {
  read(): unknown;
}

interface Hessian {
  readonly EncoderV2: new () => EncoderV2;
  readonly DecoderV2: new (bytes: Buffer) => DecoderV2;
}

export const hessian: Hessian = require("hessian.js");
