/** An Eureka door over a directory in memory and a clock that stands still, and what a Spring Boot 3.5 client was seen to send. Test support. */
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { DoorContext } from "../door.ts";
import type { HttpDoor } from "../http-door.ts";
import { ask, type ReceivedAnswer, type SentRequest } from "../testing/http-client.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { type EurekaDoorOptions, openEurekaDoor } from "./door.ts";

export interface EurekaWorld {
  readonly clock: FakeClock;
  readonly directory: MemoryDirectory;
  readonly journal: MemoryJournal;
  door: HttpDoor;
  /** In JSON unless the headers say otherwise. */
  ask(target: string, request?: SentRequest): Promise<ReceivedAnswer>;
  register(changes?: Readonly<Record<string, unknown>>): Promise<ReceivedAnswer>;
  /** The door of the next process on the same journal and directory. */
  restart(): Promise<void>;
  /** The list as a client sees it: `APP id host:port action`. */
  list(part?: string): Promise<readonly string[]>;
}

export async function eurekaWorld(
  context: Partial<DoorContext> = {},
  options: EurekaDoorOptions = {},
): Promise<EurekaWorld> {
  const clock = new FakeClock();
  const directory = new MemoryDirectory({ clock });
  const journal = new MemoryJournal();
  const open = (epoch: number): Promise<HttpDoor> =>
    openEurekaDoor(
      { place: "registry", directory, journal, epoch, clock, random: seededRandom(1), log: silentLog, ...context },
      options,
    );
  const world: EurekaWorld = {
    clock,
    directory,
    journal,
    door: await open(1),
    ask: async (target, request = {}) => {
      const answer = await ask(world.door.handle, target, {
        ...request,
        headers: { accept: "application/json", ...request.headers },
      });
      await clock.advance(0);
      return answer;
    },
    register: (changes = {}) => {
      const posted = postedInstance(changes);
      return world.ask(`/eureka/apps/${String(posted["app"])}`, { body: { instance: posted } });
    },
    restart: async () => {
      await world.door[Symbol.asyncDispose]();
      world.door = await open(2);
      await clock.advance(0);
    },
    list: async (part = "") => {
      const { applications } = (await world.ask(`/eureka/apps/${part}`)).json as unknown as {
        applications: Applications;
      };
      return applications.application.flatMap(({ instance }) =>
        instance.map((one) =>
          [one.app, one.instanceId, `${one.ipAddr}:${one.port.$}`, one.actionType ?? ""].join(" ").trim(),
        ),
      );
    },
  };
  await clock.advance(0);
  return world;
}

export interface Applications {
  readonly versions__delta: string;
  readonly apps__hashcode: string;
  readonly application: readonly { readonly name: string; readonly instance: readonly ShownJson[] }[];
}

interface ShownJson {
  readonly app: string;
  readonly instanceId: string;
  readonly ipAddr: string;
  readonly hostName: string;
  readonly vipAddress: string;
  readonly status: string;
  readonly port: { readonly $: number; readonly "@enabled": string };
  readonly actionType?: string;
}

/** As Spring Boot 3.5 with Spring Cloud 2025.0 posts itself. */
export function postedInstance(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    instanceId: "192.0.2.2:fx-provider:18081",
    app: "FX-PROVIDER",
    appGroupName: null,
    ipAddr: "192.0.2.2",
    sid: "na",
    homePageUrl: "http://192.0.2.2:18081/",
    statusPageUrl: "http://192.0.2.2:18081/actuator/info",
    healthCheckUrl: "http://192.0.2.2:18081/actuator/health",
    secureHealthCheckUrl: null,
    vipAddress: "fx-provider",
    secureVipAddress: "fx-provider",
    countryId: 1,
    dataCenterInfo: { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", name: "MyOwn" },
    hostName: "192.0.2.2",
    status: "UP",
    overriddenStatus: "UNKNOWN",
    leaseInfo: {
      renewalIntervalInSecs: 5,
      durationInSecs: 15,
      registrationTimestamp: 0,
      lastRenewalTimestamp: 0,
      evictionTimestamp: 0,
      serviceUpTimestamp: 0,
    },
    isCoordinatingDiscoveryServer: false,
    lastUpdatedTimestamp: 1_700_000_000_000,
    lastDirtyTimestamp: 1_700_000_000_100,
    asgName: null,
    port: { $: 18081, "@enabled": "true" },
    securePort: { $: 443, "@enabled": "false" },
    metadata: { "management.port": "18081" },
    ...changes,
  };
}
