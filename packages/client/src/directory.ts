/**
 * The dualmesh registry as a `Directory`, over one TCP connection. Whatever happens to the registry, what was known stays in force:
 * publications are kept and told again, sets are kept in memory and on disk, and each says up to when it was proven to be right.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type {
  CatalogueEntry,
  Directory,
  InstanceSet,
  Publication,
  PublishOptions,
  Watch,
} from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import { digestText } from "@dualmesh/wire/stream/digest";
import { maxNodeIdBytes, maxServiceBytes, streamVersion } from "@dualmesh/wire/stream/limits";
import { type HelloAck, type NodeKind, revisionText, type StreamMessage } from "@dualmesh/wire/stream/messages";
import type { Feed } from "./feed.ts";
import { Feeds } from "./feeds.ts";
import { Keep, type KeptSession } from "./keep.ts";
import { Link, type LinkState } from "./link.ts";
import { Publications, type Published } from "./publications.ts";
import { type Dial, dialTcp } from "./tcp.ts";

export interface RegistryDirectoryOptions {
  /** `host:port` of the registry, or of several ways to it. */
  readonly addresses: readonly string[];
  /** Names this client for good: a session can be continued only by the node that began it. */
  readonly nodeId: string;
  readonly kind: NodeKind;
  /** Software and version, shown by the registry. */
  readonly agent?: string;
  readonly credentials?: Uint8Array;
  /** Of its own; its owner closes it after the directory. */
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long an answer is waited for before `ready` says that the state on disk, which watchers are told at once, has to do; 5 s. */
  readonly staleAfterMs?: number;
  /** How long after the start the owner may take to publish again what a former process published; 30 s. See `restored`. */
  readonly restoreWithinMs?: number;
  readonly dial?: Dial;
  /** Another process continues this session (a hot upgrade): this directory is at its end and takes nothing back. */
  readonly onTakenOver?: () => void;
}

export interface FeedStatus {
  readonly kind: string;
  readonly name: string;
  readonly size: number;
  readonly revision: string;
  readonly digest: string;
  readonly freshSince: number;
  readonly answered: boolean;
  /** A suspicious answer is held back; what is shown is the last good set. */
  readonly held: boolean;
}

export type Readiness = "fresh" | "stale" | "no";

export interface RegistryDirectoryStatus {
  readonly state: LinkState;
  readonly registry: string;
  readonly session: string;
  readonly epoch: number;
  readonly settled: boolean;
  readonly ready: Readiness;
  readonly lastError: string;
  readonly publications: number;
  /** Publications and withdrawals that the registry has not acknowledged. */
  readonly pending: number;
  readonly feeds: readonly FeedStatus[];
  readonly counts: Readonly<Record<string, number>>;
}

export interface RegistryDirectory extends Directory {
  /**
   * Resolves with `fresh` when the registry has acknowledged the hello and answered every subscription that was on disk, with `stale`
   * when it was out of reach for a while and the state on disk has to do. With nothing on disk and no registry it stays pending.
   */
  ready(): Promise<"fresh" | "stale">;
  /** The same as it is now: what was `stale` becomes `fresh` when the registry has answered after all. */
  readonly readiness: Readiness;
  /** Everything that a former process published has been published again: what else its session owned goes. */
  restored(): void;
  status(): RegistryDirectoryStatus;
  /**
   * Ends. `orderly` takes everything back that was published; otherwise it stays for the grace time, for a successor with the same
   * journal.
   */
  close(options: { readonly orderly: boolean }): Promise<void>;
}

const defaultStaleAfterMs = 5_000;
const defaultRestoreWithinMs = 30_000;
/** How long an orderly end waits for the registry. */
const goodbyeTimeoutMs = 2_000;

export function openRegistryDirectory(options: RegistryDirectoryOptions): RegistryDirectory {
  if (options.addresses.length === 0) throw new MeshError("config.invalid", "the address of the registry is missing");
  if (Buffer.byteLength(options.nodeId) > maxNodeIdBytes)
    throw new MeshError("config.invalid", `a node id has at most ${maxNodeIdBytes} bytes: ${options.nodeId}`);
  return new StreamDirectory(options);
}

class StreamDirectory implements RegistryDirectory {
  readonly #options: RegistryDirectoryOptions;
  readonly #keep: Keep;
  readonly #link: Link;
  readonly #feeds: Feeds;
  readonly #publications: Publications;
  readonly #staleTimer: Timer;
  readonly #restoreTimer: Timer;
  /** Whether a former process left a session on disk. */
  readonly #hadSession: boolean;
  /** In memory too, since a successor may write to the same disk once it has taken over. */
  #session: KeptSession | undefined;
  #restored = false;
  #ready: Readiness = "no";
  readonly #whenReady = Promise.withResolvers<"fresh" | "stale">();
  #onGoodbye: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: RegistryDirectoryOptions) {
    this.#options = options;
    const { clock, random, log, journal } = options;
    const staleAfterMs = options.staleAfterMs ?? defaultStaleAfterMs;
    this.#keep = new Keep(journal);
    this.#session = this.#keep.session();
    this.#hadSession = this.#session !== undefined;
    const send = (message: StreamMessage): void => this.#link.send(message);
    this.#link = new Link({
      addresses: options.addresses,
      dial: options.dial ?? dialTcp,
      clock,
      random,
      log,
      hello: () => ({
        type: "hello",
        versions: [streamVersion, streamVersion],
        kind: options.kind,
        features: 0,
        nodeId: options.nodeId,
        agent: options.agent ?? "dualmesh",
        credentials: Buffer.from(options.credentials ?? []),
        token: this.#session?.token ?? Buffer.alloc(0),
      }),
      onOpen: (ack) => this.#onOpen(ack),
      onMessage: (message) => this.#onMessage(message),
      onDown: () => this.#onDown(),
      onTakenOver: () => options.onTakenOver?.(),
    });
    this.#publications = new Publications({ clock, log, isOpen: () => this.#link.open, send });
    const onAnswered = (): void => this.#checkReady();
    this.#feeds = new Feeds({ keep: this.#keep, clock, random, log, send, onAnswered });
    this.#staleTimer = clock.after(staleAfterMs, () => this.#becomeStale());
    this.#restoreTimer = clock.after(options.restoreWithinMs ?? defaultRestoreWithinMs, () => this.restored());
    this.#link.start();
  }

  async publish(
    instance: Instance,
    options: PublishOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Publication> {
    const { signal, onSuperseded } = options;
    signal?.throwIfAborted();
    this.#checkUsable(instance);
    const published = this.#publications.add(instance, onSuperseded);
    options.onAccepted?.();
    const giveUp = (): void => void this.#publications.withdraw(published);
    signal?.addEventListener("abort", giveUp, { once: true });
    try {
      await this.#publications.inForce(published);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
    return this.#publication(published);
  }

  watch(service: string, listener: (set: InstanceSet) => void): Watch {
    this.#checkService(service);
    const close = this.#feeds.watch("service", service, (feed) => listener(instanceSet(feed)));
    return { close };
  }

  watchCatalogue(pattern: string, listener: (entries: readonly CatalogueEntry[]) => void): Watch {
    if (Buffer.byteLength(pattern) > maxServiceBytes || /\s/.test(pattern) || pattern === "")
      throw new MeshError("registry.refused", `not a pattern of services: ${pattern}`);
    const close = this.#feeds.watch("catalogue", pattern, (feed) =>
      listener([...feed.shown.values()].map(({ value }) => value as CatalogueEntry)),
    );
    return { close };
  }

  ready(): Promise<"fresh" | "stale"> {
    return this.#whenReady.promise;
  }

  get readiness(): Readiness {
    return this.#ready;
  }

  restored(): void {
    if (this.#restored) return;
    this.#restored = true;
    this.#restoreTimer.cancel();
    this.#link.send({ type: "reported" });
  }

  status(): RegistryDirectoryStatus {
    const { ack } = this.#link;
    return {
      state: this.#link.state,
      registry: this.#link.address,
      session: ack === undefined ? "" : revisionText(ack.session),
      epoch: ack?.epoch ?? 0,
      settled: this.#feeds.settled,
      ready: this.#ready,
      lastError: this.#link.lastError,
      publications: this.#publications.size,
      pending: this.#publications.pending,
      feeds: [...this.#feeds.all].map((feed) => ({
        kind: feed.kind,
        name: feed.name,
        size: feed.shown.size,
        revision: revisionText(feed.replica.revision ?? { epoch: 0, counter: 0 }),
        digest: digestText(feed.replica.digest),
        freshSince: feed.freshSince,
        answered: feed.answered,
        held: feed.held,
      })),
      counts: { ...this.#link.counts, ...this.#feeds.counts, ...this.#publications.counts },
    };
  }

  close({ orderly }: { readonly orderly: boolean }): Promise<void> {
    this.#closing ??= this.#close(orderly);
    return this.#closing;
  }

  async #close(orderly: boolean): Promise<void> {
    if (orderly && this.#link.open) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.after(goodbyeTimeoutMs, resolve, true);
        this.#onGoodbye = () => {
          timer.cancel();
          resolve();
        };
        this.#link.send({ type: "goodbye", reason: "orderly", text: "" });
      });
      this.#keep.deleteSession();
    }
    this.#staleTimer.cancel();
    this.#restoreTimer.cancel();
    this.#link.close();
    this.#feeds.close();
    this.#publications.close();
    await this.#keep.flushed().catch((error: unknown) => {
      this.#options.log.warn({ error: messageOf(error) }, "the last state of the directory could not be written");
    });
  }

  #onOpen(ack: HelloAck): void {
    const kept = this.#session;
    const sameRegistry = kept?.registryId.equals(ack.registryId) ?? false;
    const token = ack.token.length > 0 ? Buffer.from(ack.token) : kept?.token;
    if (token !== undefined && (ack.token.length > 0 || !sameRegistry)) {
      this.#session = { token, registryId: Buffer.from(ack.registryId) };
      this.#keep.putSession(this.#session);
    }
    this.#publications.onOpen(ack.session);
    // A former process' leases are touched only once its successor has published again what it had.
    if (this.#restored) this.#link.send({ type: "reported" });
    this.#feeds.onOpen(ack, sameRegistry);
    this.#checkReady();
  }

  #onDown(): void {
    this.#feeds.onDown();
    this.#onGoodbye?.();
  }

  #onMessage(message: StreamMessage): void {
    switch (message.type) {
      case "delta":
        return this.#feeds.onDelta(message);
      case "snapshot":
        return this.#feeds.onSnapshot(message);
      case "ping": {
        const applied = this.#feeds.onPing(message);
        return this.#link.send({ type: "pong", sequence: message.sequence, ...applied });
      }
      case "registered":
        return this.#publications.onRegistered(message);
      case "deregistered":
        return this.#publications.onDeregistered(message);
      case "superseded":
        return this.#publications.onSuperseded(message);
      case "error":
        if (message.request !== 0) this.#publications.onFailure(message);
        else this.#link.drop(`${message.code}: ${message.text}`);
        return;
      case "goodbye":
        if (message.reason === "orderly") this.#onGoodbye?.();
        else this.#link.drop(message.reason);
        return;
      default:
        this.#link.drop(`the registry sent ${message.type}`);
    }
  }

  #checkReady(): void {
    if (!this.#link.open || !this.#feeds.rememberedAnswered) return;
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
      update: async (instance, options) => {
        this.#checkUsable(instance);
        if (options?.onSuperseded !== undefined) published.onSuperseded = options.onSuperseded;
        this.#publications.update(published, instance);
        await this.#publications.inForce(published);
      },
      withdraw: () => this.#publications.withdraw(published),
    };
  }

  #checkUsable(instance: Instance): void {
    if (this.#closing !== undefined || this.#link.state === "taken-over")
      throw new MeshError("registry.closed", "this connection to the registry has ended");
    this.#checkService(instance.service);
  }

  #checkService(service: string): void {
    if (parseServiceText(service) === undefined || Buffer.byteLength(service) > maxServiceBytes)
      throw new MeshError("registry.refused", `not a canonical service: ${service}`);
  }
}

function instanceSet(feed: Feed): InstanceSet {
  return {
    service: feed.name,
    instances: [...feed.shown.values()].map(({ value }) => value as Instance),
    get freshSince() {
      return feed.freshSince;
    },
  };
}
