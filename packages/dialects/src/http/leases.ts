/**
 * The registrations of the HTTP door. Each is a lease: it lives with its client's connection, or for so long after its last heartbeat.
 * There is one for each instance; who registers the same instance again takes it over, so that nothing is missing in between.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Publication } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { DoorContext } from "../door.ts";
import { dialect, instanceLimits, type PostedInstance, readInstance } from "./layout.ts";
import { busy } from "./problem.ts";

export interface LeasesOptions {
  readonly context: DoorContext;
  /** The host of an instance whose client calls by loopback and does not state one; of others it is the client's own address. */
  readonly advertise: string | undefined;
  readonly graceMs: number;
  readonly maxInstances: number;
  readonly maxInstancesOfClient: number;
}

export type LeaseState =
  | { readonly kind: "pending" | "in-force" | "ended" }
  /** The instance was registered again elsewhere, or by another client here: it must not be registered again by itself. */
  | { readonly kind: "superseded" }
  | { readonly kind: "failed"; readonly error: unknown };

export interface Lease {
  readonly id: string;
  readonly remote: string;
  /** Undefined for one that lives with its connection. */
  readonly ttlMs: number | undefined;
  readonly instance: Instance;
  readonly state: LeaseState;
  /** Calls `listener` after each change of the state, until it is called again without one. */
  onChange(listener: (() => void) | undefined): void;
}

interface OwnLease extends Lease {
  state: LeaseState;
  listener: (() => void) | undefined;
  readonly text: string;
  readonly client: string;
  held: Held;
  timer: Timer | undefined;
}

/** An instance that is published, whoever holds its lease. */
interface Held {
  readonly key: string;
  instance: Instance;
  lease: OwnLease;
  publication: Publication | undefined;
  readonly giveUp: AbortController;
  over: boolean;
}

interface Stored {
  readonly text: string;
  readonly host: string;
  readonly ttlMs: number;
  readonly incarnation: number;
  readonly startedAt: number;
  readonly remote: string;
}

export interface Registering {
  readonly posted: PostedInstance;
  readonly remote: string;
  /** Undefined: it lives with the connection. */
  readonly ttlMs: number | undefined;
  /** The id that this client's former connection was given: then it is the same process, and nothing changes for subscribers. */
  readonly resumes: string;
}

const connectionGone = "an instance was withdrawn since its client's connection is gone";
const journalPrefix = "instance/";
/** Superseded leases whose clients are told so for a while; beyond, the oldest is forgotten and its client registers again. */
const maxSuperseded = 1_024;

export class Leases {
  readonly #options: LeasesOptions;
  readonly #clock: Clock;
  readonly #leases = new Map<string, OwnLease>();
  readonly #held = new Map<string, Held>();
  readonly #ofClient = new Map<string, number>();
  readonly #superseded = new Set<string>();
  #lastIncarnation = 0;
  #closed = false;

  constructor(options: LeasesOptions) {
    this.#options = options;
    this.#clock = options.context.clock;
    for (const [key, value] of [...options.context.journal.entries()]) {
      if (key.startsWith(journalPrefix)) this.#restore(key, value);
    }
  }

  get all(): Iterable<Lease> {
    return this.#leases.values();
  }

  /** Throws a `Problem` at a limit. */
  register({ posted, remote, ttlMs, resumes }: Registering): Lease {
    const client = addressOf(remote);
    const host = posted.host ?? (isLoopback(client) ? this.#options.advertise : undefined) ?? client;
    const instance = instanceOf(posted, host, this.#nextIncarnation(), this.#clock.wall());
    const key = instanceKeyText(instance);
    const held = this.#held.get(key);
    if (held === undefined || held.lease.client !== client) this.#checkRoom(client);
    // Without a warm-up, subscribers need not know whether it is the same process or the next one with the same words.
    const alike = held !== undefined && held.lease.text === posted.text;
    const same = alike && (held.lease.id === resumes || posted.warmupMs === 0);
    return this.#take({
      held,
      key,
      instance: same ? held.instance : instance,
      posted,
      remote,
      client,
      ttlMs,
      id: this.#newId(),
    });
  }

  /** The lease of an id; undefined when there is none (any more). */
  find(id: string): Lease | undefined {
    return this.#leases.get(id);
  }

  wasSuperseded(id: string): boolean {
    return this.#superseded.has(id);
  }

  /** A heartbeat. */
  renew(lease: Lease): void {
    const own = lease as OwnLease;
    if (own.ttlMs !== undefined) this.#endAfter(own, own.ttlMs, "an instance whose heartbeats ended was withdrawn");
  }

  /** The connection that a lease lives with stands. */
  joined(lease: Lease): void {
    (lease as OwnLease).timer?.cancel();
  }

  /** The connection of a lease is gone: it ends after the grace time unless somebody takes it over. */
  left(lease: Lease): void {
    const own = lease as OwnLease;
    own.listener = undefined;
    if (this.#leases.get(own.id) !== own || this.#closed) return;
    this.#endAfter(own, this.#options.graceMs, connectionGone);
  }

  /** Resolves when the withdrawal is in force. */
  async withdraw(lease: Lease): Promise<void> {
    const { held } = lease as OwnLease;
    if (held.lease !== lease) return;
    this.#forget(held, { kind: "ended" });
    held.giveUp.abort();
    await held.publication?.withdraw();
  }

  /** What is published stays with the directory, whose owner decides; clients come back to this door's successor. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const lease of this.#leases.values()) lease.timer?.cancel();
    for (const held of this.#held.values()) if (held.publication === undefined) held.giveUp.abort();
    await this.#options.context.journal.flushed();
  }

  #checkRoom(client: string): void {
    const { maxInstances, maxInstancesOfClient } = this.#options;
    if (this.#leases.size >= maxInstances)
      throw busy("too-many-instances", `this door holds ${maxInstances} instances and takes no more`);
    if ((this.#ofClient.get(client) ?? 0) >= maxInstancesOfClient) {
      throw busy(
        "too-many-instances",
        `${client} has registered ${maxInstancesOfClient} instances, which is as many as one address may`,
      );
    }
  }

  #take(taken: {
    readonly held: Held | undefined;
    readonly key: string;
    readonly instance: Instance;
    readonly posted: Pick<PostedInstance, "text">;
    readonly remote: string;
    readonly client: string;
    readonly ttlMs: number | undefined;
    readonly id: string;
  }): OwnLease {
    const { key, instance, posted, remote, client, ttlMs, id } = taken;
    const lease: OwnLease = {
      id,
      remote,
      client,
      ttlMs,
      text: posted.text,
      instance,
      state: { kind: "pending" },
      listener: undefined,
      onChange(listener) {
        lease.listener = listener;
      },
      held: undefined as unknown as Held, // set below: the two name each other
      timer: undefined,
    };
    if (taken.held === undefined) {
      lease.held = { key, instance, lease, publication: undefined, giveUp: new AbortController(), over: false };
      this.#held.set(key, lease.held);
      this.#publish(lease.held);
    } else {
      const { held } = taken;
      lease.held = held;
      const former = held.lease;
      const wasInForce = former.state.kind === "in-force";
      held.lease = lease;
      this.#drop(former, { kind: "superseded" });
      if (held.instance === instance) this.#change(lease, wasInForce ? { kind: "in-force" } : lease.state);
      else this.#update(held, instance);
    }
    this.#leases.set(id, lease);
    this.#ofClient.set(client, (this.#ofClient.get(client) ?? 0) + 1);
    this.#store(lease);
    // A connection that broke before it was answered has its grace time too, after the time that the answer may take.
    if (ttlMs === undefined) this.#endAfter(lease, 2 * this.#options.graceMs, connectionGone);
    else this.renew(lease);
    return lease;
  }

  #publish(held: Held): void {
    const { instance, giveUp } = held;
    const onSuperseded = (): void => this.#forget(held, { kind: "superseded" });
    this.#options.context.directory.publish(instance, { signal: giveUp.signal, onSuperseded }).then(
      (publication) => {
        held.publication = publication;
        if (giveUp.signal.aborted) this.#settle(held, publication.withdraw());
        else if (held.instance !== instance) this.#update(held, held.instance);
        else this.#change(held.lease, { kind: "in-force" });
      },
      (error: unknown) => {
        if (!giveUp.signal.aborted) this.#failed(held, error);
      },
    );
  }

  #update(held: Held, instance: Instance): void {
    held.instance = instance;
    if (held.publication === undefined) return; // told as soon as the first one is in force
    held.publication.update(instance).then(
      () => {
        if (held.instance === instance) this.#change(held.lease, { kind: "in-force" });
      },
      (error: unknown) => {
        if (!held.over) this.#failed(held, error);
      },
    );
  }

  #failed(held: Held, error: unknown): void {
    if (this.#closed) return;
    const { service, application } = held.instance;
    this.#options.context.log.warn(
      { service, application, error: messageOf(error) },
      "an instance could not be published",
    );
    this.#forget(held, { kind: "failed", error });
  }

  #settle(held: Held, outcome: Promise<void>): void {
    outcome.catch((error: unknown) =>
      this.#options.context.log.warn(
        { service: held.instance.service, error: messageOf(error) },
        "an instance could not be withdrawn",
      ),
    );
  }

  #endAfter(lease: OwnLease, delayMs: number, text: string): void {
    lease.timer?.cancel();
    lease.timer = this.#clock.after(delayMs, () => {
      const { service, application } = lease.instance;
      this.#options.context.log.info({ service, application, remote: lease.remote }, text);
      this.#settle(lease.held, this.withdraw(lease));
    });
  }

  #forget(held: Held, state: LeaseState): void {
    if (held.over) return;
    held.over = true;
    if (this.#held.get(held.key) === held) this.#held.delete(held.key);
    this.#drop(held.lease, state);
  }

  #drop(lease: OwnLease, state: LeaseState): void {
    lease.timer?.cancel();
    this.#leases.delete(lease.id);
    const left = (this.#ofClient.get(lease.client) ?? 1) - 1;
    if (left > 0) this.#ofClient.set(lease.client, left);
    else this.#ofClient.delete(lease.client);
    this.#options.context.journal.delete(journalPrefix + lease.id);
    if (state.kind === "superseded") {
      this.#superseded.add(lease.id);
      const oldest = this.#superseded.values().next().value;
      if (this.#superseded.size > maxSuperseded && oldest !== undefined) this.#superseded.delete(oldest);
    }
    this.#change(lease, state);
  }

  #change(lease: OwnLease, state: LeaseState): void {
    lease.state = state;
    lease.listener?.();
  }

  #store({ id, text, instance, ttlMs, remote }: OwnLease): void {
    if (ttlMs === undefined) return;
    const { host, incarnation, startedAt } = instance;
    const stored: Stored = { text, host, ttlMs, incarnation, startedAt, remote };
    this.#options.context.journal.put(journalPrefix + id, JSON.stringify(stored));
  }

  /** What a former process held gets its whole time again: who was not there cannot judge who kept silent. */
  #restore(key: string, value: Buffer): void {
    const { journal, log } = this.#options.context;
    const stored = readStored(value);
    const posted = stored === undefined ? undefined : readPosted(stored.text);
    if (stored === undefined || posted === undefined) {
      log.warn({ key }, "an entry of the HTTP door's journal could not be read and is left out");
      return journal.delete(key);
    }
    this.#lastIncarnation = Math.max(this.#lastIncarnation, stored.incarnation);
    const instance = instanceOf(posted, stored.host, stored.incarnation, stored.startedAt);
    const held = this.#held.get(instanceKeyText(instance));
    this.#take({
      ...stored,
      held,
      key: instanceKeyText(instance),
      instance,
      posted,
      client: addressOf(stored.remote),
      id: key.slice(journalPrefix.length),
    });
  }

  #nextIncarnation(): number {
    this.#lastIncarnation = Math.max(this.#clock.wall(), this.#lastIncarnation + 1);
    return this.#lastIncarnation;
  }

  /** Who knows it may end the registration, so it cannot be guessed. */
  #newId(): string {
    return this.#options.context.random.bytes(16).toString("hex");
  }
}

/** The address of `address:port`, as others write it. */
export function addressOf(remote: string): string {
  const colon = remote.lastIndexOf(":");
  return (colon < 0 ? remote : remote.slice(0, colon)).replace(/^\[(.*)\]$/, "$1").replace(/^::ffff:/, "");
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

function instanceOf(posted: PostedInstance, host: string, incarnation: number, startedAt: number): Instance {
  const { service, application, port, weight, warmupMs, zone, labels, text } = posted;
  return {
    service,
    host,
    application,
    appPort: port,
    address: host,
    port,
    weight,
    warmupMs,
    startedAt,
    zone,
    labels,
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation,
    registration: { dialect, text },
  };
}

function readPosted(text: string): PostedInstance | undefined {
  try {
    return readInstance(Buffer.from(text));
  } catch {
    return undefined; // written by a version that took more: the caller says so
  }
}

function readStored(value: Buffer): Stored | undefined {
  try {
    const stored = JSON.parse(value.toString("utf8")) as Record<string, unknown>;
    const { text, host, ttlMs, incarnation, startedAt, remote } = stored;
    if (typeof text !== "string" || typeof host !== "string" || typeof remote !== "string") return undefined;
    if (typeof ttlMs !== "number" || ttlMs < instanceLimits.shortestTtlMs) return undefined;
    if (typeof incarnation !== "number" || typeof startedAt !== "number") return undefined;
    return { text, host, ttlMs, incarnation, startedAt, remote };
  } catch {
    return undefined; // the caller says so and goes on without it
  }
}
