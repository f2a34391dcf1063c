/**
 * What a mover asks of who looks at the calls of an application: what they are like before anything moves, and whether they have become
 * worse since. `watch.ts` does it.
 */
import type { CrossingFigures } from "@dualmesh/model/crossing";
import type { Host, HostAddress } from "../host/host.ts";

export interface WatchedProvided {
  readonly service: string;
  /** `bolt` or `dubbo`; calls of other protocols are judged by the sidecar's own figures alone. */
  readonly protocol: string;
  readonly direct: HostAddress;
  readonly published: HostAddress;
}

export interface WatchedConsumed {
  readonly service: string;
  readonly protocol: string;
  /** Where its providers are called without a sidecar. */
  readonly direct: readonly HostAddress[];
  /** Where the application calls when its sidecar carries it. */
  readonly outbound: HostAddress;
}

/** Beyond these the calls have become worse; `judge.ts` says how sure it must be. */
export interface WatchBounds {
  /** Failed calls of all, above what it was before: 0.01 for one in a hundred. */
  readonly addedErrorRatio: number;
  /** Milliseconds that the median call may take longer than before; the same holds for the first quartile. */
  readonly addedMs: number;
  /** Fewer calls than this prove nothing, but for five failures. */
  readonly minCalls: number;
}

export const defaultWatchBounds: WatchBounds = { addedErrorRatio: 0.01, addedMs: 50, minCalls: 30 };

export interface WatchOptions {
  /** Where calls are seen as they pass; undefined when they cannot be. */
  readonly host: Host | undefined;
  /** The sidecar's own figures. */
  readonly figures: () => Promise<readonly CrossingFigures[]>;
  readonly provided: readonly WatchedProvided[];
  readonly consumed: readonly WatchedConsumed[];
  readonly bounds: WatchBounds;
}

export interface WatchVerdict {
  /** One sentence with the figures, for people: which service, before and now. */
  readonly reason: string;
}

/** Calls of one side in one span of time, as they were seen. */
export interface WatchFigures {
  readonly service: string;
  readonly side: "provided" | "consumed";
  readonly calls: number;
  readonly failed: number;
  /** Milliseconds; undefined without calls. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

export interface WatchSummary {
  readonly before: readonly WatchFigures[];
  readonly since: readonly WatchFigures[];
  /** What could not be seen, and why, a sentence each. */
  readonly unseen: readonly string[];
}

export interface Watching {
  /** Looks for `ms` at what calls are like before anything moves. All until `start` counts as before. */
  measureBefore(ms: number, signal: AbortSignal): Promise<void>;
  /** From now on calls are judged. A second call does nothing. */
  start(): void;
  /** Resolves only when the move must be undone. */
  readonly verdict: Promise<WatchVerdict>;
  summary(): WatchSummary;
  close(): Promise<void>;
}
