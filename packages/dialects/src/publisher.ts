/**
 * Turns registrations into publications. Several registrations may claim the same instance for a while (a process that registers
 * again before its former session has expired, a URL that was written anew with other parameters): the last claim is in force, and
 * a claim that ends hands over to the one before it.
 *
 * A registration that the directory has not taken on is refused, and whoever made it is told. One that it has taken on is kept: what
 * the source says against it later is shown, and it is tried again for as long as it is claimed.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Directory, Publication } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";

/** Who registered an instance. */
export interface Claimant {
  /** Somebody else did so later, elsewhere. */
  superseded: boolean;
  /** Why it is not published although it was accepted; empty when it is, or may be soon. */
  refused: string;
}

interface Claim<C> {
  readonly claimant: C;
  readonly instance: Instance;
}

interface Published<C> {
  claims: Claim<C>[];
  readonly giveUp: AbortController;
  readonly taken: PromiseWithResolvers<void>;
  /** The directory has taken it on, or had in a former process. */
  kept: boolean;
  publication: Publication | undefined;
  retry: Timer | undefined;
  over: boolean;
}

export interface PublisherOptions {
  readonly directory: Directory;
  readonly clock: Clock;
  readonly told: ThrottledLog;
}

/** Between two attempts to publish what was accepted and is refused, in milliseconds. */
const retryMs = 10_000;

export class Publisher<C extends Claimant> {
  readonly #options: PublisherOptions;
  readonly #published = new Map<string, Published<C>>();

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the directory has taken the instance on, and rejects when it refuses it. With `accepted` it has been accepted
   * before: then it is kept whatever the directory says.
   */
  publish(claimant: C, instance: Instance, accepted = false): Promise<void> {
    const key = instanceKeyText(instance);
    let published = this.#published.get(key);
    if (published === undefined) {
      published = {
        claims: [{ claimant, instance }],
        giveUp: new AbortController(),
        taken: Promise.withResolvers(),
        kept: accepted,
        publication: undefined,
        retry: undefined,
        over: false,
      };
      this.#published.set(key, published);
      this.#attempt(key, published);
    } else {
      published.claims = [...published.claims.filter((claim) => claim.claimant !== claimant), { claimant, instance }];
      published.kept ||= accepted;
      this.#update(published);
    }
    return accepted ? Promise.resolve() : published.taken.promise;
  }

  withdraw(claimant: C, instance: Instance): void {
    const key = instanceKeyText(instance);
    const known = this.#published.get(key);
    if (known === undefined) return;
    const wasInForce = known.claims.at(-1)?.claimant === claimant;
    known.claims = known.claims.filter((claim) => claim.claimant !== claimant);
    if (known.claims.length === 0) this.#end(key, known);
    else if (wasInForce) this.#update(known);
  }

  /** What is published stays with the directory. */
  close(): void {
    for (const { retry } of this.#published.values()) retry?.cancel();
    this.#published.clear();
  }

  #attempt(key: string, published: Published<C>): void {
    const claim = published.claims.at(-1) as Claim<C>;
    const onAccepted = (): void => {
      published.kept = true;
      published.taken.resolve();
    };
    const onSuperseded = (): void => this.#superseded(key, published);
    const { signal } = published.giveUp;
    this.#options.directory.publish(claim.instance, { signal, onAccepted, onSuperseded }).then(
      (publication) => {
        onAccepted();
        published.publication = publication;
        for (const { claimant } of published.claims) claimant.refused = "";
        if (published.claims.length === 0) this.#settle(key, publication.withdraw());
        else if (published.claims.at(-1)?.instance !== claim.instance) this.#update(published);
      },
      (error: unknown) => this.#refused(key, published, error),
    );
  }

  #refused(key: string, published: Published<C>, error: unknown): void {
    if (this.#published.get(key) !== published) return published.taken.resolve(); // nobody claims it any more
    if (!published.kept) {
      this.#published.delete(key);
      published.taken.reject(error);
      return;
    }
    published.taken.resolve();
    const { clock, told } = this.#options;
    for (const { claimant } of published.claims) claimant.refused = messageOf(error);
    told.error(key, { instance: key, error: messageOf(error), retryMs }, "a registration could not be published");
    published.retry = clock.after(retryMs, () => this.#attempt(key, published));
  }

  /** Somebody else registered the same instance later: what this door still holds of it says nothing any more. */
  #superseded(key: string, published: Published<C>): void {
    published.over = true;
    published.retry?.cancel();
    for (const { claimant } of published.claims) claimant.superseded = true;
    if (this.#published.get(key) === published) this.#published.delete(key);
    this.#options.told.info(key, { instance: key }, "a registration was superseded by a later one elsewhere");
  }

  #update(published: Published<C>): void {
    const claim = published.claims.at(-1);
    if (published.publication === undefined || published.over || claim === undefined) return;
    this.#settle(instanceKeyText(claim.instance), published.publication.update(claim.instance));
  }

  #end(key: string, published: Published<C>): void {
    this.#published.delete(key);
    published.retry?.cancel();
    published.taken.resolve();
    if (published.over) return;
    if (published.publication === undefined) published.giveUp.abort();
    else this.#settle(key, published.publication.withdraw());
  }

  #settle(key: string, outcome: Promise<void>): void {
    outcome.catch((error: unknown) =>
      this.#options.told.warn(key, { instance: key, error: messageOf(error) }, "a change of a registration failed"),
    );
  }
}
