/**
 * What a client publishes. A publication is told to the registry until it is in force, and again after each reconnect; the registry
 * makes no revision of an equal value. A key that another owner registered later is over and is not registered again by itself.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import {
  compareRevisions,
  type Deregistered,
  type Registered,
  type StreamFailure,
  type StreamMessage,
  type Superseded,
  zeroRevision,
} from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { encodeInstance, encodeInstanceKey, type StreamInstance } from "@dualmesh/wire/stream/record";

export interface PublicationsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** False while there is no connection: then nothing is sent, all is sent again when there is one. */
  readonly isOpen: () => boolean;
  readonly send: (message: StreamMessage) => void;
}

interface Waiter {
  readonly version: number;
  readonly resolve: () => void;
  readonly reject: (error: MeshError) => void;
}

/** One key that this client publishes. */
export interface Published {
  readonly lease: string;
  readonly service: string;
  readonly key: Buffer;
  record: Buffer;
  incarnation: number;
  /** Counts the values that it was given. */
  version: number;
  inForce: number;
  /** The stamp of the last accepted register; undefined before the first. */
  held: Revision | undefined;
  /** The session under which it was last sent. */
  session: Revision | undefined;
  onSuperseded: (() => void) | undefined;
  over: boolean;
  waiters: Waiter[];
}

interface Withdrawal {
  readonly published: Published;
  readonly session: Revision;
  readonly incarnation: number;
  sent: boolean;
  readonly resolve: () => void;
}

type Request =
  | { readonly kind: "register"; readonly published: Published; readonly version: number }
  | { readonly kind: "deregister"; readonly withdrawal: Withdrawal };

export class Publications {
  readonly #options: PublicationsOptions;
  /** Thousands of instances may be refused at once, and again and again. */
  readonly #told: ThrottledLog;
  readonly #published = new Map<string, Published>();
  readonly #withdrawals = new Map<string, Withdrawal>();
  readonly #requests = new Map<number, Request>();
  #request = 0;
  #session: Revision = zeroRevision;
  readonly counts = { superseded: 0, refused: 0 };

  constructor(options: PublicationsOptions) {
    this.#options = options;
    this.#told = new ThrottledLog(options);
  }

  get size(): number {
    return this.#published.size;
  }

  get pending(): number {
    let count = this.#withdrawals.size;
    for (const { version, inForce } of this.#published.values()) if (inForce < version) count++;
    return count;
  }

  /** Begins to publish; an earlier publication of the same key in this client is over. */
  add(instance: StreamInstance, onSuperseded: (() => void) | undefined): Published {
    const key = encodeInstanceKey(instance);
    const lease = `${instance.service}\0${key.toString("latin1")}`;
    const record = encodeInstance(instance);
    const former = this.#published.get(lease);
    const published: Published = {
      lease,
      service: instance.service,
      key,
      record,
      incarnation: instance.incarnation,
      version: 1,
      inForce: 0,
      held: undefined,
      session: undefined,
      onSuperseded,
      over: false,
      waiters: [],
    };
    this.#published.set(lease, published);
    if (former !== undefined) this.#end(former);
    this.#forgetWithdrawal(lease);
    this.#register(published);
    return published;
  }

  update(published: Published, instance: StreamInstance): void {
    const record = encodeInstance(instance);
    if (published.over) throw supersededError(published);
    published.record = record;
    published.incarnation = instance.incarnation;
    published.version++;
    this.#register(published);
  }

  /** Resolves when the newest value is in force. */
  inForce(published: Published): Promise<void> {
    return new Promise((resolve, reject) => {
      if (published.over) reject(supersededError(published));
      else if (published.inForce >= published.version) resolve();
      else published.waiters.push({ version: published.version, resolve, reject });
    });
  }

  /** Resolves when the registry has it no more; at once when it never heard of it. */
  withdraw(published: Published): Promise<void> {
    if (published.over || this.#published.get(published.lease) !== published) return Promise.resolve();
    this.#published.delete(published.lease);
    published.over = true;
    for (const waiter of published.waiters.splice(0)) waiter.reject(withdrawnError(published));
    const { session, incarnation } = published;
    if (session === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const withdrawal: Withdrawal = { published, session, incarnation, sent: false, resolve };
      this.#withdrawals.set(published.lease, withdrawal);
      this.#deregister(withdrawal);
    });
  }

  onOpen(session: Revision): void {
    this.#session = session;
    this.#requests.clear();
    for (const withdrawal of this.#withdrawals.values()) this.#deregister(withdrawal);
    for (const published of this.#published.values()) this.#register(published);
  }

  onRegistered(message: Registered): void {
    const request = this.#take(message.request, "register");
    if (request === undefined) return;
    const { published, version } = request;
    published.held = message.stamp;
    published.inForce = Math.max(published.inForce, version);
    const waiting = published.waiters;
    published.waiters = waiting.filter((waiter) => waiter.version > version);
    for (const waiter of waiting) if (waiter.version <= version) waiter.resolve();
  }

  onDeregistered(message: Deregistered): void {
    const request = this.#take(message.request, "deregister");
    if (request !== undefined) this.#withdrawn(request.withdrawal);
  }

  onSuperseded(message: Superseded): void {
    this.#requests.delete(message.request);
    const published = this.#published.get(`${message.service}\0${message.key.toString("latin1")}`);
    // A notice about an ownership that has been renewed since is late; one while the first register is on its way too.
    if (published?.held === undefined || compareRevisions(message.stamp, published.held) <= 0) return;
    this.counts.superseded++;
    this.#told.info(
      published.service,
      { service: published.service },
      "another owner registered the same instance later",
    );
    this.#published.delete(published.lease);
    this.#end(published);
  }

  onFailure(message: StreamFailure): void {
    const request = this.#requests.get(message.request);
    this.#requests.delete(message.request);
    if (request?.kind === "deregister") return this.#withdrawn(request.withdrawal);
    if (request === undefined || this.#published.get(request.published.lease) !== request.published) return;
    const { published } = request;
    this.counts.refused++;
    const fields = { service: published.service, code: message.code, text: message.text };
    if (message.retryAfterMs > 0) {
      this.#told.warn(message.code, fields, "the registry does not take an instance now and is asked again");
      this.#options.clock.after(message.retryAfterMs, () => {
        if (!published.over && published.inForce < published.version) this.#register(published);
      });
      return;
    }
    this.#told.error(message.code, fields, "the registry refuses an instance");
    this.#published.delete(published.lease);
    published.over = true;
    const error = new MeshError(
      "registry.refused",
      `the registry refuses ${published.service}: ${message.text}`,
      fields,
    );
    for (const waiter of published.waiters.splice(0)) waiter.reject(error);
  }

  /** Nothing can be in force any more. */
  close(): void {
    const error = new MeshError("registry.closed", "the connection to the registry was closed");
    for (const published of this.#published.values()) {
      for (const waiter of published.waiters.splice(0)) waiter.reject(error);
    }
    for (const withdrawal of this.#withdrawals.values()) withdrawal.resolve();
    this.#published.clear();
    this.#withdrawals.clear();
  }

  #register(published: Published): void {
    if (!this.#options.isOpen()) return;
    published.session = this.#session;
    const { service, record, version, held } = published;
    const request = this.#next({ kind: "register", published, version });
    this.#options.send({
      type: "register",
      request,
      claim: held === undefined,
      held: held ?? zeroRevision,
      service,
      record,
    });
  }

  #deregister(withdrawal: Withdrawal): void {
    if (!this.#options.isOpen()) return;
    withdrawal.sent = true;
    const { published, session, incarnation } = withdrawal;
    const { service, key } = published;
    const request = this.#next({ kind: "deregister", withdrawal });
    this.#options.send({ type: "deregister", request, session, incarnation, service, key });
  }

  /** The same key is published again: a deletion that was not sent yet would only take the successor's place away. */
  #forgetWithdrawal(lease: string): void {
    const withdrawal = this.#withdrawals.get(lease);
    if (withdrawal !== undefined) this.#withdrawn(withdrawal);
  }

  #withdrawn(withdrawal: Withdrawal): void {
    const { lease } = withdrawal.published;
    if (this.#withdrawals.get(lease) === withdrawal) this.#withdrawals.delete(lease);
    withdrawal.resolve();
  }

  #end(published: Published): void {
    published.over = true;
    const error = supersededError(published);
    for (const waiter of published.waiters.splice(0)) waiter.reject(error);
    published.onSuperseded?.();
  }

  #next(request: Request): number {
    this.#request = this.#request >= 0xffff_ffff ? 1 : this.#request + 1;
    this.#requests.set(this.#request, request);
    return this.#request;
  }

  #take<Kind extends Request["kind"]>(number: number, kind: Kind): Extract<Request, { kind: Kind }> | undefined {
    const request = this.#requests.get(number);
    this.#requests.delete(number);
    return request?.kind === kind ? (request as Extract<Request, { kind: Kind }>) : undefined;
  }
}

function supersededError(published: Published): MeshError {
  const details = { service: published.service };
  return new MeshError("registry.superseded", `${published.service} is published by another owner now`, details);
}

function withdrawnError(published: Published): MeshError {
  const details = { service: published.service };
  return new MeshError("registry.withdrawn", `${published.service} was withdrawn before it was in force`, details);
}
