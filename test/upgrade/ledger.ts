/**
 * What callers sent, what came to providers, and what callers were answered, by (client, sequence): so that nothing can be lost or doubled unnoticed.
 * A client is a caller's connection, or the connections that it opened one after another.
 */

export interface ClientOptions {
  readonly kind: string;
  /** Its calls come to the provider in the order in which they were sent. */
  readonly ordered: boolean;
  /** The time of its calls says nothing of the sidecar: they are sent in pieces. */
  readonly untimed?: boolean;
}

interface Entry {
  readonly oneway: boolean;
  readonly sentMs: number;
  readonly dueMs: number;
  arrived: number;
  answered: number;
  /** It was answered by an error, or its connection was closed before an answer. */
  failed: string | undefined;
  /** When it was answered, or failed. */
  endedMs: number | undefined;
}

export interface Totals {
  readonly calls: number;
  readonly oneways: number;
  readonly failed: number;
  /** Connections that were closed by the other side. */
  readonly closed: number;
  /** Milliseconds above what the provider took, of the worst answer. */
  readonly worstMs: number;
}

export class Client {
  readonly number: number;
  readonly kind: string;
  readonly #ordered: boolean;
  readonly #untimed: boolean;
  readonly #entries: Entry[] = [];
  readonly #closed: string[] = [];
  /** What is wrong beside what the entries say. */
  readonly wrong: string[] = [];
  #lastArrived = -1;
  #open = 0;

  constructor(number: number, { kind, ordered, untimed = false }: ClientOptions) {
    this.number = number;
    this.kind = kind;
    this.#ordered = ordered;
    this.#untimed = untimed;
  }

  /** Calls that wait for an answer. */
  get open(): number {
    return this.#open;
  }

  /** Calls that nobody answers, and that have not arrived. */
  get onTheWay(): number {
    return this.#entries.filter(({ oneway, arrived }) => oneway && arrived === 0).length;
  }

  /** Returns the sequence of a call that is sent now, and answered after `tookMs` at the provider. */
  sends(oneway: boolean, tookMs: number): number {
    const now = performance.now();
    const nothing = { arrived: 0, answered: 0, failed: undefined, endedMs: undefined };
    this.#entries.push({ oneway, sentMs: now, dueMs: now + tookMs, ...nothing });
    if (!oneway) this.#open++;
    return this.#entries.length - 1;
  }

  arrives(sequence: number): void {
    const entry = this.#entries[sequence];
    if (entry === undefined) return void this.wrong.push(`${sequence} arrived and was never sent`);
    entry.arrived++;
    if (this.#ordered && sequence <= this.#lastArrived)
      this.wrong.push(`${sequence} arrived after ${this.#lastArrived}`);
    this.#lastArrived = sequence;
  }

  /** `failed` is why the answer is none. */
  answers(sequence: number, failed?: string): void {
    const entry = this.#entries[sequence];
    if (entry === undefined || entry.oneway)
      return void this.wrong.push(`an answer to ${sequence}, which waits for none`);
    entry.answered++;
    if (entry.answered > 1) return;
    this.#open--;
    entry.endedMs = performance.now();
    entry.failed = failed;
  }

  /** Its connection was closed by the other side, with these calls unanswered. */
  closes(reason: string, sequences: Iterable<number>): void {
    this.#closed.push(reason);
    for (const sequence of sequences) this.answers(sequence, `closed: ${reason}`);
  }

  get totals(): Totals {
    const calls = this.#entries.filter(({ oneway }) => !oneway);
    return {
      calls: calls.length,
      oneways: this.#entries.length - calls.length,
      failed: calls.filter(({ failed }) => failed !== undefined).length,
      closed: this.#closed.length,
      worstMs: this.#untimed
        ? 0
        : Math.max(0, ...calls.map(({ endedMs, dueMs, failed }) => (failed ? 0 : (endedMs ?? 0) - dueMs))),
    };
  }

  /** What must never be, whatever dies. */
  broken(): readonly string[] {
    return [
      ...this.wrong,
      ...this.#entries.flatMap(({ oneway, arrived, answered, failed }, sequence) => [
        ...(arrived > 1 ? [`${sequence} arrived ${arrived} times`] : []),
        ...(answered > 1 ? [`${sequence} was answered ${answered} times`] : []),
        ...(!oneway && answered === 0 ? [`${sequence} was never answered (arrived: ${arrived})`] : []),
        ...(!oneway && arrived === 0 && answered > 0 && failed === undefined
          ? [`${sequence} was answered and never arrived`]
          : []),
      ]),
    ].map((text) => `${this.kind} ${this.number}: ${text}`);
  }

  /** What must not be when nothing is lost. */
  lost(): readonly string[] {
    return [
      ...this.#closed.map((reason) => `its connection was closed: ${reason}`),
      ...this.#entries.flatMap(({ failed, arrived }, sequence) =>
        failed !== undefined
          ? [`${sequence} failed: ${failed} (arrived: ${arrived})`]
          : arrived === 0
            ? [`${sequence} never arrived`]
            : [],
      ),
    ].map((text) => `${this.kind} ${this.number}: ${text}`);
  }
}

export class Ledger {
  readonly #clients: Client[] = [];

  client(options: ClientOptions): Client {
    const client = new Client(this.#clients.length, options);
    this.#clients.push(client);
    return client;
  }

  of(client: number): Client | undefined {
    return this.#clients[client];
  }

  get open(): number {
    return this.#clients.reduce((sum, { open }) => sum + open, 0);
  }

  get onTheWay(): number {
    return this.#clients.reduce((sum, { onTheWay }) => sum + onTheWay, 0);
  }

  get totals(): Totals {
    const all = this.#clients.map(({ totals }) => totals);
    const sum = (name: "calls" | "oneways" | "failed" | "closed"): number =>
      all.reduce((before, totals) => before + totals[name], 0);
    return {
      calls: sum("calls"),
      oneways: sum("oneways"),
      failed: sum("failed"),
      closed: sum("closed"),
      worstMs: Math.round(Math.max(0, ...all.map(({ worstMs }) => worstMs))),
    };
  }

  broken(): readonly string[] {
    return this.#clients.flatMap((client) => client.broken());
  }

  lost(): readonly string[] {
    return this.#clients.flatMap((client) => client.lost());
  }
}
