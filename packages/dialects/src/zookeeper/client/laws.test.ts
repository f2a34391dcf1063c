/** Whatever happens to servers, connections and sessions, in whatever order: in the end what is shown is what is there, and what is published is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { type Random, seededRandom } from "@dualmesh/base/random";
import type { Publication } from "@dualmesh/model/directory";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { MemoryJournal } from "../../testing/memory-journal.ts";
import { ZooKeeperServers } from "../../testing/zookeeper-servers.ts";
import { encodeName } from "../provider-url.ts";
import { openZooKeeperDirectory, type ZooKeeperDirectory } from "./directory.ts";

const service = "bolt/fx.Greeter:1.0:";
const list = "/sofa-rpc/fx.Greeter/providers";
const runs = 150;
const steps = 40;
const addresses = ["a:1", "b:1", "c:1"];

const strangerAt = (host: number): string =>
  `${list}/${encodeName(`bolt://10.1.0.${host}:12200?version=1.0&appName=other&uniqueId=`)}`;
const own = (host: number) =>
  sampleInstance({ service, host: `10.0.0.${host}`, mode: "mesh", port: 20_881, incarnation: 1 });

class Run {
  readonly clock = new FakeClock();
  readonly servers = new ZooKeeperServers(this.clock);
  readonly #random: Random;
  readonly #journal = new MemoryJournal();
  readonly #wanted = new Map<number, Publication | undefined>();
  readonly trail: string[] = [];
  #directory: ZooKeeperDirectory;
  #shown: readonly string[] = [];

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.servers.old = this.#below(3) === 0;
    this.servers.mute = this.#below(2) === 0;
    this.#directory = this.#open();
  }

  async step(): Promise<void> {
    const [kind, host] = [this.#below(12), this.#below(4)];
    this.trail.push(`${kind}/${host}`);
    const node = strangerAt(host);
    if (kind < 3 && !this.servers.nodes.has(node)) this.servers.put(node, 99n);
    else if (kind < 5 && this.servers.nodes.has(node)) this.servers.remove(node);
    else if (kind === 5) this.servers.cut();
    else if (kind === 6) this.servers.expire(BigInt(`0x${this.#directory.status().session || "1"}`));
    else if (kind === 7) this.servers.down.add(addresses[host % 3] as string);
    else if (kind === 8) this.servers.down.clear();
    else if (kind === 9) this.servers.silent = !this.servers.silent;
    else if (kind === 10) this.#toggle(host);
    else if (kind === 11 && host === 0) await this.#restart();
    await this.clock.advance(this.#below(3) === 0 ? this.#below(4_000) : this.#below(3));
  }

  /** Peace comes, and time enough for everything to be believed. */
  async settle(): Promise<void> {
    this.servers.down.clear();
    this.servers.silent = false;
    await this.clock.advance(120_000);
  }

  check(): void {
    const listed = this.servers.childrenOf(list).map((name) => decodeURIComponent(name));
    const published = listed.filter((url) => url.includes("dualmesh.mode=mesh")).map(hostOf);
    const told = `${this.trail.join(" ")}\n${JSON.stringify(this.#directory.status())}`;
    assert.deepEqual(published.sort(), [...this.#wanted.keys()].map((host) => `10.0.0.${host}`).sort(), told);
    assert.deepEqual([...this.#shown].sort(), listed.map(hostOf).sort(), told);
    assert.equal(this.#directory.status().pending, 0, told);
    assert.equal(this.#directory.readiness, "fresh");
  }

  async close(): Promise<void> {
    await this.#directory.close({ orderly: true });
    assert.equal(
      this.servers.childrenOf(list).some((name) => name.includes("dualmesh")),
      false,
    );
  }

  #open(): ZooKeeperDirectory {
    const directory = openZooKeeperDirectory({
      addresses,
      dial: this.servers.dial,
      journal: this.#journal,
      clock: this.clock,
      random: this.#random,
      log: silentLog,
      sessionTimeoutMs: 6_000,
    });
    directory.watch(service, ({ instances }) => {
      this.#shown = instances.map(({ host }) => host);
    });
    return directory;
  }

  /** Another process goes on with what this one left on disk, as the applications publish again. */
  async #restart(): Promise<void> {
    const closing = this.#directory.close({ orderly: false });
    await this.clock.advance(0);
    await closing;
    this.#directory = this.#open();
    const before = [...this.#wanted.keys()];
    this.#wanted.clear();
    for (const host of before) this.#toggle(host);
  }

  #toggle(host: number): void {
    const publication = this.#wanted.get(host);
    if (this.#wanted.delete(host)) return void publication?.withdraw();
    this.#wanted.set(host, undefined);
    const giveUp = new AbortController();
    this.#wanted.set(host, { update: async () => {}, withdraw: async () => giveUp.abort(new Error("withdrawn")) });
    this.#directory.publish(own(host), { signal: giveUp.signal }).then(
      (inForce) => {
        if (this.#wanted.has(host)) this.#wanted.set(host, inForce);
      },
      () => undefined, // withdrawn, or its process has ended
    );
  }

  #below(most: number): number {
    return Math.floor(this.#random.next() * most);
  }
}

function hostOf(url: string): string {
  return /\/\/([^:]+):/.exec(url)?.[1] ?? "";
}

test("after any trouble, lists and publications are right again", async () => {
  for (let seed = 1; seed <= runs; seed += 1) {
    const run = new Run(seed);
    try {
      for (let step = 0; step < steps; step += 1) await run.step();
      await run.settle();
      run.check();
      await run.close();
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
});
