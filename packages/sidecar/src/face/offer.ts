/**
 * One instance on its way upstream. What is wanted (the newest registration, an application that accepts) and what is in force are
 * compared again and again until they agree; a change on the way ends the wait for what is no longer wanted, so that an upstream out of
 * reach never holds back a newer state.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Directory, Publication, PublishOptions } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { type AppHealth, type AppWatch, isPublishable } from "../apps/apps.ts";

/** How an instance is published. */
export type Carriage =
  | { readonly kind: "mesh"; readonly port: number }
  | { readonly kind: "bypassed"; readonly reason: string };

export interface OfferOptions {
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Log;
  readonly watchApp: (instance: Instance, listener: (health: AppHealth) => void) => AppWatch;
  /** Decides how the instance is published and makes that possible. */
  readonly carry: (instance: Instance) => Promise<Carriage>;
  /** The instance as it is published. */
  readonly target: (instance: Instance, carriage: Carriage) => Instance;
  readonly onHealth: (health: AppHealth) => void;
  /** Nothing is published any more and nothing will be. */
  readonly onEnd: () => void;
}

/** Whoever registered last; what an earlier owner asks for is not heard. */
interface Owner {
  readonly onSuperseded: (() => void) | undefined;
}

const retryMs = 5_000;

export class Offer {
  readonly #options: OfferOptions;
  #original: Instance;
  #alongside = false;
  #owner: Owner | undefined;
  #app: AppWatch | undefined;
  #health: AppHealth;
  #carriage: { readonly of: Instance; readonly value: Carriage } | undefined;
  #upstream: Publication | undefined;
  #published: { readonly from: Instance; readonly instance: Instance } | undefined;
  /** The latest attempt to publish; what an earlier one is told says nothing any more. */
  #attempt: object | undefined;
  /** Whether it has ever been in force: what never was is refused for good, and its owner knows. */
  #wasInForce = false;
  #withdrawn = false;
  #suspended = false;
  #over = false;
  #dirty = false;
  #running = false;
  #endWait: (() => void) | undefined;
  #retry: Timer | undefined;
  #inForce: PromiseWithResolvers<void>[] = [];
  #gone: PromiseWithResolvers<void>[] = [];

  constructor(original: Instance, options: OfferOptions) {
    this.#original = original;
    this.#options = options;
    const { host, appPort: port } = original;
    this.#health = { registeredHost: host, port, state: "starting", host: "127.0.0.1", since: options.clock.wall() };
  }

  get original(): Instance {
    return this.#original;
  }

  get health(): AppHealth {
    return this.#app?.health ?? this.#health;
  }

  get published(): Instance | undefined {
    return this.#published?.instance;
  }

  get carriage(): Carriage | undefined {
    return this.#carriage?.value;
  }

  /** Takes the registration over from whoever had it. */
  own(original: Instance, options: PublishOptions): object {
    const former = this.#owner;
    const owner: Owner = { onSuperseded: options.onSuperseded };
    this.#owner = owner;
    this.#withdrawn = false;
    this.#settleGone();
    if (former !== undefined) {
      this.#rejectInForce(superseded(this.#original));
      former.onSuperseded?.();
    }
    this.#replace(original, options);
    return owner;
  }

  /** Resolves when the newest registration is in force upstream. */
  inForce(owner: object, signal?: AbortSignal): Promise<void> {
    if (this.#over || this.#owner !== owner) return Promise.reject(superseded(this.#original));
    const waiter = Promise.withResolvers<void>();
    this.#inForce.push(waiter);
    this.#poke();
    if (signal === undefined) return waiter.promise;
    const onAbort = (): void => waiter.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    return waiter.promise.finally(() => signal.removeEventListener("abort", onAbort));
  }

  async replace(owner: object, original: Instance, options: PublishOptions = {}): Promise<void> {
    if (this.#over || this.#owner !== owner || this.#withdrawn) return;
    this.#replace(original, options);
    try {
      await this.inForce(owner);
    } catch (error) {
      // Its owner has withdrawn it meanwhile: that is what was wanted last, and no failure of what was wanted before.
      if (!isMeshError(error, "publish.withdrawn")) throw error;
    }
  }

  async withdraw(owner: object): Promise<void> {
    if (this.#over || this.#owner !== owner) return;
    this.#withdrawn = true;
    this.#health = this.health;
    this.#app?.close();
    this.#app = undefined;
    await this.#untilGone();
  }

  /** Takes the instance back upstream and does not publish it again. Its owner is not told. */
  async suspend(): Promise<void> {
    if (this.#over) return;
    this.#suspended = true;
    await this.#untilGone();
  }

  /** Lets go of everything and tells nobody. */
  close(): void {
    this.#over = true;
    this.#app?.close();
    this.#retry?.cancel();
    this.#endWait?.();
    this.#settleGone();
  }

  get #isWanted(): boolean {
    return !this.#withdrawn && !this.#suspended && isPublishable(this.health.state);
  }

  #replace(original: Instance, options: PublishOptions): void {
    const moved = this.#original.host !== original.host;
    this.#original = original;
    this.#alongside = options.alongside ?? false;
    if (moved || this.#app === undefined) {
      const former = this.#app;
      this.#app = this.#options.watchApp(original, (health) => this.#heard(health));
      former?.close(); // after the new one, so that what is known of a shared application is kept
    }
    this.#poke();
  }

  #heard(health: AppHealth): void {
    this.#options.onHealth(health);
    this.#poke();
  }

  #untilGone(): Promise<void> {
    const waiter = Promise.withResolvers<void>();
    this.#gone.push(waiter);
    this.#poke();
    return waiter.promise;
  }

  #poke(): void {
    this.#dirty = true;
    this.#endWait?.();
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#dirty && !this.#over) {
      this.#dirty = false;
      this.#retry?.cancel();
      try {
        await (this.#isWanted ? this.#bring() : this.#take());
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#running = false;
  }

  async #bring(): Promise<void> {
    const original = this.#original;
    if (this.#carriage?.of !== original) {
      const value = await this.#options.carry(original);
      if (this.#over) return;
      this.#carriage = { of: original, value };
      if (this.#dirty) return;
    }
    if (this.#upstream !== undefined && this.#published?.from === original) return this.#settleInForce();
    const instance = this.#options.target(original, this.#carriage.value);
    if (this.#upstream === undefined) await this.#publish(instance);
    else await this.#unlessPoked(this.#upstream.update(instance, { alongside: this.#alongside }));
    if (this.#over || this.#upstream === undefined || this.#dirty) return;
    this.#published = { from: original, instance };
    this.#settleInForce();
  }

  async #publish(instance: Instance): Promise<void> {
    const giveUp = new AbortController();
    const attempt = {};
    this.#attempt = attempt;
    let settled = false;
    const publishing = this.#options.directory
      .publish(instance, {
        signal: giveUp.signal,
        alongside: this.#alongside,
        onSuperseded: () => {
          if (this.#attempt === attempt) this.#superseded();
        },
      })
      .finally(() => {
        settled = true;
      });
    await this.#unlessPoked(publishing);
    if (!settled) giveUp.abort(new DOMException("the registration has changed", "AbortError"));
    try {
      this.#upstream = await publishing;
    } catch (error) {
      if (!giveUp.signal.aborted) throw error;
    }
  }

  async #take(): Promise<void> {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#attempt = undefined;
    this.#published = undefined;
    if (upstream !== undefined) await this.#unlessPoked(upstream.withdraw());
    if (this.#dirty || this.#over) return;
    this.#settleGone();
    if (this.#withdrawn) this.#end();
  }

  /** Waits for `work`, or until something newer is wanted. */
  async #unlessPoked(work: Promise<unknown>): Promise<void> {
    const poked = Promise.withResolvers<void>();
    this.#endWait = poked.resolve;
    if (this.#dirty) poked.resolve();
    let left = false;
    work.catch((error: unknown) => {
      if (left)
        this.#options.log.debug({ error: messageOf(error) }, "a change that was overtaken by a newer one failed");
    });
    try {
      await Promise.race([work, poked.promise]);
    } finally {
      left = true;
      this.#endWait = undefined;
    }
  }

  #failed(error: unknown): void {
    if (this.#over) return;
    const { service } = this.#original;
    this.#rejectInForce(error);
    if (this.#withdrawn || !this.#wasInForce) {
      this.#settleGone();
      this.#end();
      return;
    }
    // A source that refuses an update may have let go of what it had: the next attempt publishes anew.
    this.#upstream = undefined;
    this.#options.log.warn({ service, error: messageOf(error), retryMs }, "an instance could not be published");
    this.#retry = this.#options.clock.after(retryMs, () => this.#poke());
  }

  #superseded(): void {
    if (this.#over) return;
    this.#rejectInForce(superseded(this.#original));
    this.#settleGone();
    this.#end();
    this.#owner?.onSuperseded?.();
  }

  #end(): void {
    this.#published = undefined;
    this.#upstream = undefined;
    this.close();
    this.#rejectInForce(new MeshError("publish.withdrawn", `${this.#original.service} was withdrawn`));
    this.#options.onEnd();
  }

  #settleInForce(): void {
    this.#wasInForce = true;
    for (const waiter of this.#inForce.splice(0)) waiter.resolve();
  }

  #rejectInForce(error: unknown): void {
    for (const waiter of this.#inForce.splice(0)) waiter.reject(error);
  }

  #settleGone(): void {
    for (const waiter of this.#gone.splice(0)) waiter.resolve();
  }
}

function superseded(instance: Instance): MeshError {
  return new MeshError("publish.superseded", `${instance.service} was registered again elsewhere`, {
    service: instance.service,
    appPort: instance.appPort,
  });
}
