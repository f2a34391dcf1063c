/** HTTP as bytes: what a hostile client sends, and what it makes of what comes back. Its reading of responses shares no code with the product. */
import { createHash } from "node:crypto";
import net from "node:net";
import { setImmediate as turn } from "node:timers/promises";

export interface Answer {
  readonly status: number;
  /** Names in lower case; of several fields of one name the last. */
  readonly fields: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A request as somebody understood it. */
export interface Taken {
  readonly method: string;
  readonly target: string;
  readonly length: number;
  readonly hash: string;
}

export function taken(method: string, target: string, body: Buffer): Taken {
  return { method, target, length: body.length, hash: createHash("sha256").update(body).digest("hex") };
}

/** The final answers at the front of `text` (latin1), with the interim ones left out; what is not whole is left. `methods` are those of the requests. */
export function answersIn(
  text: string,
  methods: readonly string[],
  ended: boolean,
): { answers: Answer[]; left: string } {
  const answers: Answer[] = [];
  let left = text;
  for (;;) {
    const next = nextAnswer(left, methods[answers.length] ?? "GET", ended);
    if (next === undefined) return { answers, left };
    if (next.answer.status >= 200) answers.push(next.answer);
    left = left.slice(next.size);
  }
}

function nextAnswer(text: string, method: string, ended: boolean): { answer: Answer; size: number } | undefined {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [line = "", ...lines] = text.slice(0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(line)?.[1]);
  if (Number.isNaN(status)) throw new Error(`no status line: ${JSON.stringify(line.slice(0, 200))}`);
  const fields = new Map(
    lines.map((one) => [one.slice(0, one.indexOf(":")).toLowerCase(), one.slice(one.indexOf(":") + 1).trim()]),
  );
  const start = headEnd + 4;
  const whole = (body: string, size: number) => ({ answer: { status, fields, body }, size });
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return whole("", start);
  if (fields.get("transfer-encoding") === "chunked") return chunked(text, start, whole);
  const length = fields.get("content-length");
  if (length === undefined) return ended ? whole(text.slice(start), text.length) : undefined;
  const end = start + Number(length);
  return text.length < end ? undefined : whole(text.slice(start, end), end);
}

function chunked<Result>(
  text: string,
  start: number,
  whole: (body: string, size: number) => Result,
): Result | undefined {
  let body = "";
  for (let at = start; ; ) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error(`no chunk size: ${JSON.stringify(text.slice(at, lineEnd))}`);
    if (size === 0) {
      const end = text.startsWith("\r\n", lineEnd + 2) ? lineEnd + 4 : text.indexOf("\r\n\r\n", lineEnd + 2) + 4;
      return end < lineEnd + 4 || text.length < end ? undefined : whole(body, end);
    }
    if (text.length < lineEnd + 4 + size) return undefined;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 4 + size;
  }
}

/** A client that writes bytes and keeps whatever comes. */
export class ByteClient {
  readonly socket: net.Socket;
  text = "";
  ended = false;
  closed = false;
  #told: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes) => {
      this.text += bytes.toString("latin1");
      this.#told();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#told();
    });
    socket.on("error", () => {}); // being cut is what many of these tests are about
    socket.on("close", () => {
      this.closed = true;
      this.#told();
    });
  }

  static async connect(url: string): Promise<ByteClient> {
    const { hostname, port } = new URL(url);
    const socket = net.connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new ByteClient(socket);
  }

  /** Writes `bytes`, cut at these places, each piece in a turn of its own. */
  async send(bytes: Buffer | string, cuts: readonly number[] = []): Promise<void> {
    const all = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    let at = 0;
    for (const cut of [...cuts, all.length]) {
      if (cut > at) this.socket.write(all.subarray(at, cut));
      at = Math.max(at, cut);
      if (cut < all.length) await turn();
    }
  }

  get over(): boolean {
    return this.ended || this.closed;
  }

  /** Waits until `holds`; raises with what has come when it does not within `limitMs`. */
  async until(what: string, holds: () => boolean, limitMs = 5_000): Promise<void> {
    const end = performance.now() + limitMs;
    while (!holds()) {
      const leftMs = end - performance.now();
      if (leftMs <= 0)
        throw new Error(`not within ${limitMs} ms: ${what}; so far: ${JSON.stringify(this.text.slice(0, 1_000))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(leftMs, 100));
        this.#told = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** The answers to requests of these methods, once all are there or the connection is over. */
  async answers(methods: readonly string[], limitMs?: number): Promise<Answer[]> {
    const all = (): Answer[] => answersIn(this.text, methods, this.over).answers;
    await this.until(`${methods.length} answers`, () => this.over || all().length >= methods.length, limitMs);
    return all();
  }
}
