/**
 * What an application provides, as its crossing has it carried: the published address of each instance, in both directions. It is on disk
 * before anybody can hear of it, because after a restart the ensemble names the published addresses and only the disk says what they are.
 */
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { decodeName, parseProviderUrl, registrationUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { Address, Carried } from "../face/elsewhere.ts";
import type { Face } from "../face/face.ts";
import { unwatched, watchedOver } from "../face/lasting.ts";
import type { CrossingKeep } from "./keep.ts";

export interface CarriedInstancesOptions {
  readonly face: Pick<Face, "carry">;
  readonly keep: CrossingKeep;
  readonly log: Log;
  /** Of the crossing. */
  readonly name: string;
  readonly host: string;
}

export class CarriedInstances {
  readonly #options: CarriedInstancesOptions;
  readonly #carried = new Map<string, Carried>();
  /** By service and published address, what the application registered. */
  readonly #originals = new Map<string, Instance>();
  #released = false;

  constructor(options: CarriedInstancesOptions) {
    this.#options = options;
  }

  /** Has everything carried again that a former process carried; resolves when it is. */
  async restore(): Promise<void> {
    const { keep, name } = this.#options;
    const records = keep.carried(name);
    for (const { instance, published } of records) this.#originals.set(placeOf(instance.service, published), instance);
    await Promise.all(records.map(({ instance }) => this.#of(instance).inForce()));
  }

  /** As others will see it; undefined when it is not carried. */
  published(instance: Instance): Instance | undefined {
    const address = this.#of(instance).published;
    return address === undefined ? undefined : publishedAt(instance, address);
  }

  /** Why an instance is not carried; empty when it is. */
  bypassed(instance: Instance): string {
    return this.#of(instance).bypassed;
  }

  /** What the application registered that others see so. The node says it too, should the disk have been lost. */
  original(instance: Instance): Instance | undefined {
    const { service, address: host, port, registration } = instance;
    const known = this.#originals.get(placeOf(service, { host, port }));
    if (known !== undefined || host !== this.#options.host) return known;
    const url = registrationUrl(registration.text);
    const said = (url === undefined ? undefined : parseProviderUrl(url)?.parameters) ?? new Map<string, string>();
    const appPort = Number(said.get("dualmesh.app-port"));
    const own = decodeName(said.get("dualmesh.host") ?? "") || host;
    if (said.get("dualmesh.mode") !== "mesh" || !(appPort > 0 && appPort <= 65_535)) return undefined;
    return { ...instance, host: own, appPort, address: own, port: appPort, registration: unwatched(registration) };
  }

  /** Resolves once others reach it, and the disk knows where; to undefined when they cannot. */
  async carried(instance: Instance): Promise<Instance | undefined> {
    const { keep, name, log } = this.#options;
    const carried = this.#of(instance);
    await carried.inForce();
    const { published } = carried;
    if (published === undefined || this.#released) return undefined;
    this.#originals.set(placeOf(instance.service, published), instance);
    keep.putCarried(name, { instance, published });
    try {
      await keep.flushed();
    } catch (error) {
      log.error({ name, error: messageOf(error) }, "an instance stays at its own address: the disk does not take it");
      return undefined;
    }
    return publishedAt(instance, published);
  }

  release(): void {
    this.#released = true;
    for (const carried of this.#carried.values()) carried.release();
    this.#carried.clear();
  }

  #of(instance: Instance): Carried {
    const key = instanceKeyText(instance);
    let carried = this.#carried.get(key);
    if (carried === undefined) {
      carried = this.#options.face.carry(instance, this.#options.host);
      if (carried.bypassed === "") this.#carried.set(key, carried);
    }
    return carried;
  }
}

/** Its own words, at the sidecar's port. */
function publishedAt(instance: Instance, { host: address, port }: Address): Instance {
  return { ...instance, address, port, mode: "mesh", registration: watchedOver(instance.registration) };
}

function placeOf(service: string, { host, port }: Address): string {
  return `${service}|${host}|${port}`;
}
