/**
 * Turns registrations into publications. Several registrations may claim the same instance for a while (a process that registers
 * again before its former session has expired, a URL that was written anew with other parameters): the last claim is in force, and
 * a claim that ends hands over to the one before it.
 */
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Directory, Publication } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";

/** Who registered an instance; told when somebody else did so later. */
export interface Claimant {
  superseded: boolean;
}

interface Claim<C> {
  readonly claimant: C;
  readonly instance: Instance;
}

interface Published<C> {
  claims: Claim<C>[];
  readonly giveUp: AbortController;
  publication: Publication | undefined;
  over: boolean;
}

export class Publisher<C extends Claimant> {
  readonly #directory: Directory;
  readonly #log: Log;
  readonly #published = new Map<string, Published<C>>();

  constructor(directory: Directory, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  publish(claimant: C, instance: Instance): void {
    const key = instanceKeyText(instance);
    const known = this.#published.get(key);
    if (known === undefined) return this.#begin(key, { claimant, instance });
    known.claims = [...known.claims.filter((claim) => claim.claimant !== claimant), { claimant, instance }];
    this.#update(known);
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

  #begin(key: string, claim: Claim<C>): void {
    const published: Published<C> = {
      claims: [claim],
      giveUp: new AbortController(),
      publication: undefined,
      over: false,
    };
    this.#published.set(key, published);
    const onSuperseded = (): void => {
      // Somebody else registered the same instance later: what this door still holds of it says nothing any more.
      published.over = true;
      for (const { claimant } of published.claims) claimant.superseded = true;
      if (this.#published.get(key) === published) this.#published.delete(key);
      this.#log.info({ instance: key }, "a registration was superseded by a later one elsewhere");
    };
    this.#directory.publish(claim.instance, { signal: published.giveUp.signal, onSuperseded }).then(
      (publication) => {
        published.publication = publication;
        if (published.claims.length === 0) this.#settle(key, publication.withdraw());
        else if (published.claims.at(-1)?.instance !== claim.instance) this.#update(published);
      },
      (error) => {
        if (this.#published.get(key) === published) this.#published.delete(key);
        if (!published.giveUp.signal.aborted) {
          this.#log.error({ instance: key, error: messageOf(error) }, "a registration could not be published");
        }
      },
    );
  }

  #update(published: Published<C>): void {
    const claim = published.claims.at(-1);
    if (published.publication === undefined || published.over || claim === undefined) return;
    this.#settle(instanceKeyText(claim.instance), published.publication.update(claim.instance));
  }

  #end(key: string, published: Published<C>): void {
    this.#published.delete(key);
    if (published.over) return;
    if (published.publication === undefined) published.giveUp.abort();
    else this.#settle(key, published.publication.withdraw());
  }

  #settle(key: string, outcome: Promise<void>): void {
    outcome.catch((error) =>
      this.#log.warn({ instance: key, error: messageOf(error) }, "a change of a registration failed"),
    );
  }
}
