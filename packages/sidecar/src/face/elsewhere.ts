/**
 * Instances of this host that are carried like those that registered here, while others are told of them elsewhere: the application's own
 * session with its registry names the published port. Here is only what makes that port lead to the application.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { Apps, AppWatch } from "../apps/apps.ts";
import type { PortTable } from "../ports/port-table.ts";
import type { CarriedProtocols } from "./carriage.ts";
import type { Carrier } from "./carrier.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** An instance that is carried on somebody's behalf, until it is released. */
export interface Carried {
  readonly instance: Instance;
  /** Where others reach it, or soon will; undefined when it cannot be carried. It may change until it is in force. */
  readonly published: Address | undefined;
  /** Why it cannot be carried; empty when it can. */
  readonly bypassed: string;
  /** Resolves once others reach it, or once it has turned out that they cannot. What failed before is tried again. */
  inForce(): Promise<void>;
  /** Callers are served for a while yet. */
  release(): void;
}

export interface ElsewhereOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly apps: Apps;
  readonly ports: PortTable;
  readonly protocols: CarriedProtocols;
  readonly carrier: Carrier;
  readonly inboundHost?: string;
  readonly isOwnPort: (port: number) => boolean;
}

/** As many as a sidecar publishes itself. */
const maxCarried = 4_096;
/** How long an application may take to accept before its route goes by the address that it registered. */
const acceptsWithinMs = 2_000;
const wildcards = new Set(["0.0.0.0", "::"]);

export class Elsewhere {
  readonly #options: ElsewhereOptions;
  readonly #carried = new Map<string, CarriedInstance>();

  constructor(options: ElsewhereOptions) {
    this.#options = options;
  }

  /** `host` is where others reach the application. The published address is known at once. */
  carry(instance: Instance, host: string): Carried {
    const key = `elsewhere|${host}|${instanceKeyText(instance)}`;
    let carried = this.#carried.get(key);
    if (carried === undefined) {
      const refused = this.#refused(instance);
      const onEnd = (): void => void this.#carried.delete(key);
      carried = new CarriedInstance({ ...this.#options, key, instance, host, refused, onEnd });
      if (carried.bypassed === "") this.#carried.set(key, carried);
    }
    carried.owners += 1;
    return carried;
  }

  close(): void {
    for (const carried of this.#carried.values()) carried.close();
    this.#carried.clear();
  }

  #refused(instance: Instance): string {
    const { isOwnPort, protocols } = this.#options;
    const reason = protocols.whyBypassed(instance);
    if (reason !== undefined) return reason;
    if (isOwnPort(instance.appPort)) return `port ${instance.appPort} is the sidecar's own`;
    return this.#carried.size >= maxCarried ? `a sidecar carries at most ${maxCarried} instances` : "";
  }
}

interface CarriedOptions extends ElsewhereOptions {
  readonly key: string;
  readonly instance: Instance;
  readonly host: string;
  /** Why it is not even tried. */
  readonly refused: string;
  readonly onEnd: () => void;
}

class CarriedInstance implements Carried {
  readonly instance: Instance;
  owners = 0;
  readonly #options: CarriedOptions;
  #published: Address | undefined;
  #bypassed: string;
  #app: AppWatch | undefined;
  /** Whether the application refused the last dial. */
  #isRefused = false;
  #carrying: Promise<void> | undefined;

  constructor(options: CarriedOptions) {
    const { instance, refused, ports, host, apps } = options;
    this.#options = options;
    this.instance = instance;
    this.#bypassed = refused;
    if (refused !== "") return;
    try {
      const { service, appPort } = instance;
      this.#published = { host, port: ports.assign({ service, host: instance.host, appPort }) };
    } catch (error) {
      if (!(error instanceof MeshError)) throw error; // no port is left
      this.#bypassed = error.message;
      return;
    }
    const { carrier, key } = options;
    // Others are told of it by the application itself, whose session outlives it: nobody but its port says that it is gone.
    this.#app = apps.watch(
      instance.host,
      instance.appPort,
      (health) => this.#said(carrier.inbound.follow(key, health.host)),
      (isAccepted) => {
        this.#isRefused = !isAccepted;
        carrier.refuse(key, this.#isRefused);
      },
    );
    this.#said(this.inForce());
  }

  get published(): Address | undefined {
    return this.#bypassed === "" ? this.#published : undefined;
  }

  get bypassed(): string {
    return this.#bypassed;
  }

  inForce(): Promise<void> {
    this.#carrying ??= this.#carry().catch((error: unknown) => {
      this.#bypassed = messageOf(error);
    });
    return this.#carrying;
  }

  release(): void {
    this.owners -= 1;
    if (this.owners > 0 || this.#app === undefined) return;
    const { carrier, key, onEnd } = this.#options;
    this.close();
    onEnd();
    // What is on its way into force is taken out once it is there.
    this.#said((this.#carrying ?? Promise.resolve()).then(() => carrier.inbound.leave(key)));
  }

  close(): void {
    this.#app?.close();
    this.#app = undefined;
  }

  async #carry(): Promise<void> {
    const app = this.#app;
    if (app === undefined) return;
    const { carrier, key, instance, host, inboundHost } = this.#options;
    const bindHost = inboundHost !== undefined && wildcards.has(inboundHost) ? inboundHost : host;
    await this.#untilAccepting();
    const carriage = await carrier.carry(instance, { key, bindHost, health: () => app.health });
    if (carriage.kind === "mesh") {
      this.#published = { host, port: carriage.port };
      this.#bypassed = "";
      if (this.#isRefused) carrier.refuse(key, true);
    } else {
      this.#bypassed = carriage.reason;
      this.#carrying = undefined; // a port that another process has now may be free the next time
    }
  }

  /** The route leads to the address at which the application accepts; which one that is, is not known before it has been dialled. */
  async #untilAccepting(): Promise<void> {
    const { apps, instance, clock } = this.#options;
    const enough = new AbortController();
    const timer = clock.after(acceptsWithinMs, () => enough.abort());
    try {
      await apps.untilAccepting(instance.host, instance.appPort, enough.signal);
    } catch {
      // It does not accept, which its callers would see without a sidecar as well.
    } finally {
      timer.cancel();
    }
  }

  #said(work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.#options.log.error({ error: messageOf(error) }, "a change of the inbound routes failed"),
    );
  }
}
