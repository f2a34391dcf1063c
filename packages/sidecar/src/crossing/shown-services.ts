/**
 * What a consumer in the mesh is shown in a list: for each service the stand-in at the sidecar's outbound port, once the data path can
 * call its providers, and until then the providers themselves. A service that has a stand-in keeps it: what follows is the face's, which
 * shows old and new together whenever something changes.
 */
import { type Clock, sleep, type Timer } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { RealList } from "@dualmesh/dialects/zookeeper/before/owner";
import type { Watch } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import type { Face } from "../face/face.ts";
import type { CrossingKeep } from "./keep.ts";

export interface ShownServicesOptions {
  readonly face: Pick<Face, "watch">;
  /** True when a call to the service at the outbound port finds a provider. */
  readonly reaches: (service: string) => boolean;
  /** The outbound port, as stand-ins name it. */
  readonly outbound: { readonly host: string; readonly port: number };
  readonly clock: Clock;
  readonly told: ThrottledLog;
  readonly keep: CrossingKeep;
  /** Of the crossing. */
  readonly name: string;
  /** What is shown has changed. */
  readonly onChange: () => void;
}

interface Followed {
  readonly service: string;
  /** Undefined when the directory takes no more. */
  watch: Watch | undefined;
  instances: readonly Instance[];
  /** A stand-in is shown, or what the face has in its place. */
  adopted: boolean;
  /** Clock time until which the providers themselves are shown as well. */
  realUntil: number;
  /** Dialects and interfaces in whose lists it is shown by its stand-in. */
  readonly places: Set<string>;
  timer: Timer | undefined;
}

/** At one more, a service is shown as it is. A directory of this kind follows 10,000 lists. */
const maxFollowed = 10_000;
const pollMs = 20;
const overlapMs = 6_000;

export class ShownServices {
  readonly #options: ShownServicesOptions;
  readonly #followed = new Map<string, Followed>();
  /** By dialect and interface, the services that have been shown there by stand-ins. */
  readonly #ofInterface = new Map<string, Set<string>>();

  constructor(options: ShownServicesOptions) {
    this.#options = options;
  }

  /** Goes on with what a former process showed; resolves when that is known again, or after `withinMs`. */
  async restore(withinMs: number): Promise<void> {
    const { keep, name, clock } = this.#options;
    for (const { service, places, realUntil } of keep.adopted(name)) {
      const followed = this.#follow(service);
      if (followed?.watch === undefined) continue;
      followed.adopted = true;
      this.#showReal(followed, realUntil - clock.wall());
      for (const place of places) this.#standsIn(followed, place);
    }
    await this.#until(() => this.#pending([...this.#followed.keys()]).length === 0, withinMs);
  }

  /** Begins to show stand-ins for these services. Resolves to those that have none: nothing of them can be carried, or nobody has said yet. */
  async prepare(services: readonly string[], withinMs: number, signal: AbortSignal): Promise<readonly string[]> {
    for (const service of services) this.#follow(service);
    await this.#until(() => this.#pending(services).every((service) => this.#isAnswered(service)), withinMs, signal);
    for (const service of services) this.#adopt(service, 0);
    return services.filter((service) => this.#followed.get(service)?.adopted !== true);
  }

  /** A consumer will soon read the list of this service. */
  expect(service: string): void {
    this.#follow(service);
  }

  shown({ dialect, interfaceName, instances }: RealList): readonly Instance[] {
    const real = new Map<string, Instance[]>();
    for (const instance of instances) {
      const same = real.get(instance.service);
      if (same === undefined) real.set(instance.service, [instance]);
      else same.push(instance);
    }
    const place = `${dialect} ${interfaceName}`;
    const known = this.#ofInterface.get(place) ?? new Set<string>();
    // Of a service that is gone from this list the sidecar may know better: a list that is suddenly empty is not believed at once.
    for (const service of known) if (!real.has(service) && this.#options.reaches(service)) real.set(service, []);
    return [...real].flatMap(([service, own]) => {
      const followed = this.#follow(service);
      this.#adopt(service, overlapMs);
      if (followed?.adopted !== true || followed.instances.length === 0) return own;
      if (this.#standsIn(followed, place)) this.#keep(followed);
      const shown = followed.instances.map((one) => own.find((other) => isSamePlace(one, other)) ?? one);
      return followed.realUntil > this.#options.clock.now() ? [...new Set([...shown, ...own])] : shown;
    });
  }

  /** True when that was not known. */
  #standsIn({ service, places }: Followed, place: string): boolean {
    const services = this.#ofInterface.get(place) ?? new Set<string>();
    if (services.has(service)) return false;
    this.#ofInterface.set(place, services.add(service));
    places.add(place);
    return true;
  }

  /** A service that has a stand-in, as a process that takes over has to show it. */
  #keep({ service, places, realUntil }: Followed): void {
    const { keep, name, clock } = this.#options;
    const leftMs = realUntil - clock.now();
    keep.putAdopted(name, { service, places: [...places], realUntil: leftMs > 0 ? clock.wall() + leftMs : 0 });
  }

  /** Nobody is shown stand-ins any more. */
  clear(): void {
    const { keep, name } = this.#options;
    for (const { service, watch, timer } of this.#followed.values()) {
      watch?.close();
      timer?.cancel();
      keep.deleteAdopted(name, service);
    }
    this.#followed.clear();
    this.#ofInterface.clear();
  }

  /** Lets go of everything; the disk keeps it. */
  close(): void {
    for (const { watch, timer } of this.#followed.values()) {
      watch?.close();
      timer?.cancel();
    }
    this.#followed.clear();
  }

  #follow(service: string): Followed | undefined {
    const known = this.#followed.get(service);
    if (known !== undefined) return known;
    const { face, told } = this.#options;
    if (this.#followed.size >= maxFollowed) {
      told.warn("", { service, maxFollowed }, "too many services are shown by stand-ins; this one is shown as it is");
      return undefined;
    }
    const followed: Followed = {
      service,
      watch: undefined,
      instances: [],
      adopted: false,
      realUntil: 0,
      places: new Set(),
      timer: undefined,
    };
    this.#followed.set(service, followed);
    try {
      followed.watch = face.watch(service, ({ instances }) => {
        followed.instances = instances;
        this.#options.onChange();
      });
    } catch (error) {
      if (!(error instanceof MeshError)) throw error; // a limit of the directory's, or a protocol that it does not have
      told.warn(error.code, { service, error: error.message }, "a service cannot be followed and is shown as it is");
    }
    return followed;
  }

  /** Shows the stand-in from now on, if it leads anywhere, and for a while the providers beside it. */
  #adopt(service: string, besideMs: number): void {
    const { reaches } = this.#options;
    const followed = this.#followed.get(service);
    if (followed === undefined || followed.adopted) return;
    if (!reaches(service) || !followed.instances.some((one) => this.#isStandIn(one))) return;
    followed.adopted = true;
    this.#showReal(followed, besideMs);
    this.#keep(followed);
  }

  /** The providers themselves, beside the stand-in, until a client has surely taken that. */
  #showReal(followed: Followed, besideMs: number): void {
    if (besideMs <= 0) return;
    const { clock, onChange } = this.#options;
    const leftMs = Math.min(besideMs, overlapMs);
    followed.realUntil = clock.now() + leftMs;
    followed.timer = clock.after(leftMs, onChange);
  }

  /** Those that have not been heard of, or have no stand-in that leads anywhere yet. */
  #pending(services: readonly string[]): readonly string[] {
    return services.filter((service) => {
      const followed = this.#followed.get(service);
      if (followed?.watch === undefined) return false;
      return !this.#options.reaches(service) || !followed.instances.some((one) => this.#isStandIn(one));
    });
  }

  /** The directory has said who there is, and none of them has a stand-in. */
  #isAnswered(service: string): boolean {
    const instances = this.#followed.get(service)?.instances ?? [];
    return instances.length > 0 && !instances.some((one) => this.#isStandIn(one));
  }

  #isStandIn({ address, port }: Instance): boolean {
    const { outbound } = this.#options;
    return address === outbound.host && port === outbound.port;
  }

  async #until(holds: () => boolean, withinMs: number, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const end = clock.now() + withinMs;
    while (!holds() && clock.now() < end) await sleep(clock, pollMs, signal);
  }
}

function isSamePlace(one: Instance, other: Instance): boolean {
  return one.address === other.address && one.port === other.port;
}
