/**
 * All that the data path reads: plain data, replaced whole, serialisable, so that it can be given to another thread or process.
 * What changes often (the endpoints of a service) stands in a cell of its own that is replaced alone; what changes seldom (which services
 * exist, how they are routed) has one revision. The way back is counters only (metrics.ts).
 */

/** Where an instance can be called. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly warmupMs: number;
  /** Wall time in milliseconds, 0 when unknown. */
  readonly startedAt: number;
  readonly security: "plain";
  /** `host:port` as the application is called without a mesh, where that differs from where it is called now (HTTP's `Host`). */
  readonly authority?: string;
  /** The application itself, or its sidecar, which says so when the application never saw a request. */
  readonly mode: "sdk" | "mesh";
}

export interface EndpointCell {
  /** Grows with each replacement of this cell. */
  readonly revision: number;
  /** False until somebody has answered who provides the service. */
  readonly known: boolean;
  readonly endpoints: readonly Endpoint[];
}

/** A service as the data path routes it. */
export interface ServiceRoute {
  /** Canonical service text. */
  readonly service: string;
  /** `bolt`, `dubbo`, `http`, … */
  readonly protocol: string;
  /** What the codec reads from a request's head: Bolt `interface:version[:uniqueId]`, Dubbo `path:version`. */
  readonly head: string;
  /** What tells services with the same head apart (Dubbo's group). */
  readonly group: string;
  /** The deadline of a request that states none, in milliseconds; 0 for the default. */
  readonly timeoutMs: number;
  readonly cell: EndpointCell;
}

/** An inbound port and the services behind it. */
export interface InboundRoutes {
  /** The published port. */
  readonly port: number;
  readonly routes: readonly ServiceRoute[];
}

export interface Snapshot {
  /** Grows whenever anything but an endpoint cell changes. */
  readonly revision: number;
  readonly defaultTimeoutMs: number;
  readonly outbound: readonly ServiceRoute[];
  readonly inbound: readonly InboundRoutes[];
}
