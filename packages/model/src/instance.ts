/**
 * An instance of a service: one application process behind one of its ports. Its key is the same in both modes; where it is
 * published (`address`, `port`) is an attribute, so that moving in or out of the mesh changes an instance and never replaces it.
 */
export interface InstanceKey {
  /** Canonical service text. */
  readonly service: string;
  /** The application's host as others know it: an IP address or a name. */
  readonly host: string;
  readonly application: string;
  /** The application's own port. */
  readonly appPort: number;
}

export type Mode = "sdk" | "mesh";

export interface Instance extends InstanceKey {
  /** Where callers connect: the application itself (sdk) or its sidecar (mesh). */
  readonly address: string;
  readonly port: number;
  /** Relative share of calls, 0 to 10,000; 100 when nothing was said. */
  readonly weight: number;
  /** How long a new instance takes from a small share to its whole weight, in milliseconds; 0 for none. */
  readonly warmupMs: number;
  /** Wall time at which the application started, in milliseconds; 0 when unknown. */
  readonly startedAt: number;
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: Mode;
  readonly security: "plain";
  /** Empty until identities exist. */
  readonly identity: string;
  /** Why an application that registered at a sidecar is published unmeshed, as `reason` or empty. */
  readonly bypassed: string;
  /** Distinguishes a process from its successor at the same key; larger is later. */
  readonly incarnation: number;
  /** What the application itself wrote, unparsed; a door of the same dialect gives it back but for host and port. */
  readonly registration: Registration;
}

export interface Registration {
  /** `dubbo` or `sofa` (the layouts in ZooKeeper), `eureka`, `http`, `mesh`, or `native` (made by this product). */
  readonly dialect: string;
  readonly text: string;
}

/** The key as one text, for maps. */
export function instanceKeyText(key: InstanceKey): string {
  return `${key.service}|${key.host}|${key.application}|${key.appPort}`;
}
