/**
 * Where lines of a log go: a descriptor, written in the background. A log must never be what a process stands still for: a reader that takes nothing, a disk
 * that is full, a pipe that is closed cost lines, which are counted and told of once something can be written again.
 */
import { write, writeSync } from "node:fs";
import { type Clock, systemClock } from "./clock.ts";

/** Lines that wait; beyond, they are dropped. */
const maxWaitingBytes = 1024 * 1024;
/** What is written at once. */
const maxPieceBytes = 64 * 1024;
const againMs = 100;
/** A descriptor that would block takes more in a moment, and so does one that was interrupted. */
const passing: readonly (string | undefined)[] = ["EAGAIN", "EBUSY", "EINTR"];

export interface LineSink {
  write(line: string): void;
}

/** The last lines are written when the process exits, as far as they can be. */
export function openLineSink(descriptor: number, clock: Clock = systemClock): LineSink {
  const sink = new Sink(descriptor, clock);
  process.once("exit", () => sink.last());
  return sink;
}

class Sink implements LineSink {
  readonly #descriptor: number;
  readonly #clock: Clock;
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** On its way to the kernel, whole lines but for the beginning of the first. */
  #piece: Buffer | undefined;
  #lost = 0;
  #why = "";
  #isScheduled = false;
  #isUnderWay = false;

  constructor(descriptor: number, clock: Clock) {
    this.#descriptor = descriptor;
    this.#clock = clock;
  }

  write(line: string): void {
    const size = Buffer.byteLength(line);
    if (this.#waitingBytes + size > maxWaitingBytes) {
      this.#lose(1, "nobody takes what is written");
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += size;
    if (this.#piece !== undefined || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#next();
    });
  }

  /** All that is left, once: what is not taken now is not taken. */
  last(): void {
    // What the kernel has been given already is taken before the process is gone.
    const piece = this.#isUnderWay || this.#piece === undefined ? Buffer.alloc(0) : this.#piece;
    const rest = Buffer.concat([piece, Buffer.from(this.#waiting.join(""))]);
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (let at = 0; at < rest.length; ) {
      try {
        at += writeSync(this.#descriptor, rest, at, Math.min(maxPieceBytes, rest.length - at));
      } catch {
        return;
      }
    }
  }

  #next(): void {
    if (this.#piece !== undefined || this.#waiting.length === 0) return;
    let size = 0;
    let count = 0;
    while (count < this.#waiting.length && (count === 0 || size < maxPieceBytes)) {
      size += Buffer.byteLength(this.#waiting[count] as string);
      count++;
    }
    this.#waitingBytes -= size;
    const lines = this.#waiting.splice(0, count).join("");
    this.#begin(Buffer.from(`${this.#lossLine()}${lines}`));
  }

  #begin(piece: Buffer): void {
    this.#piece = piece;
    this.#isUnderWay = true;
    write(this.#descriptor, piece, 0, piece.length, null, (error, taken) => this.#wrote(error, taken));
  }

  #wrote(error: NodeJS.ErrnoException | null, taken: number): void {
    const piece = this.#piece ?? Buffer.alloc(0);
    this.#isUnderWay = false;
    this.#piece = undefined;
    if (error === null) {
      if (taken < piece.length) return this.#begin(piece.subarray(taken));
      return this.#next();
    }
    if (passing.includes(error.code)) {
      this.#piece = piece;
      // An exit writes what is left: nobody has to be kept alive for it.
      this.#clock.after(againMs, () => this.#begin(this.#piece ?? piece));
      return;
    }
    this.#lose(
      piece.reduce((lines, byte) => lines + (byte === newline ? 1 : 0), 0),
      error.code ?? error.message,
    );
    this.#clock.after(againMs, () => this.#next());
  }

  #lose(lines: number, why: string): void {
    this.#lost += lines;
    this.#why = why;
  }

  #lossLine(): string {
    if (this.#lost === 0) return "";
    const [lost, why] = [this.#lost, this.#why];
    this.#lost = 0;
    const time = new Date(this.#clock.wall()).toISOString();
    return `${JSON.stringify({ level: "error", time, lost, why, msg: "lines of this log could not be written and are lost" })}\n`;
  }
}

const newline = 10;
