/**
 * Between who says which routes there are and who goes by them, where the second knew some before the first began: after a hand-over the directory
 * and the applications are heard of one after the other, and a route that is not known again yet is not one that is gone.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { EndpointCell, Snapshot } from "../snapshot.ts";
import type { FeedTarget, SnapshotFeed } from "./feed.ts";

export interface RouteGateOptions {
  readonly target: FeedTarget;
  readonly clock: Clock;
  /** What the target knows; undefined when it knows nothing, and everything is passed on at once. */
  readonly before: Snapshot | undefined;
}

/** What is not known again by then is told as it is. */
const patienceMs = 10_000;

export class RouteGate implements FeedTarget {
  readonly #target: FeedTarget;
  readonly #before: Snapshot | undefined;
  readonly #timer: { cancel(): void } | undefined;
  readonly #opened = Promise.withResolvers<void>();
  /** What was known and has not been heard of again. */
  readonly #missing: Map<string, boolean>;
  #feed: Pick<SnapshotFeed, "snapshot"> | undefined;
  #isOpen: boolean;

  constructor({ target, clock, before }: RouteGateOptions) {
    this.#target = target;
    this.#before = before;
    this.#missing = new Map(before === undefined ? [] : namesOf(before));
    this.#isOpen = before === undefined;
    this.#opened.promise.catch(() => {}); // whoever asks has it
    if (before === undefined) this.#opened.resolve();
    else {
      target.apply(before);
      this.#timer = clock.after(patienceMs, () => this.#giveUp());
    }
  }

  /** Where the whole of what was said so far is. */
  follow(feed: Pick<SnapshotFeed, "snapshot">): void {
    this.#feed = feed;
  }

  /** Resolves when all that was known before is known again; rejects with `upgrade.routes` when it is told without. */
  opened(): Promise<void> {
    return this.#opened.promise;
  }

  /** The routes that the target goes by. */
  get snapshot(): Snapshot {
    const said = this.#isOpen ? this.#feed?.snapshot : this.#before;
    return said ?? { revision: 0, defaultTimeoutMs: 60_000, outbound: [], inbound: [] };
  }

  apply(snapshot: Snapshot): void {
    if (this.#isOpen) return this.#target.apply(snapshot);
    for (const { service, cell } of snapshot.outbound) this.#hear(service, cell);
    for (const { port, routes } of snapshot.inbound)
      for (const { service } of routes) this.#missing.delete(inboundName(service, port));
    this.#look();
  }

  replaceCell(service: string, cell: EndpointCell): void {
    if (this.#isOpen) return this.#target.replaceCell(service, cell);
    this.#hear(service, cell);
    this.#look();
  }

  close(): void {
    this.#timer?.cancel();
    this.#opened.reject(new MeshError("upgrade.routes", "it was ended before the routes were known"));
  }

  #hear(service: string, cell: EndpointCell): void {
    const hadEndpoints = this.#missing.get(service);
    if (hadEndpoints !== undefined && isBack(cell, hadEndpoints)) this.#missing.delete(service);
  }

  /** What was heard of may have gone again, so that the whole is looked at once more before it is put in force. */
  #look(): void {
    if (this.#missing.size > 0) return;
    const now = this.#feed?.snapshot;
    if (this.#before === undefined || now === undefined) return;
    const outbound = new Map(now.outbound.map(({ service, cell }) => [service, cell]));
    const inbound = new Set(
      now.inbound.flatMap(({ port, routes }) => routes.map(({ service }) => inboundName(service, port))),
    );
    for (const [name, hadEndpoints] of namesOf(this.#before)) {
      const cell = outbound.get(name);
      if (!(inbound.has(name) || (cell !== undefined && isBack(cell, hadEndpoints))))
        this.#missing.set(name, hadEndpoints);
    }
    if (this.#missing.size > 0) return;
    this.#open();
    this.#opened.resolve();
  }

  #giveUp(): void {
    const missing = [...this.#missing.keys()];
    const some = missing.slice(0, 5).join(", ");
    this.#open();
    this.#opened.reject(
      new MeshError(
        "upgrade.routes",
        `after ${patienceMs} ms nothing is known of ${missing.length} routes that there were: ${some}`,
      ),
    );
  }

  #open(): void {
    this.#isOpen = true;
    this.#missing.clear();
    this.#timer?.cancel();
    if (this.#feed !== undefined) this.#target.apply(this.#feed.snapshot);
  }
}

/** What was known, and whether it had endpoints: services by their names, those of inbound ports with these. */
function namesOf({ outbound, inbound }: Snapshot): ReadonlyMap<string, boolean> {
  return new Map([
    ...outbound.flatMap(({ service, cell: { known, endpoints } }) =>
      known ? [[service, endpoints.length > 0] as const] : [],
    ),
    ...inbound.flatMap(({ port, routes }) => routes.map(({ service }) => [inboundName(service, port), false] as const)),
  ]);
}

function inboundName(service: string, port: number): string {
  return `${service} at ${port}`;
}

function isBack({ known, endpoints }: EndpointCell, hadEndpoints: boolean): boolean {
  return known && (!hadEndpoints || endpoints.length > 0);
}
