/**
 * Services that stand in the configuration, since their applications register nowhere (a database, a cache). Each is published once its port
 * has accepted, and from then on as any other: for as long as it does.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import { serviceText } from "@dualmesh/model/service";
import type { Apps } from "../apps/apps.ts";
import type { Face } from "./face.ts";

export interface DeclaredService {
  /** The name in `tcp/NAME::`. */
  readonly service: string;
  readonly port: number;
  readonly application?: string | undefined;
  readonly host?: string | undefined;
}

export interface DeclaredOptions {
  readonly face: Pick<Face, "publish">;
  readonly apps: Pick<Apps, "untilAccepting">;
  readonly clock: Clock;
  readonly log: Log;
  /** The host of a service that states none. */
  readonly host: string;
  /** Ends what has not been published yet; what has been is the face's. */
  readonly signal: AbortSignal;
}

const retryMs = 5_000;

export function publishDeclared(services: readonly DeclaredService[], options: DeclaredOptions): void {
  const told = new ThrottledLog(options);
  for (const service of services) void publish(instanceOf(service, options), options, told);
}

async function publish(instance: Instance, options: DeclaredOptions, told: ThrottledLog): Promise<void> {
  const { face, apps, clock, signal } = options;
  const { service, host, appPort } = instance;
  const onSuperseded = (): void =>
    told.warn(service, { service, appPort }, "a service of the configuration was registered by somebody else as well");
  while (!signal.aborted) {
    try {
      await apps.untilAccepting(host, appPort, signal);
      await face.publish(instance, { signal, onSuperseded });
      return;
    } catch (error) {
      if (signal.aborted) return;
      told.warn(
        service,
        { service, appPort, error: messageOf(error) },
        "a service of the configuration is not published",
      );
      await sleep(clock, retryMs);
    }
  }
}

function instanceOf({ service: name, port, application, host }: DeclaredService, options: DeclaredOptions): Instance {
  const address = host ?? options.host;
  return {
    service: serviceText({ protocol: "tcp", name, version: "", group: "" }),
    host: address,
    application: application ?? name,
    appPort: port,
    address,
    port,
    weight: 100,
    warmupMs: 0,
    startedAt: 0,
    zone: "",
    labels: {},
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: options.clock.wall(),
    registration: { dialect: "native", text: "" },
  };
}
