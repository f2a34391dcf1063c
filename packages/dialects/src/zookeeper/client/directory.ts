/**
 * An existing ZooKeeper as a `Directory`: instances come from and go to the nodes that Dubbo's and SOFA-RPC's own clients read and write, so
 * that applications on the same ensemble see what a sidecar publishes as ordinary providers, and the other way round. Whatever happens to
 * the ensemble, what was known stays in force.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type { Directory, Publication, PublishOptions, Watch } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { eventType } from "@dualmesh/wire/jute/reply";
import { dubboLayout } from "../dubbo-layout.ts";
import { sofaLayout } from "../sofa-layout.ts";
import { Catalogue, type CatalogueListener } from "./catalogue.ts";
import { type ClientState, type Session, ZooKeeperClient } from "./client.ts";
import type { Dial } from "./dial.ts";
import { InterfaceLists } from "./interface-lists.ts";
import { sessionText, ZooKeeperKeep } from "./keep.ts";
import { OwnNodes } from "./own-nodes.ts";
import { Publications, type Published } from "./publications.ts";
import type { Credentials } from "./server-connection.ts";
import { ServiceFeeds, type SetListener } from "./service-feeds.ts";

const defaultStaleAfterMs = 5_000;
const defaultRestoreWithinMs = 30_000;
/** How long after a (re)connection a list that has shrunk sharply is not believed: others are on their way back too. */
const defaultSettleMs = 30_000;

export interface ZooKeeperDirectoryOptions {
  /** `host:port` of the servers. */
  readonly addresses: readonly string[];
  readonly dial: Dial;
  readonly chroot?: string;
  readonly credentials?: readonly Credentials[];
  readonly sessionTimeoutMs?: number;
  /** The root nodes of Dubbo and SOFA-RPC, `/dubbo` and `/sofa-rpc` when not given. */
  readonly dubboRoot?: string;
  readonly sofaRoot?: string;
  /** Of its own; its owner closes it after the directory. */
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long an answer is waited for before `ready` says that the state on disk has to do. */
  readonly staleAfterMs?: number;
  /** How long after the start the owner may take to publish again what a former process published. */
  readonly restoreWithinMs?: number;
  readonly settleMs?: number;
}

export type ZooKeeperReadiness = "fresh" | "stale" | "no";

export interface ZooKeeperDirectoryStatus {
  readonly state: ClientState;
  /** The server. */
  readonly registry: string;
  readonly session: string;
  readonly epoch: number;
  /** The connection is old enough for a list that shrinks sharply to be believed, once it is confirmed. */
  readonly settled: boolean;
  readonly ready: ZooKeeperReadiness;
  readonly lastError: string;
  readonly publications: number;
  readonly pending: number;
  readonly feeds: readonly {
    readonly kind: string;
    readonly name: string;
    readonly size: number;
    readonly revision: string;
    readonly digest: string;
    readonly freshSince: number;
    readonly answered: boolean;
    readonly held: boolean;
  }[];
  readonly counts: Readonly<Record<string, number>>;
}

export interface ZooKeeperDirectory extends Directory {
  /** `fresh` when every service that was on disk is answered, `stale` when the servers were out of reach and the disk has to do. */
  ready(): Promise<"fresh" | "stale">;
  readonly readiness: ZooKeeperReadiness;
  /** Everything that a former process published has been published again: its other nodes go. */
  restored(): void;
  status(): ZooKeeperDirectoryStatus;
  /** `orderly` ends the session and with it every node; otherwise they stay for a successor with the same journal. */
  close(options: { readonly orderly: boolean }): Promise<void>;
}

export function openZooKeeperDirectory(options: ZooKeeperDirectoryOptions): ZooKeeperDirectory {
  if (options.addresses.length === 0) throw new MeshError("config.invalid", "the addresses of ZooKeeper are missing");
  return new NodeDirectory(options);
}

class NodeDirectory implements ZooKeeperDirectory {
  readonly #options: ZooKeeperDirectoryOptions;
  readonly #keep: ZooKeeperKeep;
  readonly #client: ZooKeeperClient;
  readonly #nodes: OwnNodes;
  readonly #publications: Publications;
  readonly #lists: InterfaceLists;
  readonly #feeds: ServiceFeeds;
  readonly #catalogue: Catalogue;
  readonly #staleTimer: Timer;
  readonly #restoreTimer: Timer;
  readonly #hadSession: boolean;
  readonly #whenReady = Promise.withResolvers<"fresh" | "stale">();
  #ready: ZooKeeperReadiness = "no";
  #settledAt = Number.POSITIVE_INFINITY;
  #wasUp = false;
  #zxidAtDown = 0n;
  #closing: Promise<void> | undefined;

  constructor(options: ZooKeeperDirectoryOptions) {
    this.#options = options;
    const { clock, log, journal } = options;
    const keep = new ZooKeeperKeep(journal);
    const kept = keep.session();
    this.#keep = keep;
    this.#hadSession = kept !== undefined;
    const layouts = [
      dubboLayout(rootName(options.dubboRoot, "dubbo")),
      sofaLayout(rootName(options.sofaRoot, "sofa-rpc")),
    ];
    const client = this.#openClient(kept?.session);
    this.#client = client;
    const nodes = new OwnNodes({ client, clock, log, keep });
    this.#nodes = nodes;
    this.#publications = new Publications({ clock, layouts, nodes });
    this.#lists = new InterfaceLists({
      ...{ client, clock, log, keep },
      settledAt: () => this.#settledAt,
      isTakenBack: (path) => nodes.isTakenBack(path),
      onChange: (list) => {
        this.#feeds.changed(list);
        this.#catalogue.changed(list);
        this.#checkReady();
      },
    });
    this.#feeds = new ServiceFeeds({ clock, log, layouts, keep, lists: this.#lists });
    this.#catalogue = new Catalogue({ log, layouts, lists: this.#lists });
    this.#feeds.restore();
    this.#staleTimer = clock.after(options.staleAfterMs ?? defaultStaleAfterMs, () => this.#becomeStale());
    this.#restoreTimer = clock.after(options.restoreWithinMs ?? defaultRestoreWithinMs, () => this.restored());
    client.start();
  }

  async publish(
    instance: Instance,
    options: PublishOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Publication> {
    const { signal } = options;
    signal?.throwIfAborted();
    this.#checkOpen();
    const { published, inForce } = this.#publications.add(instance, options);
    const giveUp = (): void => void this.#publications.withdraw(published);
    signal?.addEventListener("abort", giveUp, { once: true });
    try {
      await inForce;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
    return this.#publication(published);
  }

  watch(service: string, listener: SetListener): Watch {
    return { close: this.#feeds.watch(service, listener) };
  }

  watchCatalogue(pattern: string, listener: CatalogueListener): Watch {
    return { close: this.#catalogue.watch(pattern, listener) };
  }

  ready(): Promise<"fresh" | "stale"> {
    return this.#whenReady.promise;
  }

  get readiness(): ZooKeeperReadiness {
    return this.#ready;
  }

  restored(): void {
    this.#restoreTimer.cancel();
    this.#nodes.restored();
  }

  status(): ZooKeeperDirectoryStatus {
    const { id } = this.#client.session;
    return {
      state: this.#client.state,
      registry: this.#client.address,
      session: id === 0n ? "" : sessionText(id),
      epoch: 0,
      settled: this.#client.open && this.#options.clock.now() >= this.#settledAt,
      ready: this.#ready,
      lastError: this.#client.lastError,
      publications: this.#publications.size,
      pending: this.#nodes.pending,
      feeds: this.#feeds
        .states()
        .map(({ service, ...state }) => ({ kind: "service", name: service, revision: "", digest: "", ...state })),
      counts: {
        ...this.#client.counts,
        ...this.#lists.counts,
        ...this.#nodes.counts,
        ...this.#publications.counts,
        patterns: this.#catalogue.size,
      },
    };
  }

  close({ orderly }: { readonly orderly: boolean }): Promise<void> {
    this.#closing ??= this.#close(orderly);
    return this.#closing;
  }

  async #close(orderly: boolean): Promise<void> {
    this.#staleTimer.cancel();
    this.#restoreTimer.cancel();
    // What could not be ended is left to a successor: it knows these nodes for its own then.
    if (orderly && (await this.#client.close())) {
      for (const path of this.#keep.ownPaths()) this.#keep.deleteOwn(path);
      this.#keep.deleteSession();
    }
    this.#client.abandon();
    this.#feeds.close();
    this.#catalogue.close();
    this.#lists.close();
    this.#publications.close();
    this.#nodes.close();
    await this.#keep.flushed().catch((error: unknown) => {
      this.#options.log.warn({ error: messageOf(error) }, "the last state of the directory could not be written");
    });
  }

  #openClient(session: Session | undefined): ZooKeeperClient {
    const { addresses, dial, clock, random, log, chroot, credentials, sessionTimeoutMs } = this.#options;
    return new ZooKeeperClient({
      ...{ addresses, dial, clock, random, log },
      ...(chroot === undefined ? {} : { chroot }),
      ...(credentials === undefined ? {} : { credentials }),
      ...(sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs }),
      ...(session === undefined ? {} : { session }),
      onConnected: (connected, resumed) => this.#onConnected(connected, resumed),
      onDisconnected: () => this.#onDown(),
      onExpired: (expired) => this.#nodes.onExpired(expired),
      onEvent: (event) => {
        this.#lists.onEvent(event);
        if (event.type === eventType.deleted) this.#nodes.onDeleted(event.path);
      },
      onProven: () => this.#lists.onProven(),
    });
  }

  #onConnected(session: Session, resumed: boolean): void {
    const { clock, settleMs = defaultSettleMs } = this.#options;
    this.#settledAt = clock.now() + settleMs;
    // What is ours first, since it is others who wait for it.
    this.#nodes.onConnected(session, resumed);
    // A process that has just begun knows of no list what it was: it reads them all.
    this.#lists.onConnected(resumed && this.#wasUp, this.#zxidAtDown);
    this.#wasUp = true;
    this.#checkReady();
  }

  #onDown(): void {
    this.#zxidAtDown = this.#client.zxid;
    this.#nodes.onDown();
    this.#lists.onDown();
  }

  #checkReady(): void {
    if (!this.#client.open || this.#ready === "fresh" || !this.#feeds.rememberedAnswered) return;
    this.#ready = "fresh";
    this.#staleTimer.cancel();
    this.#whenReady.resolve("fresh");
  }

  #becomeStale(): void {
    if (this.#ready !== "no" || !(this.#feeds.anyRemembered || this.#hadSession)) return;
    this.#ready = "stale";
    this.#whenReady.resolve("stale");
  }

  #publication(published: Published): Publication {
    return {
      update: async (instance, options = {}) => {
        this.#checkOpen();
        await this.#publications.update(published, instance, options);
      },
      withdraw: () => this.#publications.withdraw(published),
    };
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new MeshError("registry.closed", "this connection to ZooKeeper has ended");
  }
}

function rootName(path: string | undefined, otherwise: string): string {
  return path?.replace(/^\/+/, "") ?? otherwise;
}
