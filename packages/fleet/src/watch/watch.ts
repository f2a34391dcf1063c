/**
 * Looks at the calls of an application while it is moved: what they are like before, and whether they have become worse since. Calls are
 * seen on the wire, before and after by the same eyes, so that the sidecar need not be believed; what it counts itself is a second
 * witness, and the only one where nothing can be captured. `judge.ts` says what is worse.
 */
import { type Clock, sleep, type Timer } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import { bracketed } from "@dualmesh/base/http/host-name";
import type { Log } from "@dualmesh/base/log";
import { Calls } from "./calls.ts";
import { CaptureFeed, maxPorts } from "./feed.ts";
import { judge } from "./judge.ts";
import { type Followed, isRead, Targets } from "./targets.ts";
import type { Watching, WatchOptions, WatchSummary, WatchVerdict } from "./watching.ts";
import { Witness } from "./witness.ts";

export interface WatchMeans {
  readonly clock: Clock;
  readonly log: Log;
}

export function openWatch(options: WatchOptions, means: WatchMeans): Watching {
  return new Watch(options, means);
}

/** How often calls are judged, and the sidecar asked. */
const judgeMs = 250;
const figuresMs = 500;
/** How late packets may come from a capture. Without any, time goes on this much behind the clock. */
const captureLagMs = 1_000;
/** Sentences that are kept. */
const maxUnseen = 32;

class Watch implements Watching {
  readonly verdict: Promise<WatchVerdict>;
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #targets: Targets;
  readonly #calls: Calls<readonly Followed[]>;
  readonly #witness: Witness;
  readonly #feed: CaptureFeed | undefined;
  readonly #unseen = new Set<string>();
  readonly #timers: Timer[] = [];
  #resolve: (verdict: WatchVerdict) => void = () => {};
  #asking: Promise<void> | undefined;
  #hasOpened = false;
  #hasStarted = false;
  #isJudged = false;
  #isClosed = false;

  constructor(options: WatchOptions, { clock, log }: WatchMeans) {
    this.#options = options;
    this.#clock = clock;
    this.verdict = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#targets = new Targets(options);
    this.#calls = new Calls(this.#targets, this.#targets.ends);
    this.#witness = new Witness(options.bounds);
    const ports = [...new Set(this.#targets.ends.map(({ port }) => port))];
    this.#foresee(ports);
    if (options.host !== undefined && ports.length > 0)
      this.#feed = new CaptureFeed({
        host: options.host,
        ports: ports.slice(0, maxPorts),
        clock,
        log,
        onSegment: (segment) => this.#calls.read(segment),
        onGap: () => this.#calls.lose(),
        onUnseen: (why) => this.#say(why),
      });
  }

  async measureBefore(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#open();
    await unlessAborted(this.#feed?.open(), signal);
    await unlessAborted(this.#ask(), signal);
    await sleep(this.#clock, ms, signal);
    this.#sweep();
    await unlessAborted(this.#ask(), signal);
  }

  start(): void {
    if (this.#hasStarted || this.#isClosed) return;
    this.#open();
    this.#hasStarted = true;
    this.#targets.start(this.#clock.wall());
    this.#witness.start();
  }

  summary(): WatchSummary {
    const { all } = this.#targets;
    // What was not seen on the wire is what the sidecar counted.
    const isSeen = (protocol: string): boolean => isRead(protocol) && this.#feed?.isOpen === true;
    return {
      before: all.map((target) => target.figures(target.before)),
      since: all.map((target) =>
        isSeen(target.protocol) || target.since.calls > 0
          ? target.figures(target.since)
          : this.#witness.figures(target),
      ),
      unseen: [...this.#unseen, ...this.#overlooked()],
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    await this.#feed?.close();
    await this.#asking;
  }

  /** Begins to look, at the first of `measureBefore` and `start`. */
  #open(): void {
    if (this.#hasOpened || this.#isClosed) return;
    this.#hasOpened = true;
    void this.#feed?.open();
    this.#timers.push(
      this.#clock.every(judgeMs, () => this.#judge()),
      this.#clock.every(figuresMs, () => void this.#ask()),
    );
  }

  /** Packets tell the time, as long as they come. */
  #nowMs(): number {
    return Math.max(this.#calls.latestMs, this.#clock.wall() - captureLagMs);
  }

  #sweep(): number {
    const nowMs = this.#nowMs();
    this.#calls.sweep(nowMs);
    return nowMs;
  }

  #judge(): void {
    const nowMs = this.#sweep();
    if (!this.#hasStarted || this.#isJudged) return;
    for (const target of this.#targets.all) {
      const reason = judge(target, nowMs, this.#options.bounds) ?? this.#witness.judge(target);
      if (reason === undefined) continue;
      this.#isJudged = true;
      return this.#resolve({ reason });
    }
  }

  /** Asks the sidecar, one question at a time. */
  #ask(): Promise<void> {
    this.#asking ??= this.#askOnce().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askOnce(): Promise<void> {
    try {
      const figures = await this.#options.figures();
      this.#witness.take(figures, this.#clock.wall());
    } catch (error) {
      const isAway = isMeshError(error, "control.unreachable") || isMeshError(error, "control.upgrading");
      const why = isAway ? "it was not there for a while" : messageOf(error);
      this.#say(`the sidecar did not say what it counted: ${why}`);
    }
  }

  /** What is known not to be seen before anything is looked at. */
  #foresee(ports: readonly number[]): void {
    if (this.#options.host === undefined)
      this.#say("calls cannot be looked at as they pass; they are judged by the sidecar's own figures");
    for (const { service, protocol } of this.#targets.all)
      if (!isRead(protocol))
        this.#say(`calls of ${service} are judged by the sidecar's own figures alone (${protocol})`);
    for (const host of this.#targets.unreadable) this.#say(`calls to ${host} are not seen: it is no IP address`);
    if (ports.length > maxPorts)
      this.#say(`calls to the ports ${ports.slice(maxPorts).join(", ")} are not seen: no more than ${maxPorts} can be`);
  }

  #overlooked(): readonly string[] {
    const { share, deafSeconds, unfollowed } = this.#calls;
    const { losses } = this.#targets;
    const sentences: string[] = [];
    if (share > 1) sentences.push(`so much passes that only one connection in ${share} was looked at`);
    if (deafSeconds > 0) sentences.push(`in ${deafSeconds} seconds more passed than was looked at`);
    if (unfollowed > 0) sentences.push(`${unfollowed} packets of connections beyond the limit were not looked at`);
    if (losses > 0) sentences.push(`gaps in what was captured: ${losses}; the calls under way then are not counted`);
    for (const { host, port } of this.#calls.foreign())
      sentences.push(
        `what is sent to ${bracketed(host)}:${port} is neither Bolt nor Dubbo in the clear, and is not counted`,
      );
    return sentences;
  }

  #say(sentence: string): void {
    if (this.#unseen.size < maxUnseen) this.#unseen.add(sentence);
  }
}

/** Whoever ends a move does not wait for what a capture or a sidecar takes its time for. */
async function unlessAborted(work: Promise<void> | undefined, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
