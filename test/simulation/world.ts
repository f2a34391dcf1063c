/** A registry and its clients over a fake clock, a fake network and fake disks: what the simulations run. */
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { type Random, seededRandom } from "@dualmesh/base/random";
import { openRegistryDirectory, type RegistryDirectory } from "@dualmesh/client/directory";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { type RegistryConfig, registryConfigShape } from "@dualmesh/registry/config";
import { openRegistryCore, type RegistryCore } from "@dualmesh/registry/registry";
import { MemoryJournal } from "./memory-journal.ts";
import { MemoryNetwork } from "./memory-network.ts";

export class World {
  readonly clock = new FakeClock();
  readonly random: Random;
  readonly network: MemoryNetwork;
  readonly config: RegistryConfig;
  registry: RegistryCore | undefined;
  #journal = new MemoryJournal();
  #epoch = 0;
  readonly #journals = new Map<string, MemoryJournal>();
  readonly #directories = new Set<RegistryDirectory>();

  constructor(seed: number, config: object = {}) {
    this.random = seededRandom(seed);
    this.network = new MemoryNetwork(this.clock, seededRandom(seed + 1));
    this.config = registryConfigShape.parse(config);
    this.clock.every(200, () => {
      this.#journal.write();
      for (const journal of this.#journals.values()) journal.write();
    });
  }

  async startRegistry(): Promise<RegistryCore> {
    this.#epoch++;
    const journal = this.#journal;
    const state = { epoch: this.#epoch, journal: () => Promise.resolve(journal) };
    const { clock, config } = this;
    const registry = await openRegistryCore({
      config,
      state,
      clock,
      random: seededRandom(this.#epoch),
      log: silentLog,
    });
    this.registry = registry;
    this.network.accept = (channel) => registry.connect(channel);
    return registry;
  }

  /** As kill -9: nothing is said, what was not on disk is lost. */
  killRegistry({ wipe = false } = {}): void {
    this.network.accept = undefined;
    this.registry?.stop();
    this.registry = undefined;
    this.network.cut();
    this.#journal = wipe ? new MemoryJournal() : this.#journal.afterCrash();
  }

  /** A client with the disk of its node. */
  client(nodeId: string, options: { readonly onTakenOver?: () => void } = {}): RegistryDirectory {
    const journal = this.#journals.get(nodeId) ?? new MemoryJournal();
    this.#journals.set(nodeId, journal);
    const directory = openRegistryDirectory({
      addresses: ["registry:7710"],
      nodeId,
      kind: "sidecar",
      journal,
      clock: this.clock,
      random: seededRandom(Math.floor(this.random.next() * 1e9)),
      log: silentLog,
      dial: this.network.dialer(nodeId),
      ...options,
    });
    this.#directories.add(directory);
    return directory;
  }

  /** As kill -9 of a client: its connection breaks, its disk stays. */
  async killClient(nodeId: string, directory: RegistryDirectory): Promise<void> {
    this.#directories.delete(directory);
    await directory.close({ orderly: false });
    const journal = this.#journals.get(nodeId);
    if (journal !== undefined) this.#journals.set(nodeId, journal.afterCrash());
  }

  async end(): Promise<void> {
    for (const directory of this.#directories) await directory.close({ orderly: false });
    this.registry?.stop();
  }
}

/** Advances until `condition` holds; fails after `limitMs` of fake time. */
export async function until(world: World, what: string, condition: () => boolean, limitMs = 60_000): Promise<void> {
  const end = world.clock.now() + limitMs;
  while (!condition()) {
    if (world.clock.now() >= end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await world.clock.advance(5);
  }
}

export const service = "bolt/demo.Greeter:1.0:";

export function instance(appPort: number, changes: Partial<Instance> = {}): Instance {
  return sampleInstance({ service, appPort, ...changes });
}
