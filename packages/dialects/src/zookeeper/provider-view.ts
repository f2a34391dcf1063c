/**
 * The list of an interface's providers as everybody at this door sees it: the instances that the directory gives for each service
 * of that interface, with an address that changed shown in two steps.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Directory, InstanceSet, Watch } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import { parseServiceText, serviceText } from "@dualmesh/model/service";
import { Overlap } from "../overlap.ts";
import type { Layout } from "./layout.ts";

/** How long a service stays watched after the last consumer that wanted it, in milliseconds. */
const lingerMs = 60_000;

export interface ProviderViewOptions {
  readonly layout: Layout;
  readonly interfaceName: string;
  readonly place: "registry" | "sidecar";
  readonly directory: Directory;
  readonly clock: Clock;
  /** How long an answer may wait for the directory's first word, in milliseconds. */
  readonly holdMs: number;
  /** The newest whole list. `first` once, when the directory has answered. */
  readonly onList: (names: ReadonlyMap<string, Instance>, first: boolean) => void;
  /** The directory refuses to watch a service: the others of the list are shown without it. */
  readonly onRefused?: (service: string, error: unknown) => void;
}

interface Service {
  readonly watch: Watch | undefined;
  readonly since: number;
  set: InstanceSet | undefined;
}

interface Waiter {
  readonly task: () => void;
  readonly timer: Timer;
}

export class ProviderView {
  readonly layout: Layout;
  readonly interfaceName: string;
  readonly path: string;
  readonly #options: ProviderViewOptions;
  readonly #services = new Map<string, Service>();
  readonly #overlap: Overlap<Instance>;
  readonly #names = new WeakMap<Instance, string>();
  readonly #waiters = new Set<Waiter>();
  readonly #catalogueWatch: Watch;
  #catalogue: ReadonlySet<string> | undefined;
  readonly #wanted = new Map<string, number>();
  /** Services that no consumer wants any more, for a while: a consumer that registers anew must not lose its providers. */
  readonly #lingering = new Map<string, Timer>();
  #ready = false;
  #expecting = false;
  #closed = false;
  /** When somebody last read the list. */
  usedAt: number;

  constructor(options: ProviderViewOptions) {
    this.#options = options;
    this.layout = options.layout;
    this.interfaceName = options.interfaceName;
    this.path = options.layout.providersPath(options.interfaceName);
    this.usedAt = options.clock.now();
    this.#overlap = new Overlap<Instance>({
      clock: options.clock,
      addressOf: (instance) => `${instance.address}:${instance.port}`,
      onChange: () => this.#show(),
    });
    const name = serviceText({ protocol: "x", name: options.interfaceName, version: "", group: "" }).slice(2, -2);
    this.#catalogueWatch = options.directory.watchCatalogue(`*/${name}:*:*`, (entries) => {
      if (this.#closed) return;
      this.#catalogue = new Set(entries.map((entry) => entry.service).filter((text) => this.#belongs(text)));
      this.#follow();
    });
  }

  /** True once the directory has answered for everything that is to be shown. */
  get ready(): boolean {
    return this.#ready;
  }

  get wantedByConsumers(): boolean {
    return this.#wanted.size > 0;
  }

  want(services: readonly string[]): void {
    for (const text of services) {
      this.#wanted.set(text, (this.#wanted.get(text) ?? 0) + 1);
      this.#lingering.get(text)?.cancel();
      this.#lingering.delete(text);
    }
    this.#follow();
  }

  unwant(services: readonly string[]): void {
    for (const text of services) {
      const left = (this.#wanted.get(text) ?? 0) - 1;
      if (left > 0) this.#wanted.set(text, left);
      else if (this.#wanted.delete(text)) this.#linger(text);
    }
  }

  /** Somebody is about to read the list: the directory is asked for it. */
  expect(): void {
    this.usedAt = this.#options.clock.now();
    if (this.#ready || this.#expecting) return;
    this.#expecting = true;
    this.#follow();
  }

  /** Runs `task` now, or when the directory has answered, or when it has not for too long since `askedAt`. */
  whenKnown(askedAt: number, task: () => void): void {
    this.expect();
    if (this.#ready && !this.#awaitsService()) return task();
    const leftMs = askedAt + this.#options.holdMs - this.#options.clock.now();
    if (leftMs <= 0) {
      this.#stopWaiting();
      return task();
    }
    const waiter: Waiter = {
      task,
      timer: this.#options.clock.after(leftMs, () => {
        this.#waiters.delete(waiter);
        this.#stopWaiting();
        task();
      }),
    };
    this.#waiters.add(waiter);
  }

  /** The directory has not told everything in time. */
  #stopWaiting(): void {
    if (this.#ready) return;
    // Better a part than nothing: what is known so far can only add to what was shown.
    if (this.#services.size > 0) this.#show();
    else if (this.#catalogue !== undefined) {
      // Nobody offers it, and whoever reads it does not say what it wants: the list is empty, and the next reader need not wait.
      this.#ready = true;
      this.#show(true);
    }
  }

  close(): void {
    this.#closed = true;
    this.#catalogueWatch.close();
    for (const service of this.#services.values()) service.watch?.close();
    this.#services.clear();
    for (const timer of this.#lingering.values()) timer.cancel();
    this.#overlap.close();
    for (const waiter of [...this.#waiters]) this.#release(waiter);
  }

  #linger(text: string): void {
    if (this.#closed) return;
    const timer = this.#options.clock.after(lingerMs, () => {
      this.#lingering.delete(text);
      this.#follow();
    });
    this.#lingering.set(text, timer);
  }

  #belongs(text: string): boolean {
    const service = parseServiceText(text);
    return service !== undefined && service.name === this.interfaceName && this.layout.mayShow(service.protocol);
  }

  /** Watches exactly what the catalogue lists and what consumers want. */
  #follow(): void {
    if (this.#closed) return;
    const needed = new Set(this.#catalogue);
    if (this.#options.place === "sidecar") {
      for (const text of this.#wanted.keys()) needed.add(text);
      for (const text of this.#lingering.keys()) needed.add(text);
      const expected = this.layout.expected(this.interfaceName);
      if (this.#expecting && needed.size === 0 && expected !== undefined) needed.add(expected);
    }
    for (const [text, service] of this.#services) {
      if (needed.has(text)) continue;
      service.watch?.close();
      this.#services.delete(text);
    }
    for (const text of needed) if (!this.#services.has(text)) this.#watch(text);
    this.#update();
  }

  #watch(text: string): void {
    const { directory, clock, onRefused } = this.#options;
    const watch = (): Watch | undefined => {
      try {
        return directory.watch(text, (set) => {
          if (this.#closed || this.#services.get(text) !== service) return;
          service.set = set;
          this.#update();
        });
      } catch (error) {
        onRefused?.(text, error);
        return undefined;
      }
    };
    const service: Service = { watch: watch(), since: clock.now(), set: undefined };
    this.#services.set(text, service);
  }

  /** Something that is to be shown was asked for a moment ago and has not been told yet. */
  #awaitsService(): boolean {
    const { clock, holdMs } = this.#options;
    for (const { watch, set, since } of this.#services.values())
      if (watch !== undefined && set === undefined && clock.now() - since < holdMs) return true;
    return false;
  }

  #update(): void {
    const first = !this.#ready && this.#isAnswered();
    if (first) this.#ready = true;
    // Until the directory has answered nothing is taken for the truth, so that nothing known is shown as gone.
    if (!this.#ready) return;
    this.#show(first);
    if (!this.#awaitsService()) for (const waiter of [...this.#waiters]) this.#release(waiter);
  }

  #isAnswered(): boolean {
    if (this.#catalogue === undefined) return false;
    if (this.#options.place === "sidecar" && this.#services.size === 0) return false;
    for (const { watch, set } of this.#services.values())
      if (watch !== undefined && (set === undefined || set.freshSince === 0)) return false;
    return true;
  }

  #show(first = false): void {
    const instances = new Map<string, Instance>();
    for (const [text, { set }] of this.#services) {
      if (set === undefined || this.#isShadowed(text)) continue;
      for (const instance of set.instances) {
        if (this.layout.shows(instance)) instances.set(instanceKeyText(instance), instance);
      }
    }
    this.#overlap.set(instances);
    const names = new Map<string, Instance>();
    for (const instance of this.#overlap.shown()) names.set(this.#nameOf(instance), instance);
    this.#options.onList(names, first);
  }

  /**
   * At a sidecar, a service that consumers merely expect has a stand-in although nobody offers it. It is left out when the same
   * interface, version and group is known to be offered in another protocol.
   */
  #isShadowed(text: string): boolean {
    if (this.#options.place !== "sidecar" || this.#catalogue === undefined || this.#catalogue.has(text)) return false;
    const without = text.slice(text.indexOf("/"));
    for (const other of this.#catalogue) {
      if (other.slice(other.indexOf("/")) !== without) continue;
      if ((this.#services.get(other)?.set?.instances.length ?? 0) > 0) return true;
    }
    return false;
  }

  #nameOf(instance: Instance): string {
    let name = this.#names.get(instance);
    if (name === undefined) {
      name = this.layout.nameOf(instance);
      this.#names.set(instance, name);
    }
    return name;
  }

  #release(waiter: Waiter): void {
    waiter.timer.cancel();
    this.#waiters.delete(waiter);
    waiter.task();
  }
}
