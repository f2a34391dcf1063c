/**
 * The routing tables, composed when a snapshot arrives so that a request finds its route by one look-up. A `Route` outlives
 * snapshots as long as its service stays: its endpoints are replaced in place, cell by cell.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Random } from "@dualmesh/base/random";
import type { DataMetrics, Direction, Series } from "../metrics.ts";
import type { EndpointCell, ServiceRoute, Snapshot } from "../snapshot.ts";
import { Balancer, type Candidate } from "../upstream/balance.ts";
import type { EndpointPool } from "../upstream/endpoint-pool.ts";
import type { Pools } from "../upstream/pools.ts";
import { isMetadataService } from "./metadata-service.ts";

export interface RouteContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: DataMetrics;
  readonly pools: Pools;
}

export class Route {
  readonly service: string;
  readonly protocol: string;
  readonly group: string;
  readonly direction: Direction;
  /** Means no request but those that name its group. */
  readonly isOfItsGroupOnly: boolean;
  timeoutMs: number;
  /** False until somebody has said who provides the service: calls wait a little. */
  known = false;
  /** Clock time of the last call. */
  calledMs: number | undefined = undefined;
  readonly #context: RouteContext;
  readonly #series = new Map<string, Series>();
  #pools: readonly EndpointPool[] = [];
  #balancer: Balancer<EndpointPool> | undefined;
  #cellRevision = -1;

  constructor(spec: ServiceRoute, direction: Direction, context: RouteContext) {
    this.service = spec.service;
    this.protocol = spec.protocol;
    this.group = spec.group;
    this.direction = direction;
    this.isOfItsGroupOnly = isMetadataService(spec.service);
    this.timeoutMs = spec.timeoutMs;
    this.#context = context;
    this.replace(spec.cell);
  }

  get endpointCount(): number {
    return this.#pools.length;
  }

  pick(except: EndpointPool | undefined): Candidate<EndpointPool> | undefined {
    return this.#balancer?.pick(except);
  }

  series(source: string): Series {
    let series = this.#series.get(source);
    if (series === undefined) {
      series = this.#context.metrics.series(source, this.service, this.protocol, this.direction);
      if (this.#series.size < maxSources) this.#series.set(source, series);
    }
    return series;
  }

  /** Puts other endpoints in place. Connections to those that stay are kept; to those that left they end when idle. */
  replace(cell: EndpointCell): void {
    if (cell.revision === this.#cellRevision) return;
    this.#cellRevision = cell.revision;
    this.known = cell.known;
    const { pools, clock, random } = this.#context;
    const old = this.#pools;
    const taken = cell.endpoints.map((endpoint) => ({
      endpoint,
      pool: pools.take("", this.protocol, endpoint, this.direction),
    }));
    this.#pools = taken.map(({ pool }) => pool);
    this.#balancer =
      taken.length === 0 ? undefined : new Balancer(taken, { clock, random, usable: (pool) => pool.usable });
    for (const pool of old) pools.release(pool);
  }

  /** The service is not routed any more. */
  close(): void {
    for (const pool of this.#pools) this.#context.pools.release(pool);
    this.#pools = [];
    this.#balancer = undefined;
    this.known = false;
  }
}

const maxSources = 256;

/** The routes of one port: by what a request's head says, then by group where a head is shared. */
export class RouteTable {
  /** By protocol, then by head: two look-ups by texts that are interned cost less than making one text of both. */
  readonly #byHead = new Map<string, Map<string, Route[]>>();
  readonly #routes = new Map<string, Route>();
  readonly #direction: Direction;
  readonly #context: RouteContext;

  constructor(direction: Direction, context: RouteContext) {
    this.#direction = direction;
    this.#context = context;
  }

  /** The routes that a head may mean: none, one, or several that differ by group. */
  find(protocol: string, head: string): readonly Route[] | undefined {
    return this.#byHead.get(protocol)?.get(head);
  }

  get(service: string): Route | undefined {
    return this.#routes.get(service);
  }

  routes(): Iterable<Route> {
    return this.#routes.values();
  }

  /** The one route whose target serves everything on this port, for a service that was never registered (generic, metadata). */
  only(protocol: string): Route | undefined {
    let only: Route | undefined;
    for (const route of this.#routes.values()) {
      if (route.protocol !== protocol) continue;
      if (only !== undefined && only.pick(undefined)?.pool !== route.pick(undefined)?.pool) return undefined;
      only ??= route;
    }
    return only;
  }

  /** True when there are services here, and all of this protocol. */
  isOnly(protocol: string): boolean {
    for (const route of this.#routes.values()) if (route.protocol !== protocol) return false;
    return this.#routes.size > 0;
  }

  /** True when every service of this protocol here leads to `pool`. */
  leadsOnlyTo(pool: EndpointPool, protocol: string): boolean {
    const routes = [...this.#routes.values()].filter((route) => route.protocol === protocol);
    return routes.length > 0 && routes.every((route) => route.pick(undefined)?.pool === pool);
  }

  /** The figures of a service that has no route yet. */
  seriesOf(source: string, service: string, protocol: string): Series {
    return this.#context.metrics.series(source, service, protocol, this.#direction);
  }

  apply(specs: readonly ServiceRoute[]): void {
    const wanted = new Set(specs.map((spec) => spec.service));
    for (const [service, route] of this.#routes) {
      if (wanted.has(service)) continue;
      this.#routes.delete(service);
      route.close();
    }
    this.#byHead.clear();
    for (const spec of specs) {
      let route = this.#routes.get(spec.service);
      if (route === undefined) {
        route = new Route(spec, this.#direction, this.#context);
        this.#routes.set(spec.service, route);
      } else {
        route.timeoutMs = spec.timeoutMs;
        route.replace(spec.cell);
      }
      const heads = this.#byHead.get(spec.protocol) ?? new Map<string, Route[]>();
      this.#byHead.set(spec.protocol, heads);
      const sharing = heads.get(spec.head);
      if (sharing === undefined) heads.set(spec.head, [route]);
      else sharing.push(route);
    }
  }

  close(): void {
    for (const route of this.#routes.values()) route.close();
    this.#routes.clear();
    this.#byHead.clear();
  }
}

/** All tables of a data plane: one outbound, and one for each published port. */
export class Routing {
  readonly outbound: RouteTable;
  readonly #inbound = new Map<number, RouteTable>();
  readonly #context: RouteContext;
  revision = 0;
  defaultTimeoutMs = 60_000;

  constructor(context: RouteContext) {
    this.#context = context;
    this.outbound = new RouteTable("outbound", context);
  }

  inbound(port: number): RouteTable {
    let table = this.#inbound.get(port);
    if (table === undefined) {
      table = new RouteTable("inbound", this.#context);
      this.#inbound.set(port, table);
    }
    return table;
  }

  apply(snapshot: Snapshot): void {
    this.revision = snapshot.revision;
    this.defaultTimeoutMs = snapshot.defaultTimeoutMs;
    this.outbound.apply(snapshot.outbound);
    const ports = new Set(snapshot.inbound.map(({ port }) => port));
    for (const [port, table] of this.#inbound) if (!ports.has(port)) table.apply([]);
    for (const { port, routes } of snapshot.inbound) this.inbound(port).apply(routes);
  }

  close(): void {
    this.outbound.close();
    for (const table of this.#inbound.values()) table.close();
  }
}
