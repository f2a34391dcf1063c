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
  #feed: Pick<SnapshotFeed, "snapshot"> | undefined;
  #isOpen: boolean;

  constructor({ target, clock, before }: RouteGateOptions) {
    this.#target = target;
    this.#before = before;
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
    if (this.#isOpen) this.#target.apply(snapshot);
    else this.#look();
  }

  replaceCell(service: string, cell: EndpointCell): void {
    if (this.#isOpen) this.#target.replaceCell(service, cell);
    else this.#look();
  }

  close(): void {
    this.#timer?.cancel();
    this.#opened.reject(new MeshError("upgrade.routes", "it was ended before the routes were known"));
  }

  #look(): void {
    if (this.#missing.length > 0) return;
    this.#open();
    this.#opened.resolve();
  }

  #giveUp(): void {
    const missing = this.#missing;
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
    this.#timer?.cancel();
    if (this.#feed !== undefined) this.#target.apply(this.#feed.snapshot);
  }

  /** What was known and is not known again yet. */
  get #missing(): readonly string[] {
    const before = this.#before;
    const now = this.#feed?.snapshot;
    if (before === undefined) return [];
    const outbound = new Map(now?.outbound.map(({ service, cell }) => [service, cell]));
    const inbound = new Set(
      now?.inbound.flatMap(({ port, routes }) => routes.map(({ service }) => `${port} ${service}`)),
    );
    return [
      ...before.outbound.flatMap(({ service, cell: { known, endpoints } }) => {
        const cell = outbound.get(service);
        const isBack = !known || (cell?.known === true && (endpoints.length === 0 || cell.endpoints.length > 0));
        return isBack ? [] : [service];
      }),
      ...before.inbound.flatMap(({ port, routes }) =>
        routes.flatMap(({ service }) => (inbound.has(`${port} ${service}`) ? [] : [`${service} at ${port}`])),
      ),
    ];
  }
}
