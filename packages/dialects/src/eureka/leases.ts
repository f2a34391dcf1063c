/**
 * The registrations of the Eureka door. Each is a lease that its client renews; it is on disk, so that a renewal after a restart finds it. An
 * instance is published while it is up, and withdrawn in order when it says that it is not.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import { hostOf, type ThrottledLog } from "@dualmesh/base/throttled-log";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import type { DoorContext, DoorSession } from "../door.ts";
import { type Claimant, Publisher } from "../publisher.ts";
import { isMembers, memberObject, withMembers } from "./document.ts";
import { type EurekaRegistration, instancesOf, readRegistration, type Shown, shownMembers } from "./layout.ts";
import { Refusal } from "./refusal.ts";
import { type StoredLease, storedLease, storeKey, storePrefix } from "./store.ts";

export interface LeasesOptions {
  readonly context: DoorContext;
  readonly told: ThrottledLog;
  readonly maxInstances: number;
  readonly maxApps: number;
}

export interface Lease {
  readonly app: string;
  readonly id: string;
  readonly registration: EurekaRegistration;
}

interface OwnLease extends Lease, Claimant {
  registration: EurekaRegistration;
  /** Set from outside; empty for none. */
  override: string;
  incarnation: number;
  registeredAt: number;
  remote: string;
  timer: Timer | undefined;
  /** By key. */
  readonly published: Map<string, Instance>;
}

type State = Pick<OwnLease, "registration" | "override" | "incarnation" | "registeredAt" | "remote">;

/** How long an answer waits for the directory to take an instance on. */
const acceptWaitMs = 1_000;
/** A client whose clock is that far ahead does not say what comes later. */
const maxAheadMs = 86_400_000;
/** A lease that ends so much too late was judged by a process that stood still. */
const stalledMs = 2_000;

export class Leases {
  readonly #options: LeasesOptions;
  readonly #clock: Clock;
  readonly #publisher: Publisher<OwnLease>;
  readonly #apps = new Map<string, Map<string, OwnLease>>();
  #count = 0;
  #closed = false;

  constructor(options: LeasesOptions) {
    this.#options = options;
    const { context, told } = options;
    this.#clock = context.clock;
    this.#publisher = new Publisher({ directory: context.directory, clock: context.clock, told });
    for (const [key, value] of [...context.journal.entries()])
      if (key.startsWith(storePrefix)) this.#restore(key, value);
  }

  /** Resolves when it is on disk and the directory has taken it on. Rejects with a `Refusal`, or with what the directory says. */
  async register(registration: EurekaRegistration, remote: string): Promise<void> {
    const known = this.#find(registration.app, registration.id);
    if (known === undefined) this.#checkRoom(registration.app);
    const wall = this.#clock.wall();
    const dirty = registration.dirty > wall + maxAheadMs || registration.dirty === 0 ? wall : registration.dirty;
    const same = known?.registration.text === registration.text;
    const state: State = {
      registration,
      override: known?.override ?? "",
      incarnation: same ? known.incarnation : Math.max(dirty, (known?.incarnation ?? 0) + 1),
      registeredAt: known?.registeredAt ?? wall,
      remote,
    };
    await this.#change(known ?? this.#create(registration, state), known, state);
  }

  /** False when the client is to register again. */
  renew(app: string, id: string, dirty: number): boolean {
    const lease = this.#find(app, id);
    if (lease === undefined || dirty > lease.registration.dirty) return false;
    this.#rearm(lease);
    return true;
  }

  /** Sets a status from outside, or takes it back with an empty one. False when there is no such instance. */
  async override(app: string, id: string, override: string): Promise<boolean> {
    const lease = this.#find(app, id);
    if (lease === undefined) return false;
    await this.#change(lease, lease, { ...stateOf(lease), override });
    return true;
  }

  async setMetadata(app: string, id: string, entries: Iterable<[string, string]>): Promise<boolean> {
    const lease = this.#find(app, id);
    if (lease === undefined) return false;
    const posted = JSON.parse(lease.registration.text) as Readonly<Record<string, unknown>>;
    const metadata = withMembers(memberObject(posted, "metadata"));
    for (const [name, value] of entries) metadata[name] = value;
    const registration = readRegistration(withMembers(posted, { metadata }), lease.app);
    await this.#change(lease, lease, { ...stateOf(lease), registration });
    return true;
  }

  /** False when there is no such instance. */
  async cancel(app: string, id: string): Promise<boolean> {
    const lease = this.#find(app, id);
    if (lease === undefined) return false;
    this.#end(lease);
    await this.#flushed();
    return true;
  }

  find(app: string, id: string): Shown | undefined {
    const lease = this.#find(app, id);
    return lease === undefined ? undefined : shownLease(lease);
  }

  findById(id: string): Shown | undefined {
    for (const leases of this.#apps.values()) {
      const lease = leases.get(id);
      if (lease !== undefined) return shownLease(lease);
    }
    return undefined;
  }

  /** The vip of a service as it was registered here. */
  vipOf(service: string): string | undefined {
    const name = parseServiceText(service)?.name;
    for (const { registration } of this.#all()) {
      if (!registration.services.includes(service)) continue;
      const posted: unknown = JSON.parse(registration.text);
      const vips = isMembers(posted) && typeof posted["vipAddress"] === "string" ? posted["vipAddress"].split(",") : [];
      const vip = vips.map((one) => one.trim()).find((one) => one.toLowerCase() === name);
      if (vip !== undefined) return vip;
    }
    return undefined;
  }

  sessions(): readonly DoorSession[] {
    return [...this.#all()].map((lease) => ({
      id: lease.id,
      remote: lease.remote,
      application: lease.app.toLowerCase(),
      publishes: [...lease.published.values()].map(({ service }) => service),
      watches: [], // Eureka's clients read everything
      bypassed: lease.registration.services
        .map((service) => ({ registration: service, reason: this.#whyBypassed(lease, service) }))
        .filter(({ reason }) => reason !== ""),
    }));
  }

  /** What is published stays with the directory, whose owner decides; clients come back to this door's successor. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const lease of this.#all()) lease.timer?.cancel();
    this.#publisher.close();
    await this.#options.context.journal.flushed();
  }

  #whyBypassed(lease: OwnLease, service: string): string {
    if (lease.refused !== "") return lease.refused;
    return service.startsWith("https/") && this.#options.context.place === "sidecar" ? "TLS is not carried" : "";
  }

  *#all(): Iterable<OwnLease> {
    for (const leases of this.#apps.values()) yield* leases.values();
  }

  #find(app: string, id: string): OwnLease | undefined {
    return this.#apps.get(app.toUpperCase())?.get(id);
  }

  #checkRoom(app: string): void {
    const { maxInstances, maxApps } = this.#options;
    if (this.#count >= maxInstances)
      throw new Refusal(
        503,
        `this door holds ${maxInstances} instances and takes no more: end some, or register elsewhere`,
        30,
      );
    if (!this.#apps.has(app) && this.#apps.size >= maxApps)
      throw new Refusal(
        503,
        `this door holds ${maxApps} applications and takes no more: end some, or register elsewhere`,
        30,
      );
  }

  #create({ app, id }: EurekaRegistration, state: State): OwnLease {
    const leases = this.#apps.get(app) ?? new Map<string, OwnLease>();
    const drop = (lease: OwnLease): void => this.#drop(lease);
    let over = false;
    const lease: OwnLease = {
      app,
      id,
      ...state,
      timer: undefined,
      published: new Map(),
      refused: "",
      get superseded() {
        return over;
      },
      // The publisher says so: somebody registered the same instance later elsewhere, and it must not come back by itself.
      set superseded(superseded: boolean) {
        over = superseded;
        if (superseded) drop(lease);
      },
    };
    leases.set(id, lease);
    this.#apps.set(app, leases);
    this.#count++;
    return lease;
  }

  /** Puts a state in force; where it is refused, the former one is again. */
  async #change(lease: OwnLease, former: OwnLease | undefined, state: State): Promise<void> {
    const before = former === undefined ? undefined : stateOf(former);
    Object.assign(lease, state);
    this.#keep(lease);
    this.#rearm(lease);
    try {
      const taken = this.#apply(lease, "new");
      taken.catch(() => {}); // heard of below, unless the disk refuses first
      await this.#flushed();
      await this.#atMost(lease, taken);
    } catch (error) {
      if (this.#find(lease.app, lease.id) === lease && lease.registration === state.registration)
        this.#undo(lease, before);
      throw error;
    }
  }

  #undo(lease: OwnLease, before: State | undefined): void {
    if (before === undefined) return this.#end(lease);
    Object.assign(lease, before);
    this.#keep(lease);
    this.#apply(lease, "kept").catch((error: unknown) => this.#lost(lease, error));
  }

  /** What ends is withdrawn once the directory has taken on what is new: a service never has nobody in between. */
  async #apply(lease: OwnLease, how: "new" | "kept"): Promise<void> {
    const { registration, incarnation, registeredAt, published } = lease;
    const wanted = isUp(lease) ? instancesOf(registration, { incarnation, registeredAt }) : [];
    const leaving = new Map(published);
    const taken: Promise<void>[] = [];
    for (const instance of wanted) {
      const key = instanceKeyText(instance);
      const former = published.get(key);
      leaving.delete(key);
      if (former !== undefined && JSON.stringify(former) === JSON.stringify(instance)) continue;
      published.set(key, instance);
      taken.push(this.#publisher.publish(lease, instance, how === "kept"));
    }
    if (taken.length > 0) await Promise.all(taken);
    for (const [key, instance] of leaving) {
      if (published.get(key) !== instance) continue; // it came back while this waited
      published.delete(key);
      this.#publisher.withdraw(lease, instance);
    }
  }

  /** What the directory says later than that does not reach the client: it is to register again, and hears it then. */
  async #atMost(lease: OwnLease, taken: Promise<unknown>): Promise<void> {
    let late = false;
    const patience = Promise.withResolvers<void>();
    const timer = this.#clock.after(acceptWaitMs, () => {
      late = true;
      patience.resolve();
    });
    const watched = taken.catch((error: unknown) => {
      if (!late) throw error;
      this.#lost(lease, error);
    });
    try {
      await Promise.race([watched, patience.promise]);
    } finally {
      timer.cancel();
    }
  }

  #lost(lease: OwnLease, error: unknown): void {
    if (this.#closed || this.#find(lease.app, lease.id) !== lease) return;
    const fields = { app: lease.app, id: lease.id, error: messageOf(error) };
    this.#options.told.error(`${lease.app} ${lease.id}`, fields, "a registration was refused by the directory");
    this.#end(lease);
  }

  #rearm(lease: OwnLease): void {
    lease.timer?.cancel();
    const { leaseMs } = lease.registration;
    const due = this.#clock.now() + leaseMs;
    lease.timer = this.#clock.after(leaseMs, () => {
      // Who was stopped itself has not heard the renewals that wait in its sockets.
      if (this.#clock.now() > due + stalledMs) return this.#rearm(lease);
      const { app, id, remote } = lease;
      this.#options.told.info(hostOf(remote), { app, id, remote }, "an instance that was not renewed is withdrawn");
      this.#end(lease);
    });
  }

  #end(lease: OwnLease): void {
    this.#drop(lease);
  }

  #drop(lease: OwnLease): void {
    lease.timer?.cancel();
    const leases = this.#apps.get(lease.app);
    if (leases?.get(lease.id) !== lease) return;
    leases.delete(lease.id);
    if (leases.size === 0) this.#apps.delete(lease.app);
    this.#count--;
    this.#options.context.journal.delete(storeKey(lease.app, lease.id));
    // Superseded in one of its services, it is over in the others too.
    for (const instance of lease.published.values()) this.#publisher.withdraw(lease, instance);
    lease.published.clear();
  }

  #keep(lease: OwnLease): void {
    const { app, id, registration, override, incarnation, registeredAt, remote } = lease;
    const stored: StoredLease = { text: registration.text, override, incarnation, registeredAt, remote };
    this.#options.context.journal.put(storeKey(app, id), JSON.stringify(stored));
  }

  async #flushed(): Promise<void> {
    try {
      await this.#options.context.journal.flushed();
    } catch (error) {
      throw new Refusal(503, `this cannot be kept on disk, so it is not taken: ${messageOf(error)}`, 10);
    }
  }

  /** What a former process held gets its whole time again: who was not there cannot judge who kept silent. */
  #restore(key: string, value: Buffer): void {
    const { journal, log } = this.#options.context;
    const stored = storedLease(value);
    if (stored === undefined) {
      log.warn({ key }, "an entry of the Eureka door's journal could not be read and is left out");
      return journal.delete(key);
    }
    const { registration } = stored;
    const lease = this.#create(registration, stored);
    this.#rearm(lease);
    this.#apply(lease, "kept").catch((error: unknown) => this.#lost(lease, error));
  }
}

function stateOf({ registration, override, incarnation, registeredAt, remote }: OwnLease): State {
  return { registration, override, incarnation, registeredAt, remote };
}

/** Who says that it is down or starting is believed; else what was set from outside. */
function statusOf({ registration: { status }, override }: OwnLease): string {
  return override === "" || status === "DOWN" || status === "STARTING" ? status : override;
}

function isUp(lease: OwnLease): boolean {
  return statusOf(lease) === "UP";
}

function shownLease(lease: OwnLease): Shown {
  const posted = JSON.parse(lease.registration.text) as Readonly<Record<string, unknown>>;
  const overriddenStatus = lease.override || "UNKNOWN";
  return shownMembers(withMembers(posted, { instanceId: lease.id, status: statusOf(lease), overriddenStatus }));
}
