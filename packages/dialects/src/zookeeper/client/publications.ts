/**
 * What is published, as nodes. An instance whose address or registration changes is another node in layouts like these: the new one comes
 * first, and the old one goes a while later, because clients lose calls when both happen in one step.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { PublishOptions } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import { overlapMs } from "../../overlap.ts";
import type { Layout } from "../layout.ts";
import type { OwnNodes } from "./own-nodes.ts";
import { publishedNode } from "./published-name.ts";

const maxPublications = 20_000;

export interface Published {
  readonly key: string;
  readonly service: string;
  current: string;
  /** Those that stand beside the current one: until the next update, or until their time is up. */
  readonly former: Map<string, Timer | undefined>;
  onSuperseded: (() => void) | undefined;
  over: boolean;
}

export interface PublicationsOptions {
  readonly clock: Clock;
  readonly layouts: readonly Layout[];
  readonly nodes: OwnNodes;
}

export class Publications {
  readonly #options: PublicationsOptions;
  readonly #published = new Map<string, Published>();
  /** Clock time since which a node stands; absent until it is in force. */
  readonly #since = new Map<string, number>();
  readonly counts = { superseded: 0 };

  constructor(options: PublicationsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#published.size;
  }

  /** Refuses what cannot be said, at once. An earlier publication of the same key is over. */
  add(instance: Instance, options: PublishOptions): { readonly published: Published; readonly inForce: Promise<void> } {
    const { layouts } = this.#options;
    const { path, data } = publishedNode(instance, layouts);
    const key = instanceKeyText(instance);
    const earlier = this.#published.get(key);
    if (earlier === undefined && this.#published.size >= maxPublications)
      throw new MeshError("registry.limit", `a sidecar publishes at most ${maxPublications} instances in ZooKeeper`);
    const { service } = instance;
    const { onSuperseded } = options;
    const published: Published = { key, service, current: path, former: new Map(), onSuperseded, over: false };
    this.#published.set(key, published);
    if (earlier !== undefined) this.#succeed(earlier, published);
    options.onAccepted?.();
    return { published, inForce: this.#bring(published, path, data, options.alongside === true) };
  }

  update(published: Published, instance: Instance, options: PublishOptions): Promise<void> {
    if (published.over) return Promise.reject(superseded(published.service));
    const { path, data } = publishedNode(instance, this.#options.layouts);
    if (options.onSuperseded !== undefined) published.onSuperseded = options.onSuperseded;
    if (path !== published.current) {
      published.former.get(path)?.cancel();
      published.former.delete(path);
      published.former.set(published.current, undefined);
      published.current = path;
    }
    return this.#bring(published, path, data, options.alongside === true);
  }

  async withdraw(published: Published): Promise<void> {
    if (published.over) return;
    published.over = true;
    if (this.#published.get(published.key) === published) this.#published.delete(published.key);
    const paths = [published.current, ...published.former.keys()];
    for (const timer of published.former.values()) timer?.cancel();
    await Promise.all(paths.map((path) => this.#take(path)));
  }

  close(): void {
    for (const { former } of this.#published.values()) for (const timer of former.values()) timer?.cancel();
    this.#published.clear();
  }

  async #bring(published: Published, path: string, data: Buffer, alongside: boolean): Promise<void> {
    const { clock, nodes } = this.#options;
    try {
      await nodes.want(path, data);
    } catch (error) {
      if (published.over) throw superseded(published.service);
      if (published.current === path) this.#end(published);
      throw error;
    }
    if (!this.#since.has(path)) this.#since.set(path, clock.now());
    if (alongside || published.over || published.current !== path) return;
    const waitMs = Math.max(0, (this.#since.get(path) ?? 0) + overlapMs - clock.now());
    for (const [old, timer] of published.former) {
      if (timer !== undefined) continue;
      published.former.set(
        old,
        clock.after(waitMs, () => {
          published.former.delete(old);
          void this.#take(old);
        }),
      );
    }
  }

  #succeed(earlier: Published, published: Published): void {
    earlier.over = true;
    this.counts.superseded++;
    for (const [path, timer] of earlier.former) {
      timer?.cancel();
      if (path !== published.current) published.former.set(path, undefined);
    }
    if (earlier.current !== published.current) published.former.set(earlier.current, undefined);
    earlier.onSuperseded?.();
  }

  /** The servers refuse the node: nothing of this instance stays, or it would be at an address that is not meant any more. */
  #end(published: Published): void {
    void this.withdraw(published);
  }

  #take(path: string): Promise<void> {
    this.#since.delete(path);
    return this.#options.nodes.unwant(path);
  }
}

function superseded(service: string): MeshError {
  return new MeshError("registry.superseded", `${service} is published by another owner now`, { service });
}
