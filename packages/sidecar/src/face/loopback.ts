/**
 * The one instance that stands for all carried providers of a service: the sidecar's own outbound port. It wears the registration of a
 * real provider, so that a door of the same dialect shows the URL that the provider wrote, but for host and port.
 */
import type { Instance, Registration } from "@dualmesh/model/instance";
import { instanceKeyText } from "@dualmesh/model/instance";

export interface LoopbackAddress {
  readonly host: string;
  readonly port: number;
}

const native: Registration = { dialect: "native", text: "" };
/** Constant, since dialects name instances by their key: another application's name would look like another instance. */
const application = "dualmesh";
/** What differs from one process of an application to the next, and says nothing to a caller of all of them. */
const volatileParameter = /([?&])(?:timestamp|pid|startTime|id)=[^&]*/g;
const authority = /^([^:/?]+:\/\/)[^/?]*/;
/** A caller without a tag passes over a provider that has one, even if it is the only one: the sidecar balances over all of them. */
const tag = /([?&])dubbo\.tag=[^&]*/;

export class Loopback {
  readonly #service: string;
  readonly #address: LoopbackAddress;
  #registration: Registration = native;
  #essence = "";
  #instance: Instance | undefined;

  constructor(service: string, address: LoopbackAddress) {
    this.#service = service;
    this.#address = address;
  }

  /** The same object until what it says has changed. */
  get instance(): Instance {
    this.#instance ??= {
      service: this.#service,
      host: this.#address.host,
      application,
      appPort: this.#address.port,
      address: this.#address.host,
      port: this.#address.port,
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
      registration: this.#registration,
    };
    return this.#instance;
  }

  /**
   * Dialects that name an instance by its URL show a changed URL as one instance that goes and another that comes. So the registration
   * stays as long as any carried provider says the same, and when there is none left it stays too.
   */
  follow(carried: readonly Instance[]): void {
    let best: Instance | undefined;
    for (const instance of carried) {
      const { dialect, text } = instance.registration;
      if (dialect === this.#registration.dialect && essenceOf(text) === this.#essence) return;
      if (best === undefined || isBetter(instance, best)) best = instance;
    }
    if (best === undefined) return;
    const { dialect, text } = best.registration;
    const essence = essenceOf(text);
    if (dialect === this.#registration.dialect && essence === this.#essence) return;
    this.#essence = essence;
    this.#registration = { dialect, text: withoutTag(text) };
    this.#instance = undefined;
  }
}

/** An order that every sidecar finds alike: what was written for consumers to read first, then by key. */
function isBetter(one: Instance, other: Instance): boolean {
  const rank = ({ registration }: Instance): number => (registration.text.includes("://") ? 0 : 1);
  if (rank(one) !== rank(other)) return rank(one) < rank(other);
  return instanceKeyText(one) < instanceKeyText(other);
}

function essenceOf(text: string): string {
  return withoutTag(text).replace(authority, "$1").replace(volatileParameter, "$1");
}

function withoutTag(text: string): string {
  return text.replace(tag, "$1").replace("?&", "?").replace("&&", "&");
}
