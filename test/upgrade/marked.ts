/** How a call names itself inside whatever protocol carries it, and bytes of which every position can be told from every other near it. */
import { seededRandom } from "@dualmesh/base/random";

export interface Mark {
  readonly client: number;
  readonly sequence: number;
  /** Milliseconds until the provider answers. */
  readonly delayMs: number;
  /** Bytes that the answer has beside its mark. */
  readonly answerBytes: number;
}

export function markOf({ client, sequence, delayMs, answerBytes }: Mark): string {
  return `[[${client} ${sequence} ${delayMs} ${answerBytes}]]`;
}

export function readMark(text: string): Mark | undefined {
  const [, client, sequence, delayMs, answerBytes] = /\[\[(\d+) (\d+) (\d+) (\d+)\]\]/.exec(text) ?? [];
  if (client === undefined) return undefined;
  return {
    client: Number(client),
    sequence: Number(sequence),
    delayMs: Number(delayMs),
    answerBytes: Number(answerBytes),
  };
}

const block = seededRandom(1).bytes(64 * 1024);
const twice = Buffer.concat([block, block]);

/** `size` bytes of an endless text of this number, from `at` on. */
export function textOf(number: number, at: number, size: number): Buffer {
  const begin = (number * 7_919 + at) % block.length;
  const pieces: Buffer[] = [];
  for (let left = size, from = begin; left > 0; ) {
    const piece = twice.subarray(from, from + Math.min(left, block.length));
    pieces.push(piece);
    left -= piece.length;
    from = (from + piece.length) % block.length;
  }
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

/** Reads such a text as it comes. */
export class TextReader {
  readonly #number: number;
  at = 0;
  wrongAt: number | undefined;

  constructor(number: number) {
    this.#number = number;
  }

  read(bytes: Buffer): void {
    if (this.wrongAt === undefined && !bytes.equals(textOf(this.#number, this.at, bytes.length)))
      this.wrongAt = this.at;
    this.at += bytes.length;
  }
}
