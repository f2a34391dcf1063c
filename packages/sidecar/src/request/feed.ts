/**
 * Turns what the face says into what the data path reads. A change of endpoints replaces one cell; only a service or port that comes or
 * goes makes another snapshot.
 */
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import { headOf } from "@dualmesh/model/service-head";
import { authorityOf, isAddressed } from "../face/carriage.ts";
import type { InboundPort, InboundService } from "../face/inbound.ts";
import type { OutboundService } from "../face/wanted.ts";
import type { Endpoint, EndpointCell, InboundRoutes, ServiceRoute, Snapshot } from "../snapshot.ts";
import { metadataServices } from "./metadata-service.ts";

export interface FeedTarget {
  apply(snapshot: Snapshot): void;
  replaceCell(service: string, cell: EndpointCell): void;
}

export interface FeedOptions {
  readonly target: FeedTarget;
  readonly defaultTimeoutMs: number;
  /** True for an address that leads back to this sidecar's own outbound port: calling it would go round for ever. */
  readonly isLoop: (address: string, port: number) => boolean;
  /** What is in force already by another feed's numbers: this one's are above. */
  readonly above?: Snapshot | undefined;
}

export class SnapshotFeed {
  readonly #options: FeedOptions;
  readonly #outbound = new Map<string, ServiceRoute>();
  #inbound: readonly InboundRoutes[] = [];
  #revision = 0;
  #cellRevision = 0;
  #due = false;

  constructor(options: FeedOptions) {
    this.#options = options;
    const { revision = 0, outbound = [], inbound = [] } = options.above ?? {};
    this.#revision = revision;
    for (const { cell } of [...outbound, ...inbound.flatMap(({ routes }) => routes)])
      this.#cellRevision = Math.max(this.#cellRevision, cell.revision);
  }

  /** The snapshot in force. */
  get snapshot(): Snapshot {
    return {
      revision: this.#revision,
      defaultTimeoutMs: this.#options.defaultTimeoutMs,
      outbound: [...this.#outbound.values()],
      inbound: this.#inbound,
    };
  }

  /** A service came, changed or, with `undefined`, left. */
  outbound(service: string, state: OutboundService | undefined): void {
    const before = this.#outbound.get(service);
    if (state === undefined) {
      if (this.#outbound.delete(service)) this.#applySoon();
      return;
    }
    const route = this.#route(service, state);
    if (route === undefined) return;
    this.#outbound.set(service, route);
    if (before === undefined || before.timeoutMs !== route.timeoutMs) this.#applySoon();
    else this.#options.target.replaceCell(service, route.cell);
  }

  inbound(ports: readonly InboundPort[]): void {
    const routes = new Map<number, ServiceRoute[]>();
    for (const { port, services } of ports) {
      const list = routes.get(port) ?? [];
      routes.set(port, list);
      for (const service of [...services, ...metadataServices(services)]) {
        const route = this.#inboundRoute(service);
        // An application that is there is preferred to one that is leaving.
        const at = list.findIndex((other) => other.service === service.service);
        if (route === undefined) continue;
        if (at < 0) list.push(route);
        else if (!service.leaving) list[at] = route;
      }
    }
    this.#inbound = [...routes].map(([port, list]) => ({ port, routes: list }));
    this.#apply();
  }

  /** Several services at once make one snapshot, since each costs a walk over all of them. */
  #applySoon(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      if (this.#due) this.#apply();
    });
  }

  #apply(): void {
    this.#due = false;
    this.#revision++;
    this.#options.target.apply(this.snapshot);
  }

  #route(service: string, state: OutboundService): ServiceRoute | undefined {
    const name = parseServiceText(service);
    if (name === undefined) return undefined;
    const endpoints = state.instances
      .filter(({ address, port }) => !this.#options.isLoop(address, port))
      .map(endpointOf);
    const cell = { revision: ++this.#cellRevision, known: state.known, endpoints };
    return { service, protocol: name.protocol, ...headOf(name), timeoutMs: state.timeoutMs, cell };
  }

  #inboundRoute({ service, host, appPort, authority, timeoutMs }: InboundService): ServiceRoute | undefined {
    const name = parseServiceText(service);
    if (name === undefined) return undefined;
    const endpoint: Endpoint = {
      address: host,
      port: appPort,
      weight: 100,
      warmupMs: 0,
      startedAt: 0,
      security: "plain",
      authority,
      mode: "sdk",
    };
    const cell = { revision: ++this.#cellRevision, known: true, endpoints: [endpoint] };
    return { service, protocol: name.protocol, ...headOf(name), timeoutMs, cell };
  }
}

function endpointOf(instance: Instance): Endpoint {
  const { address, port, weight, warmupMs, startedAt, security, mode, service } = instance;
  const endpoint = { address, port, weight, warmupMs, startedAt, security, mode };
  return isAddressed(service) ? { ...endpoint, authority: authorityOf(instance) } : endpoint;
}
