/**
 * The providers of one interface as they are shown: what the servers list, read as instances and divided into services (versions, groups,
 * unique ids). A service that is suddenly empty, or has lost most of its providers, is not believed at once: what is missing
 * after a reconnect stays for a while, since providers find their way back after an outage too; what is seen to go is asked for once more.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Instance } from "@dualmesh/model/instance";
import type { Layout } from "../layout.ts";
import { ChildList, type ChildListOptions } from "./child-list.ts";
import type { ZooKeeperKeep } from "./keep.ts";
import { readPublished } from "./published-name.ts";

/** A set of at least this many is sharply shrunk when less than half is left. */
const smallestSharpSet = 4;
/**
 * A list that is seen to become empty is believed after this: calls would fail either way, and a provider whose session was lost, but
 * nothing else, comes back by itself.
 */
const emptyMs = 10_000;

/** Changes of a list of so many are gathered for a moment, since each showing of it costs its length. */
const longList = 500;
const gatherMs = 20;

export type Providers = ReadonlyMap<string, Instance>;

export interface InterfaceListOptions extends Pick<ChildListOptions, "client" | "told"> {
  readonly layout: Layout;
  readonly interfaceName: string;
  readonly clock: Clock;
  readonly keep: ZooKeeperKeep;
  /** The names on disk. */
  readonly remembered: ReadonlySet<string> | undefined;
  /** Clock time from which a list that shrank may be believed, if it is confirmed. */
  readonly settledAt: () => number;
  /** A node that this directory itself has taken back. */
  readonly isTakenBack: (path: string) => boolean;
  readonly onChange: (list: InterfaceList) => void;
}

const nobody: Providers = new Map();

export class InterfaceList {
  readonly path: string;
  readonly layout: Layout;
  readonly interfaceName: string;
  readonly children: ChildList;
  readonly #options: InterfaceListOptions;
  readonly #instances = new Map<string, Instance | undefined>();
  readonly #kept: Set<string>;
  readonly #held = new Set<string>();
  /** What this connection itself has listed: of these, a loss was seen to happen. */
  readonly #seen = new Set<string>();
  #shown = new Map<string, Providers>();
  #isKept: boolean;
  #wasRead = false;
  #due = false;
  #asking: "no" | "waiting" | "asked" = "no";
  #timer: Timer | undefined;
  /** There is something to show: an answer, or what was on disk. */
  deliverable: boolean;
  /** Wall time up to which it was last proven; 0 when never. */
  freshSince = 0;
  readonly counts = { held: 0 };

  constructor(options: InterfaceListOptions) {
    this.#options = options;
    this.layout = options.layout;
    this.interfaceName = options.interfaceName;
    this.path = options.layout.providersPath(options.interfaceName);
    this.#kept = new Set(options.remembered);
    this.#isKept = options.remembered !== undefined;
    this.deliverable = this.#isKept;
    this.#shown = this.#grouped(this.#kept);
    const { client, told } = options;
    const onNames = (_: ReadonlySet<string>, read: boolean): void => this.#onNames(read);
    this.children = new ChildList({ client, told, path: this.path, recursive: true, onNames });
  }

  /** By service. */
  get shown(): ReadonlyMap<string, Providers> {
    return this.#shown;
  }

  isHeld(service: string): boolean {
    return this.#held.has(service);
  }

  /** Keeps the list on disk from now on. */
  remember(): void {
    this.#isKept = true;
    this.#save();
  }

  /** Everything that happened before this moment has been told. */
  proven(wall: number): void {
    if (this.children.answered) this.freshSince = wall;
  }

  down(): void {
    this.children.down();
    this.#timer?.cancel();
    this.#asking = "no";
    this.#seen.clear();
  }

  close(): void {
    this.down();
    for (const name of this.#kept) this.#options.keep.deleteName(this.path, name);
    this.#kept.clear();
    this.#isKept = false;
  }

  /** Ends without forgetting what is on disk. */
  leave(): void {
    this.down();
  }

  /** What one read of the socket brings is shown together; of a long list, what a moment brings. */
  #onNames(read: boolean): void {
    this.#wasRead ||= read;
    if (this.#due) return;
    this.#due = true;
    const show = (): void => {
      this.#due = false;
      if (this.children.answered) this.#show();
    };
    if (this.children.names.size < longList) queueMicrotask(show);
    else this.#options.clock.after(gatherMs, show);
  }

  #show(): void {
    const { clock, onChange } = this.#options;
    const believed = this.#asking === "asked" && this.#wasRead;
    this.#wasRead = false;
    const next = this.#grouped(this.children.names);
    let waitMs = 0;
    this.#held.clear();
    for (const [service, known] of this.#shown) {
      const left = next.get(service) ?? nobody;
      if (believed || !this.#isSuspicious(known, left)) continue;
      this.#held.add(service);
      waitMs = Math.max(waitMs, this.#patienceMs(known, left));
      next.set(service, new Map([...known, ...left]));
    }
    if (believed) this.#asking = "no";
    this.#seen.clear();
    for (const name of this.children.names) this.#seen.add(name);
    this.#shown = next;
    this.deliverable = true;
    this.freshSince = clock.wall();
    if (this.#held.size > 0) this.#ask(waitMs);
    if (this.#isKept) this.#save();
    onChange(this);
  }

  #isSuspicious(known: Providers, next: Providers): boolean {
    let count = 0;
    for (const name of known.keys()) if (next.has(name) || !this.#options.isTakenBack(`${this.path}/${name}`)) count++;
    if (count === 0) return false;
    return next.size === 0 || (count >= smallestSharpSet && next.size * 2 < count);
  }

  /** What a new connection does not list has the time to come back that this connection had; what was seen to go is asked for sooner. */
  #patienceMs(known: Providers, left: Providers): number {
    const { clock, settledAt } = this.#options;
    for (const name of known.keys())
      if (!left.has(name) && !this.#seen.has(name)) return Math.max(emptyMs, settledAt() - clock.now());
    return left.size === 0 ? emptyMs : 0;
  }

  #ask(waitMs: number): void {
    if (this.#asking !== "no") return;
    const { clock, told } = this.#options;
    const fields = { path: this.path, services: [...this.#held].slice(0, 10), waitMs };
    told.warn(
      this.path,
      fields,
      "a list in ZooKeeper has lost all or most of its providers; what was known stays until it is confirmed",
    );
    this.counts.held++;
    this.#asking = "waiting";
    this.#timer = clock.after(waitMs, () => {
      this.#asking = "asked";
      this.children.confirm();
    });
  }

  #grouped(names: Iterable<string>): Map<string, Providers> {
    const groups = new Map<string, Map<string, Instance>>();
    const present = new Set<string>();
    for (const name of names) {
      present.add(name);
      let instance = this.#instances.get(name);
      if (instance === undefined && !this.#instances.has(name)) {
        instance = readPublished(this.layout, this.interfaceName, name);
        this.#instances.set(name, instance);
      }
      if (instance === undefined) continue;
      const group = groups.get(instance.service);
      if (group === undefined) groups.set(instance.service, new Map([[name, instance]]));
      else group.set(name, instance);
    }
    if (this.#instances.size > present.size * 2 + 100)
      for (const name of [...this.#instances.keys()]) if (!present.has(name)) this.#instances.delete(name);
    return groups;
  }

  #save(): void {
    const { keep } = this.#options;
    const names = new Set([...this.#shown.values()].flatMap((providers) => [...providers.keys()]));
    for (const name of this.#kept) if (!names.has(name)) keep.deleteName(this.path, name);
    for (const name of names) if (!this.#kept.has(name)) keep.putName(this.path, name);
    this.#kept.clear();
    for (const name of names) this.#kept.add(name);
  }
}
