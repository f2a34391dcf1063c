/** A face over a directory in memory, with applications that accept or refuse as a test says: for the tests of this folder. */
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { MemoryDirectory } from "@dualmesh/dialects/testing/memory-directory";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import type { InstanceSet } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { Apps } from "../apps/apps.ts";
import { PortTable } from "../ports/port-table.ts";
import { type Face, type FaceOptions, openFace } from "./face.ts";

export const greeter = "dubbo/fx.Greeter::";

/** An instance as a door reads it from a registration of Dubbo. */
export function dubbo(changes: Partial<Instance> & { readonly parameters?: string } = {}): Instance {
  const { parameters = "timestamp=1&prefer.serialization=hessian2,fastjson2", ...rest } = changes;
  const { host = "192.0.2.2", appPort = 20_880 } = rest;
  const text = `dubbo://${host}:${appPort}/fx.Greeter?application=shop&interface=fx.Greeter&${parameters}`;
  const registration = { dialect: "dubbo", text };
  return sampleInstance({ service: greeter, host, application: "shop", appPort, registration, ...rest });
}

export interface World {
  readonly clock: FakeClock;
  readonly directory: MemoryDirectory;
  readonly journal: MemoryJournal;
  readonly face: Face;
  /** `host:port` of the applications that accept. */
  readonly accepting: Set<string>;
  /** `host:port` that the sidecar was asked to open. */
  readonly opened: string[];
  /** `host:port` that it was asked to shut. */
  readonly shut: string[];
  /** Ports that belong to another process. */
  readonly taken: Set<number>;
}

export function openWorld(changes: Partial<FaceOptions> = {}): World {
  const clock = new FakeClock();
  const directory = new MemoryDirectory({ clock });
  const journal = new MemoryJournal();
  const accepting = new Set<string>();
  const opened: string[] = [];
  const shut: string[] = [];
  const taken = new Set<number>();
  const apps = new Apps({
    clock,
    random: seededRandom(3),
    log: silentLog,
    dial: async (host, port) => (accepting.has(`${host}:${port}`) ? "accepted" : "refused"),
  });
  const range = { from: 20_900, to: 20_909 };
  const ports = new PortTable({ journal, clock, log: silentLog, inboundPort: 20_881, range });
  const openPort = async (host: string, port: number): Promise<void> => {
    if (taken.has(port)) throw new MeshError("listen.port-taken", `${host}:${port} is in use`);
    opened.push(`${host}:${port}`);
  };
  const loopback = { host: "127.0.0.1", port: 20_882 };
  const isOwnPort = (port: number): boolean => port === 20_882;
  const face = openFace({
    directory,
    clock,
    log: silentLog,
    apps,
    ports,
    loopback,
    openPort,
    shutPort: async (host, port) => void shut.push(`${host}:${port}`),
    isOwnPort,
    ...changes,
  });
  return { clock, directory, journal, face, accepting, opened, shut, taken };
}

/** What a subscriber was shown, one line for each set: `127.0.0.1:20882 192.0.2.2:20880`. */
export function subscribe(face: Face, service: string): { readonly shown: string[]; readonly sets: InstanceSet[] } {
  const shown: string[] = [];
  const sets: InstanceSet[] = [];
  face.watch(service, (set) => {
    sets.push(set);
    const line = set.instances.map(({ address, port }) => `${address}:${port}`).join(" ");
    if (shown.at(-1) !== line) shown.push(line);
  });
  return { shown, sets };
}
