/** Callers of every kind at once through one sidecar, and what is said of them in the end. */
import type { Random } from "@dualmesh/base/random";
import { Conversation } from "./conversations.ts";
import type { Ledger, Totals } from "./ledger.ts";
import type { Providers } from "./providers.ts";
import { RpcCaller, type RpcKind } from "./rpc-caller.ts";
import type { Places } from "./sidecar-process.ts";
import { WebCaller, type WebKind } from "./web-caller.ts";

export interface LoadOptions {
  readonly ledger: Ledger;
  readonly random: Random;
  readonly places: Places;
  readonly providers: Providers;
  /** Connections of each kind are so many times more. */
  readonly size: number;
  readonly slowMs: number;
}

const rpcKinds: readonly (readonly [RpcKind, number])[] = [
  ["multiplexed", 3],
  ["one in flight", 2],
  ["mid-frame", 2],
  ["idle", 4],
  ["silent", 4],
];
const webKinds: readonly (readonly [WebKind, number])[] = [
  ["streamed", 3],
  ["uploads", 2],
  ["short", 2],
  ["at rest", 4],
];
const conversations = 4;
const tunnels = 3;
const answerLimitMs = 12_000;
const onTheWayMs = 1_500;

export interface LoadEnd extends Totals {
  readonly connections: number;
  /** What must never be, and what must not be when nothing is lost. */
  readonly broken: readonly string[];
  readonly lost: readonly string[];
}

export class Load {
  readonly #options: LoadOptions;
  readonly #rpc: RpcCaller[] = [];
  readonly #web: WebCaller[] = [];
  readonly #talks: Conversation[] = [];
  #renewing: NodeJS.Timeout | undefined;

  private constructor(options: LoadOptions) {
    this.#options = options;
  }

  static async start(options: LoadOptions): Promise<Load> {
    const load = new Load(options);
    await load.#start();
    return load;
  }

  /** Ends it, waits for what is under way, and says what came of it. */
  async end(): Promise<LoadEnd> {
    const { ledger, providers } = this.#options;
    clearInterval(this.#renewing);
    for (const caller of this.#rpc) caller.stop();
    const webs = Promise.all(this.#web.map((caller) => caller.stop()));
    const ends = await Promise.all(this.#talks.map((talk) => talk.end(providers.conversations)));
    const limit = performance.now() + answerLimitMs;
    await Promise.race([webs, new Promise((resolve) => setTimeout(resolve, answerLimitMs).unref())]);
    await until(() => ledger.open === 0 && !this.#rpc.some(({ isMidFrame }) => isMidFrame), limit);
    // Where connections broke some of them never come.
    await until(() => ledger.onTheWay === 0, performance.now() + onTheWayMs);
    this.close();
    const connections = this.#rpc.length + this.#web.length + this.#talks.length;
    return {
      ...ledger.totals,
      connections,
      broken: [...ledger.broken(), ...ends.flatMap(({ broken }) => broken)],
      lost: [...ledger.lost(), ...ends.flatMap(({ lost }) => lost)],
    };
  }

  close(): void {
    clearInterval(this.#renewing);
    for (const caller of this.#rpc) caller.close();
    for (const caller of this.#web) caller.close();
  }

  async #start(): Promise<void> {
    const { ledger, random, places, size, slowMs } = this.#options;
    const shared = { ledger, random, slowMs };
    const times = (count: number): unknown[] => Array.from({ length: Math.ceil(count * size) });
    for (const place of places.rpc)
      for (const [kind, count] of rpcKinds)
        for (const _ of times(count)) this.#rpc.push(new RpcCaller({ ...shared, kind, ...place }));
    for (const place of places.http)
      for (const [kind, count] of webKinds)
        for (const _ of times(count)) this.#web.push(new WebCaller({ ...shared, kind, ...place }));
    await Promise.all(this.#rpc.map((caller) => caller.start()));
    for (const caller of this.#web) caller.start();
    for (const place of places.tcp) for (const _ of times(conversations)) this.#talk(place);
    for (const place of places.http) for (const _ of times(tunnels)) this.#talk(place, { isTunnel: true });
    for (const place of places.tcp) this.#talk(place, { isHalf: true });
    for (const place of places.http) this.#talk(place, { isHalf: true, isTunnel: true });
    // Those that are over by themselves are followed by others.
    this.#renewing = setInterval(() => {
      for (const place of places.tcp) this.#talk(place, { isHalf: true });
      for (const place of places.http) this.#talk(place, { isHalf: true, isTunnel: true });
    }, 4_000).unref();
  }

  #talk({ host, port }: Places["tcp"][number], { isHalf = false, isTunnel = false } = {}): void {
    const { random } = this.#options;
    const half = { afterMs: 500 + random.next() * 1_000, lingerMs: 3_000 };
    this.#talks.push(new Conversation({ address: host, port, random, isTunnel, ...(isHalf ? { half } : {}) }));
  }
}

async function until(holds: () => boolean, limit: number): Promise<void> {
  while (!holds() && performance.now() < limit) await new Promise((resolve) => setTimeout(resolve, 10));
}
