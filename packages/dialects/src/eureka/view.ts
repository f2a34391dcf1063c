/**
 * Keeps the listing right from the directory. At the registry every HTTP service is followed and shown at its instances' addresses. At a
 * sidecar a service is shown once, at the loopback address where this host reaches it, and is not followed: that begins with its first
 * call; only what has no such address (HTTPS) is followed and shown as it is.
 */
import type { Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { CatalogueEntry, InstanceSet, Watch } from "@dualmesh/model/directory";
import { parseServiceText } from "@dualmesh/model/service";
import type { DoorContext, StandIn } from "../door.ts";
import { shownInstance, shownStandIn } from "./layout.ts";
import type { Listing } from "./listing.ts";

export interface ViewOptions {
  readonly context: DoorContext;
  readonly listing: Listing;
  readonly told: ThrottledLog;
  readonly maxServices: number;
  /** A service's vip as an application of this host registered it. */
  readonly vipOf: (service: string) => string | undefined;
}

interface Source {
  applications: readonly string[];
  /** As it is shown, which stays while that application provides the service. */
  application: string;
  watch: Watch | undefined;
  standIn: StandIn | undefined;
  retry: Timer | undefined;
}

/** How long the first list waits for services of which the directory says nothing. */
const patienceMs = 10_000;
const retryMs = 5_000;
/** Addresses that are asked for at once. */
const maxAsking = 16;

export class View {
  readonly #options: ViewOptions;
  readonly #sources = new Map<string, Source>();
  readonly #catalogue: Watch;
  /** Services of the first catalogue that nothing is known of yet; undefined before the catalogue. */
  #awaited: Set<string> | undefined;
  #patience: Timer | undefined;
  readonly #toAsk = new Set<string>();
  #asking = 0;
  #closed = false;

  constructor(options: ViewOptions) {
    this.#options = options;
    this.#catalogue = options.context.directory.watchCatalogue("http*", (entries) => this.#list(entries));
  }

  /** Whether the listing is whole: a client believes an empty one, and forgets what it has. */
  get ready(): boolean {
    return this.#awaited?.size === 0;
  }

  close(): void {
    this.#closed = true;
    this.#catalogue.close();
    this.#patience?.cancel();
    for (const source of this.#sources.values()) end(source);
    this.#sources.clear();
  }

  #list(entries: readonly CatalogueEntry[]): void {
    if (this.#closed) return;
    const { clock } = this.#options.context;
    const wanted = new Map(entries.filter(({ service }) => isEurekaService(service)).map((one) => [one.service, one]));
    for (const { service, applications } of wanted.values()) this.#follow(service, applications);
    for (const [service, source] of this.#sources) {
      if (wanted.has(service)) continue;
      end(source);
      this.#sources.delete(service);
      this.#toAsk.delete(service);
      this.#show(service, []);
    }
    if (this.#awaited !== undefined) return;
    const unknown = [...this.#sources].filter(
      ([, source]) => source.watch !== undefined || source.standIn === undefined,
    );
    this.#awaited = new Set(unknown.map(([service]) => service));
    this.#patience = clock.after(patienceMs, () => this.#awaited?.clear());
  }

  #follow(service: string, applications: readonly string[]): void {
    const { told, maxServices, context } = this.#options;
    const known = this.#sources.get(service);
    if (known !== undefined) {
      known.applications = applications;
      return this.#showStandIn(service, known);
    }
    if (this.#sources.size >= maxServices)
      return told.error("", { service, maxServices }, "a service is not shown at the Eureka door, which shows no more");
    const source: Source = { applications, application: "", watch: undefined, standIn: undefined, retry: undefined };
    this.#sources.set(service, source);
    if (context.standIn === undefined || !service.startsWith("http/")) return this.#watch(service, source);
    this.#toAsk.add(service);
    this.#ask();
  }

  #watch(service: string, source: Source): void {
    source.watch = this.#options.context.directory.watch(service, (set) => {
      if (this.#sources.get(service) === source && isAnswered(set))
        this.#show(service, set.instances.map(shownInstance));
    });
  }

  #ask(): void {
    const { standIn } = this.#options.context;
    for (const service of this.#toAsk) {
      if (this.#asking >= maxAsking || standIn === undefined) return;
      this.#toAsk.delete(service);
      const source = this.#sources.get(service);
      if (source === undefined) continue;
      this.#asking++;
      standIn(service)
        .then(
          (place) => this.#answered(service, source, place),
          (error: unknown) => this.#failed(service, source, error),
        )
        .finally(() => {
          this.#asking--;
          this.#ask();
        });
    }
  }

  #answered(service: string, source: Source, place: StandIn | undefined): void {
    if (this.#closed || this.#sources.get(service) !== source) return;
    source.standIn = place;
    if (place === undefined) this.#watch(service, source);
    else this.#showStandIn(service, source);
  }

  #failed(service: string, source: Source, error: unknown): void {
    if (this.#closed || this.#sources.get(service) !== source) return;
    const { told, context } = this.#options;
    told.warn(service, { service, error: messageOf(error), retryMs }, "a service could not be given an address");
    source.retry = context.clock.after(retryMs, () => {
      this.#toAsk.add(service);
      this.#ask();
    });
  }

  #showStandIn(service: string, source: Source): void {
    if (source.standIn === undefined) return;
    const name = parseServiceText(service)?.name ?? service;
    if (!source.applications.includes(source.application)) source.application = source.applications[0] ?? name;
    const { application, standIn } = source;
    const vip = this.#options.vipOf(service) ?? name;
    this.#show(service, [shownStandIn({ service, application, vip, ...standIn })]);
  }

  #show(service: string, all: Parameters<Listing["set"]>[1]): void {
    this.#options.listing.set(service, all);
    this.#awaited?.delete(service);
  }
}

function end({ watch, retry }: Source): void {
  watch?.close();
  retry?.cancel();
}

/** Eureka knows neither versions nor groups. */
function isEurekaService(service: string): boolean {
  const parts = parseServiceText(service);
  if (parts === undefined || parts.version !== "" || parts.group !== "") return false;
  return parts.protocol === "http" || parts.protocol === "https";
}

function isAnswered({ instances, freshSince }: InstanceSet): boolean {
  return instances.length > 0 || freshSince > 0;
}
