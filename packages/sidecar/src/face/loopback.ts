/**
 * The one instance that stands for all carried providers of a service: the sidecar's own outbound port. It wears the registration of a
 * real provider, so that a door of the same dialect shows the URL that the provider wrote, but for host and port.
 *
 * Dialects that name an instance by its URL show a changed URL as one provider that goes and another that comes, and clients lose calls
 * in between. So what is worn stays as long as it tells callers what they need, whoever wrote it and whether or not that one is still
 * there; when it must change, the new one is shown beside the old one for a while.
 */

import { overlapMs } from "@dualmesh/dialects/overlap";
import { type Instance, instanceKeyText, type Registration } from "@dualmesh/model/instance";
import { lasting } from "./lasting.ts";
import { cover, isWithin, offerMore, type Terms, termsOf } from "./terms.ts";

export interface LoopbackAddress {
  readonly host: string;
  readonly port: number;
}

export interface LoopbackView {
  /** The present one, and its predecessor while that lasts. */
  readonly instances: readonly Instance[];
  /** Clock time at which the view changes by itself; undefined when it does not. */
  readonly changesAt: number | undefined;
}

const native: Registration = { dialect: "native", text: "" };
/** Between two changes the present one is shown alone. */
const restMs = 1_000;
/** Constant, so that one is told from another by what it wears alone. */
const application = "dualmesh";
export class Loopback {
  readonly #service: string;
  readonly #address: LoopbackAddress;
  #newest: Instance;
  /** Undefined while nobody's registration is worn. */
  #terms: Terms | undefined;
  #shown: Instance | undefined;
  #former: { readonly instance: Instance; readonly until: number } | undefined;
  /** Clock time before which no change begins, so that none begins in the step in which another ends. */
  #restsUntil = Number.NEGATIVE_INFINITY;

  constructor(service: string, address: LoopbackAddress) {
    this.#service = service;
    this.#address = address;
    this.#newest = this.#wearing(native);
  }

  /** The newest one: the same object until what it says has changed. */
  get instance(): Instance {
    return this.#newest;
  }

  follow(carried: readonly Instance[]): void {
    const candidates = carried.filter(({ registration }) => registration.dialect !== native.dialect);
    const first = candidates[0];
    if (first === undefined) return;
    const common = new Set(termsOf(first.registration).serializations);
    for (const { registration } of candidates) {
      const { serializations } = termsOf(registration);
      for (const one of common) if (!serializations.has(one)) common.delete(one);
    }
    const isSpoken = (terms: Terms): boolean => isWithin(terms.serializations, common);
    let best = first;
    for (const instance of candidates) if (isBetter(instance, best, isSpoken)) best = instance;
    const worn = this.#terms;
    const terms = termsOf(best.registration);
    const isRight =
      worn !== undefined &&
      (isSpoken(worn) || !isSpoken(terms)) &&
      !offerMore(terms, worn) &&
      candidates.some(({ registration }) => cover(worn, termsOf(registration)));
    if (isRight) return;
    this.#terms = terms;
    this.#newest = this.#wearing(lasting(best.registration));
  }

  /**
   * What is to be shown at clock time `now`, which never goes back. A change that comes while another is under way waits for its end,
   * so that there are never more than two. `unseen`: nobody has seen what was shown, and it needs no overlap.
   */
  view(now: number, unseen: boolean): LoopbackView {
    if (this.#former !== undefined && this.#former.until <= now) {
      this.#former = undefined;
      this.#restsUntil = now + restMs;
    }
    if (this.#shown === undefined || unseen) this.#shown = this.#newest;
    if (this.#shown !== this.#newest && this.#former === undefined && this.#restsUntil <= now) {
      this.#former = { instance: this.#shown, until: now + overlapMs };
      this.#shown = this.#newest;
    }
    const waits = this.#shown !== this.#newest;
    if (this.#former === undefined)
      return { instances: [this.#shown], changesAt: waits ? this.#restsUntil : undefined };
    return { instances: [this.#shown, this.#former.instance], changesAt: this.#former.until };
  }

  /** It is not shown any more: what comes next has no predecessor. */
  hide(): void {
    this.#shown = undefined;
    this.#former = undefined;
  }

  #wearing(registration: Registration): Instance {
    const { host, port } = this.#address;
    return {
      service: this.#service,
      host,
      application,
      // Nobody dials this. Two that are shown together must differ in their key, and it is the one part that no name shows.
      appPort: this.#shown?.appPort === port ? 0 : port,
      address: host,
      port,
      weight: 100,
      warmupMs: 0,
      startedAt: 0,
      zone: "",
      labels: {},
      mode: "mesh",
      security: "plain",
      identity: "",
      bypassed: "",
      incarnation: 0,
      registration,
    };
  }
}

/**
 * An order that every sidecar finds alike: what every provider understands first, then what names most methods, then what was written for
 * consumers to read, then by key.
 */
function isBetter(one: Instance, other: Instance, isSpoken: (terms: Terms) => boolean): boolean {
  const [terms, others] = [termsOf(one.registration), termsOf(other.registration)];
  if (isSpoken(terms) !== isSpoken(others)) return isSpoken(terms);
  const more = (terms.methods?.size ?? 0) - (others.methods?.size ?? 0);
  if (more !== 0) return more > 0;
  const isReadable = ({ registration }: Instance): boolean => registration.text.includes("://");
  if (isReadable(one) !== isReadable(other)) return isReadable(one);
  return instanceKeyText(one) < instanceKeyText(other);
}
