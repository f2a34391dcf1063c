/** Keeps the list of a service as a subscriber of the ensemble has it, and whether it was ever without an instance. */
import { type Clock, systemClock, type Timer } from "@dualmesh/base/clock";
import type { ZooKeeperTestClient } from "@dualmesh/dialects/testing/zookeeper-client";
import { rawClient } from "./before-host.ts";
import { eventually } from "./program.ts";

const recursive = 1;
/** The fixtures' providers offer each service three times. */
const groups = ["", "red", "blue"];

export async function replied(client: ZooKeeperTestClient, xid: number) {
  await eventually(`reply ${xid}`, 5_000, () => client.reply(xid) !== undefined);
  return client.reply(xid);
}

export class Recorder implements Disposable {
  readonly #pings: Timer;
  readonly #client: ZooKeeperTestClient;
  readonly #path: string;
  readonly #names = new Set<string>();
  readonly history: string[] = [];
  emptied = 0;

  private constructor(client: ZooKeeperTestClient, path: string, clock: Clock) {
    this.#client = client;
    this.#path = path;
    this.#pings = clock.every(3_000, () => void client.send({ op: "ping" }));
  }

  /** `ensemble` is its port, `path` that of the list. */
  static async start(ensemble: number, path: string): Promise<Recorder> {
    const client = await rawClient(ensemble);
    const recorder = new Recorder(client, path, systemClock);
    await replied(client, client.addWatch(path, recursive));
    const list = client.list(path);
    await replied(client, list);
    for (const name of client.children(list) ?? []) recorder.#names.add(name);
    return recorder.hear();
  }

  [Symbol.dispose](): void {
    this.#pings.cancel();
    this.#client.drop();
  }

  /** Resolves when every provider stands at this port. */
  sees(port: number): Promise<void> {
    return eventually(`all providers at port ${port}`, 5_000, () => {
      this.hear();
      return [...this.#names].every((name) => portOf(name) === port);
    });
  }

  /** Takes in, in their order, the events that have come. */
  hear(): this {
    for (const event of this.#client.events()) {
      const [type, path = ""] = event.split(" ");
      if (!path.startsWith(`${this.#path}/`)) continue;
      const name = path.slice(this.#path.length + 1);
      if (type === "created") this.#names.add(name);
      else if (type === "deleted") this.#names.delete(name);
      this.history.push(`${type} ${portOf(name)} ${groupOf(name)}`);
      for (const group of groups) {
        if (![...this.#names].some((one) => groupOf(one) === group)) this.emptied += 1;
      }
    }
    return this;
  }
}

const portOf = (name: string): number => Number(/:(\d+)/.exec(decodeURIComponent(name))?.[1] ?? 0);
const groupOf = (name: string): string => /[?&](?:group|uniqueId)=(\w*)/.exec(decodeURIComponent(name))?.[1] ?? "";
