/**
 * Why this exists: one TCP connection to an address that is watched, with the requests on it that wait for an answer. Requests and answers
 * are paired by id. What cannot be known because packets were not seen is forgotten, and never taken for a failure.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import { frameKind } from "@dualmesh/wire/rpc";
import type { CallListener, WatchedEnd } from "./calls.ts";
import { HeadStream } from "./head-stream.ts";
import type { Head, Outcome } from "./heads.ts";
import { type Segment, tcpFlag } from "./segments.ts";

/** A call without an answer after this time has failed. */
export const patienceMs = 30_000;
/** More requests at a time are not followed on one connection. */
export const maxPending = 4_096;
/** Answers that were seen before their requests, while a packet of requests is missing. */
const maxAnswers = 64;
/** After the end of a connection what was overtaken by it may still come. */
const endedMs = 500;

/** How many requests are followed, all connections together. */
export class PendingBudget {
  readonly limit: number;
  used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }
}

interface Pending<Of> {
  readonly of: Of;
  readonly idHigh: number;
  readonly atMs: number;
}

interface Answer {
  readonly idHigh: number;
  readonly atMs: number;
  readonly outcome: Outcome;
}

export interface ConversationOptions<Of> {
  readonly end: WatchedEnd;
  /** The end that calls. */
  readonly client: string;
  readonly bornMs: number;
  readonly listener: CallListener<Of>;
  readonly early: ByteBudget;
  readonly budget: PendingBudget;
}

export class Conversation<Of> {
  readonly end: WatchedEnd;
  readonly client: string;
  readonly #listener: CallListener<Of>;
  readonly #budget: PendingBudget;
  readonly #requests: HeadStream;
  readonly #replies: HeadStream;
  readonly #pending = new Map<number, Pending<Of>>();
  #answers: Map<number, Answer> | undefined;
  #lastService: string | undefined;
  #lastMethod: string | undefined;
  #lastOf: Of | undefined;
  #isKnown = false;
  #endedMs: number | undefined;
  /** When its beginning was seen; undefined when it was older. */
  openedMs: number | undefined;
  /** When its last packet passed. */
  lastMs: number;
  /** Whether bytes of the application passed. */
  hasPayload = false;

  constructor({ end, client, bornMs, listener, early, budget }: ConversationOptions<Of>) {
    this.end = end;
    this.client = client;
    this.lastMs = bornMs;
    this.#listener = listener;
    this.#budget = budget;
    this.#requests = new HeadStream(this, early);
    this.#replies = new HeadStream(this, early);
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Whether its bytes were understood so far. */
  get wasRead(): boolean {
    return this.#requests.wasRead || this.#replies.wasRead;
  }

  /** Takes a packet in; false when it begins another connection between the same ends. */
  read(segment: Segment, fromClient: boolean): boolean {
    const { flags, sequence, atMs } = segment;
    const stream = fromClient ? this.#requests : this.#replies;
    if ((flags & tcpFlag.syn) !== 0) {
      const isOurs = this.#endedMs === undefined && stream.begin(sequence);
      if (isOurs && fromClient) this.openedMs ??= atMs;
      if (!isOurs && !fromClient && this.#endedMs === undefined) stream.lose();
      return isOurs || !fromClient;
    }
    if (atMs > this.lastMs) this.lastMs = atMs;
    if (segment.size > 0) {
      this.hasPayload = true;
      stream.read(segment);
    }
    // A caller that has closed its half may still be answered; a server that has closed its own will not answer any more.
    if ((flags & tcpFlag.rst) !== 0 || ((flags & tcpFlag.fin) !== 0 && !fromClient)) this.#endedMs ??= atMs;
    return true;
  }

  /** Counts what waits too long; false when nothing more is to be expected of this connection. */
  sweep(nowMs: number, idleMs: number): boolean {
    this.#requests.expire(nowMs);
    this.#replies.expire(nowMs);
    if (this.#endedMs !== undefined && nowMs - this.#endedMs > endedMs) {
      this.finish(this.#endedMs);
      return false;
    }
    for (const [id, { of, atMs }] of this.#pending) {
      if (nowMs - atMs < patienceMs) break; // they stand in the order in which they came
      this.#remove(id);
      this.#listener.ended(of, atMs, patienceMs, "failed");
    }
    return this.#pending.size > 0 || nowMs - this.lastMs < idleMs;
  }

  /** The connection is over: what waits has failed. */
  finish(atMs: number): void {
    for (const { of, atMs: beganMs } of this.#pending.values())
      this.#listener.ended(of, beganMs, Math.max(0, atMs - beganMs), "failed");
    this.#clear();
  }

  /** It is not looked at for a while, or any more: what waits is forgotten. */
  lose(): void {
    this.#requests.close();
    this.#replies.close();
    this.#forget();
  }

  onHead(stream: HeadStream, head: Head, atMs: number): void {
    const isRequest = stream === this.#requests;
    if (isRequest && head.kind === frameKind.request) this.#ask(head, atMs);
    else if (!isRequest && head.kind === frameKind.response) this.#answer(head, atMs);
  }

  onLost(stream: HeadStream): void {
    if (stream.wasRead || this.#pending.size > 0) this.#listener.lost();
    this.#forget();
  }

  #ask(head: Head, atMs: number): void {
    const of = this.#find(head.service, head.method);
    if (of === undefined) return;
    const before = this.#pending.get(head.id);
    if (before !== undefined) {
      // An id that comes again: the answer to the first one was not seen.
      this.#remove(head.id);
      this.#listener.forgotten(before.of, before.atMs);
    }
    if (this.#pending.size >= maxPending || this.#budget.used >= this.#budget.limit) return;
    this.#listener.began(of, atMs);
    const answer = this.#answers?.get(head.id);
    if (answer !== undefined && answer.idHigh === head.idHigh) {
      this.#answers?.delete(head.id);
      return this.#listener.ended(of, atMs, Math.max(0, answer.atMs - atMs), answer.outcome);
    }
    this.#budget.used++;
    this.#pending.set(head.id, { of, idHigh: head.idHigh, atMs });
  }

  #answer({ id, idHigh, outcome }: Head, atMs: number): void {
    const asked = this.#pending.get(id);
    if (asked !== undefined && asked.idHigh === idHigh) {
      this.#remove(id);
      return this.#listener.ended(asked.of, asked.atMs, Math.max(0, atMs - asked.atMs), outcome);
    }
    if (!this.#requests.isWaiting) {
      this.#answers = undefined;
      return;
    }
    this.#answers ??= new Map();
    if (this.#answers.size < maxAnswers) this.#answers.set(id, { idHigh, atMs, outcome });
  }

  #find(service: string | undefined, method: string | undefined): Of | undefined {
    if (this.#isKnown && this.#lastService === service && this.#lastMethod === method) return this.#lastOf;
    this.#isKnown = true;
    this.#lastService = service;
    this.#lastMethod = method;
    this.#lastOf = this.#listener.find(this, service, method);
    return this.#lastOf;
  }

  #remove(id: number): void {
    if (this.#pending.delete(id)) this.#budget.used--;
    if (this.#answers !== undefined && !this.#requests.isWaiting) this.#answers = undefined;
  }

  #forget(): void {
    for (const { of, atMs } of this.#pending.values()) this.#listener.forgotten(of, atMs);
    this.#clear();
  }

  #clear(): void {
    this.#budget.used -= this.#pending.size;
    this.#pending.clear();
    this.#answers = undefined;
  }
}
