/**
 * The connections of the process that goes. First the other process gets a copy of each, while this one goes on with them; then those that
 * can stand still and what was read of them is told; then, when the other has answered that it goes on, they are let go of here. What could not
 * stand still goes later, one by one, when it can. What is still answered to a caller that has gone is passed on.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { DataMetrics } from "../metrics.ts";
import type { Downstream } from "../request/downstream.ts";
import type { Caller, FrameExchange } from "../request/exchange.ts";
import { FrameWay } from "../request/frame-way.ts";
import { type Frozen, isObstacle, type Obstacle } from "../request/moving.ts";
import type { DataPlane } from "../request/plane.ts";
import type { StillConnection, StillConnections } from "../transport/still-connections.ts";
import type { Channel } from "./channel.ts";
import { encodeStates, type Message, type MovedLine, type OwedLine, type SharedLine } from "./messages.ts";

export interface LeavingOptions {
  readonly plane: DataPlane;
  /** Connections of doors, which stand still already. */
  readonly still: StillConnections;
  readonly channel: Channel;
  readonly metrics: DataMetrics;
  readonly clock: Clock;
  readonly log: Log;
  /** How long what cannot go may take to end. */
  readonly drainMs: number;
}

/** At most so long is anything done before the event loop has its turn. */
const sliceMs = 2;
/** After a slice of what nobody waits for. */
const restMs = 4;
const connectionsPerPacket = 100;
const lookMs = 20;

type Owed = ReadonlyMap<Caller, readonly FrameExchange[]>;

interface Going {
  readonly key: number;
  readonly downstream: Downstream;
  /** How many descriptors of it the other process has. */
  shared: number;
  /** Requests that waited for somewhere to go: the other process takes them anew. */
  readonly unsent: Buffer[];
  /** Something that was sent for it is not answered: it is passed on. */
  isOwed: boolean;
  state: "here" | "frozen" | "late" | "there";
}

/** What became of the connections. */
export interface Left {
  readonly moved: number;
  /** Of them, those of doors. */
  readonly movedOfDoors: number;
  /** Those that ended here in their own time, having stood in the way by this. */
  readonly stayed: Partial<Record<Obstacle, number>>;
  /** Those that were cut at the deadline. */
  readonly cut: Partial<Record<Obstacle, number>>;
}

export class Leaving {
  readonly #options: LeavingOptions;
  readonly #going = new Map<Downstream, Going>();
  readonly #byKey = new Map<number, Going>();
  readonly #stayed: Partial<Record<Obstacle, number>> = {};
  #nextKey = 1;
  #moved = 0;
  #movedOfDoors = 0;
  #busyMs = 0;
  #surrendered = false;

  constructor(options: LeavingOptions) {
    this.#options = options;
  }

  /** Milliseconds of this process's loop that it took so far. */
  get busyMs(): number {
    return this.#busyMs;
  }

  // ---- before the other process has anything ----

  /** Gives the other process a copy of every connection, while they go on here; it says when it has made connections of them. */
  async share(): Promise<void> {
    const { plane } = this.#options;
    const all = plane.connections().filter(({ way }) => way?.protocol !== "tcp"); // of which two go, when they stand still
    for (let at = 0; at < all.length; ) {
      at = await this.#slice((isOver) => {
        let next = at;
        while (next < all.length && !isOver()) {
          const batch = all.slice(next, next + connectionsPerPacket);
          this.#shareAll(batch.filter(({ closed }) => !closed).map((downstream) => this.#goingOf(downstream)));
          next += connectionsPerPacket;
        }
        return next;
      });
    }
    await this.#shareDoors();
    this.#options.channel.say({ say: "shared" });
  }

  /** Gives the other process those of doors, with all that it needs to know. */
  async #shareDoors(): Promise<void> {
    const { all } = this.#options.still;
    for (let at = 0; at < all.length; ) {
      at = await this.#slice((isOver) => {
        let next = at;
        while (next < all.length && (next === at || !isOver())) this.#tellDoor(all[next++] as StillConnection);
        return next;
      });
    }
  }

  /** Has everything stand still that can, and tells the other process what it needs to know. */
  async freeze(): Promise<void> {
    const { plane } = this.#options;
    const all = plane.connections();
    for (let at = 0; at < all.length; ) {
      at = await this.#slice((isOver) => {
        const owed = plane.owed();
        const told: MovedLine[] = [];
        let next = at;
        while (next < all.length && (next === at || !isOver())) {
          const downstream = all[next++] as Downstream;
          if (!downstream.closed) told.push(...this.#freeze(this.#goingOf(downstream), owed));
        }
        this.#tell(told);
        return next;
      });
    }
  }

  /** Everything goes on here after all. */
  thaw(): void {
    for (const going of this.#going.values()) {
      const { downstream, state } = going;
      downstream.onGone = downstream.onQuiet = undefined;
      if (state !== "frozen" && state !== "late") continue;
      downstream.thaw();
      if (downstream.way instanceof FrameWay) downstream.way.again(going.unsent);
    }
    this.#going.clear();
    this.#byKey.clear();
  }

  // ---- from here on the other process has them ----

  /** What stands still may have been read by the other process, which has died, or goes on: nobody could say from which byte on it would be read here. */
  abandon(): void {
    for (const { downstream, state } of this.#going.values()) {
      downstream.onGone = downstream.onQuiet = undefined;
      if (state === "frozen" || state === "late") downstream.transport.destroy("it was on its way to another process");
    }
    this.#going.clear();
    this.#byKey.clear();
  }

  get soFar(): Left {
    return { moved: this.#moved, movedOfDoors: this.#movedOfDoors, stayed: this.#stayed, cut: {} };
  }

  commit(): void {
    const frozen = [...this.#going.values()].filter(({ state }) => state === "frozen");
    this.#options.channel.say({ say: "commit", connections: frozen.length });
  }

  /** The other process goes on: what it has is let go of here, and what is left goes as it can. */
  async surrender(): Promise<void> {
    const { still, plane } = this.#options;
    this.#movedOfDoors = still.letGo();
    this.#moved += this.#movedOfDoors;
    // First those whose callers may have replies here already, which they get now.
    const frozen = [...this.#going.values()].filter(({ state }) => state === "frozen");
    const all = [...frozen.filter(({ isOwed }) => isOwed), ...frozen.filter(({ isOwed }) => !isOwed)];
    for (let at = 0; at < all.length; ) {
      at = await this.#slice((isOver) => {
        let next = at;
        while (next < all.length && (next === at || !isOver())) this.#surrender(all[next++] as Going);
        return next;
      });
      // The new process has to catch up meanwhile, and may have no core but this one.
      if (all[at]?.isOwed === false) await this.#rest();
    }
    this.#surrendered = true;
    for (const downstream of plane.connections()) this.#waitFor(this.#goingOf(downstream));
    plane.retire();
  }

  /** Takes what the other process says of connections. */
  hear(message: Message): void {
    if (message.say !== "gone" && message.say !== "taken") return;
    const going = this.#byKey.get(message.key);
    if (going === undefined) return;
    if (message.say === "taken") {
      if (going.state === "late") this.#surrender(going);
      return;
    }
    // Its peer does not hear of the end before both have closed it.
    if (going.state === "frozen") this.#surrender(going);
    this.#byKey.delete(message.key);
    // Nobody waits for its answers any more.
    going.downstream.way?.onClose();
  }

  /** Resolves when nothing is left here: what had been sent is answered and passed on, and what could not go has ended. */
  async left(): Promise<Left> {
    const { plane, channel, clock, log, drainMs } = this.#options;
    const end = clock.now() + drainMs;
    const isOver = (): boolean =>
      channel.isClosed || (plane.inFlight === 0 && plane.callers === 0 && plane.endpointConnections === 0);
    for (; !isOver() && clock.now() < end; this.#retire()) await sleep(clock, lookMs);
    const cut: Partial<Record<Obstacle, number>> = {};
    for (const downstream of plane.connections()) {
      const frozen = downstream.freeze();
      const why = isObstacle(frozen) ? frozen : "closing";
      cut[why] = (cut[why] ?? 0) + 1;
      downstream.transport.destroy("the sidecar was upgraded, and this connection did not come to rest in time");
    }
    const cuts = Object.values(cut).reduce((sum, count) => sum + count, 0);
    if (cuts > 0) log.warn({ cut }, "connections that could not go to the new process were cut at the deadline");
    await channel.drained();
    return { ...this.soFar, cut };
  }

  /** Callers that are still here may call again; when none is, nothing is sent anywhere any more. */
  #retire(): void {
    const { plane } = this.#options;
    if (this.#surrendered || plane.callers === 0) plane.retire();
  }

  // ---- one connection ----

  #goingOf(downstream: Downstream): Going {
    const before = this.#going.get(downstream);
    if (before !== undefined) return before;
    const key = this.#nextKey++;
    const going: Going = { key, downstream, shared: 0, unsent: [], isOwed: false, state: "here" };
    this.#going.set(downstream, going);
    this.#byKey.set(going.key, going);
    downstream.onGone = () => this.#gone(going);
    return going;
  }

  /** It ended here. The copy of the other process has to be closed as well, or its peer never hears of the end. */
  #gone(going: Going): void {
    this.#going.delete(going.downstream);
    this.#byKey.delete(going.key);
    if (going.shared > 0) this.#options.channel.say({ say: "forget", key: going.key });
  }

  #shareAll(all: readonly Going[]): void {
    const here = all.flatMap((going) => {
      const { transport } = going.downstream;
      return transport.descriptor === undefined ? [] : [{ going, transport, descriptor: transport.descriptor }];
    });
    if (here.length === 0) return;
    const lines = here.map(({ going, transport }): SharedLine => lineOf(going, [transport.wroteAll]));
    const descriptors = here.map(({ descriptor }) => descriptor);
    this.#options.channel.say({ say: "connections", all: lines }, undefined, descriptors);
    for (const { going } of here) going.shared = 1;
  }

  /** What is to be told of it, when it stands still now. */
  #freeze(going: Going, owed: Owed): readonly MovedLine[] {
    const frozen = going.downstream.freeze();
    if (isObstacle(frozen)) return [];
    going.state = "frozen";
    return [this.#lineOf(going, frozen, owed)];
  }

  #tell(lines: readonly MovedLine[]): void {
    if (lines.length > 0) this.#options.channel.sayAll((more) => ({ say: "states", more }), encodeStates(lines));
  }

  #lineOf(going: Going, { state, descriptors, wroteAll }: Frozen, owed: Owed): MovedLine {
    const { channel, plane } = this.#options;
    const { key, downstream } = going;
    if (going.shared !== descriptors.length) {
      // Of a tunnel the other process has the caller's alone, or none; both go together.
      if (going.shared > 0) channel.say({ say: "forget", key });
      channel.say({ say: "connections", all: [lineOf(going, wroteAll, state.protocol)] }, undefined, descriptors);
      going.shared = descriptors.length;
    }
    const lines: OwedLine[] = [];
    for (const exchange of owed.get(downstream.way as unknown as Caller) ?? []) {
      const unsent = plane.unbegin(exchange);
      if (unsent === undefined) lines.push(this.#owedLine(exchange));
      else going.unsent.push(unsent);
    }
    going.isOwed = lines.length > 0;
    const residual = going.unsent.length === 0 ? state.residual : Buffer.concat([...going.unsent, state.residual]);
    return { key, state: { ...state, residual }, owed: lines };
  }

  #tellDoor({ key, transports, standing: { state, unread } }: StillConnection): void {
    const { channel } = this.#options;
    const descriptors = transports.flatMap(({ descriptor }) => (descriptor === undefined ? [] : [descriptor]));
    // Where one of them has ended the others end with it, here.
    if (descriptors.length < transports.length) return;
    const text = Buffer.from(JSON.stringify(state));
    const lengths = [text, ...unread].map(({ length }) => length);
    const wroteAll = transports.map((transport) => transport.wroteAll);
    channel.say({ say: "door", door: key, wroteAll, lengths }, undefined, descriptors);
    channel.sayAll((more) => ({ say: "door-state", more }), Buffer.concat([text, ...unread]));
  }

  #owedLine({ id, idHigh, version, serialization, flags, service, deadlineMs }: FrameExchange): OwedLine {
    const leftMs = Math.max(0, Math.round(deadlineMs - this.#options.clock.now()));
    return { id, idHigh, version, serialization, flags, service, leftMs };
  }

  #surrender(going: Going): void {
    const { channel } = this.#options;
    const { key, downstream, state } = going;
    if (state !== "frozen" && state !== "late") return;
    this.#going.delete(downstream);
    if (downstream.closed) {
      // It was cut here in the moment between.
      this.#byKey.delete(key);
      return channel.say({ say: "forget", key });
    }
    going.state = "there";
    this.#moved++;
    downstream.surrender((bytes, start, end) => {
      if (this.#byKey.has(key)) channel.sayAll((more) => ({ say: "relay", key, more }), bytes.subarray(start, end));
    });
  }

  /** It goes as soon as nothing stands in the way. */
  #waitFor(going: Going): void {
    const { downstream } = going;
    if (this.#goesLate(going)) return;
    downstream.onQuiet = () => this.#goesLate(going);
  }

  #goesLate(going: Going): boolean {
    const { channel, plane } = this.#options;
    if (going.state !== "here" || channel.isClosed) return false;
    const frozen = going.downstream.freeze();
    if (isObstacle(frozen)) {
      this.#stayed[frozen] = (this.#stayed[frozen] ?? 0) + 1;
      return false;
    }
    going.state = "late";
    this.#tell([this.#lineOf(going, frozen, plane.owed())]);
    channel.say({ say: "late", key: going.key });
    return true;
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(restMs, resolve, true));
  }

  async #slice<Result>(work: (isOver: () => boolean) => Result): Promise<Result> {
    const { clock } = this.#options;
    const began = clock.now();
    const result = work(() => clock.now() - began >= sliceMs);
    this.#busyMs += clock.now() - began;
    await new Promise<void>((resolve) => setImmediate(resolve));
    return result;
  }
}

/** `protocol` is what it speaks to the other process, which a tunnel does not as what it came in. */
function lineOf(
  { key, downstream }: Going,
  wroteAll: readonly boolean[],
  protocol: string = downstream.way?.protocol ?? "",
): SharedLine {
  const { entrance, transport } = downstream;
  return { key, entrance, port: transport.localPort, protocol, wroteAll };
}
