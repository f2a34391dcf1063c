/** A stream of bytes as lines of JSON, each whole, in order, and none longer than is allowed. */
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

export interface LineReader {
  readonly maxLength: number;
  /** The value of one line. */
  readonly take: (value: unknown) => void;
  /** A line was too long or no JSON, and nothing more is read. */
  readonly broken: (why: string) => void;
}

export function readLines(stream: Readable, { maxLength, take, broken }: LineReader): void {
  const decoder = new StringDecoder("utf8");
  let pieces: string[] = [];
  let length = 0;
  let over = false;
  const stop = (why: string): void => {
    over = true;
    pieces = [];
    broken(why);
  };
  stream.on("data", (bytes: Buffer) => {
    const lines = decoder.write(bytes).split("\n");
    for (const [index, text] of lines.entries()) {
      if (over) return;
      length += text.length;
      if (length > maxLength) return stop(`a line is longer than ${maxLength} characters`);
      pieces.push(text);
      if (index === lines.length - 1) return;
      const line = pieces.join("");
      pieces = [];
      length = 0;
      const value = parsed(line);
      if (value === undefined) return stop("a line is not JSON");
      take(value);
    }
  });
}

/** Undefined when it is not JSON, which has no such value. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
