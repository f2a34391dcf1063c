/**
 * The product's own processes in the demo, started by its own command line as anyone would: one registry, and a sidecar for each service
 * that moves in. What the demo needs to know of their configuration and of their admin pages is here and nowhere else.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Clock } from "@dualmesh/base/clock";
import { sleep } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { freshBundle } from "../run/bundle.ts";
import { supervisedVariable } from "../run/signals.ts";
import { type Child, startChild } from "./processes.ts";
import type { Upgraded } from "./story.ts";

export interface PartOptions {
  /** Where the part keeps its configuration and its state. */
  readonly folder: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onUnexpectedEnd: (error: MeshError) => void;
}

export interface RegistryPorts {
  readonly stream: number;
  readonly zookeeper: number;
  readonly http: number;
  readonly admin: number;
}

export interface SidecarPorts {
  readonly inbound: number;
  /** Where an HTTP application is published: its requests name no service, so that it shares no port with others. */
  readonly published: number;
  readonly outbound: number;
  readonly zookeeper: number;
  readonly http: number;
  readonly admin: number;
}

const host = "127.0.0.1";
const sources = fileURLToPath(new URL("../main.ts", import.meta.url));
const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const readyWithinMs = 15_000;
const askEveryMs = 50;
const askTimeoutMs = 1000;
const upgradeWithinMs = 30_000;

/** Resolves when the registry is ready. */
export function startRegistry(ports: RegistryPorts, options: PartOptions): Promise<Child> {
  const configuration = {
    listen: host,
    stream: { port: ports.stream },
    admin: { port: ports.admin },
    doors: { zookeeper: { port: ports.zookeeper }, eureka: false, http: { port: ports.http } },
    state: join(options.folder, "registry", "state"),
  };
  return startPart({ name: "registry", command: "registry", configuration, admin: ports.admin }, options);
}

/** Resolves when the sidecar of `app` is ready. */
export function startSidecar(
  app: string,
  ports: SidecarPorts,
  registry: RegistryPorts,
  options: PartOptions,
): Promise<Child> {
  const configuration = {
    registry: { address: `${host}:${registry.stream}` },
    inbound: { host, port: ports.inbound },
    outbound: { host, port: ports.outbound },
    admin: { port: ports.admin },
    doors: { zookeeper: { port: ports.zookeeper }, mesh: false, eureka: false, http: { port: ports.http } },
    publishedPorts: { from: ports.published, to: ports.published },
    advertise: host,
    // When it ends, everyone who called through it has been told already.
    drain: { idleMs: 1000, maxMs: 4000 },
    state: stateOf(app, options),
  };
  return startPart({ name: `sidecar-${app}`, command: "sidecar", configuration, admin: ports.admin }, options);
}

/** Has another process take over from the sidecar of `app`, with its connections; resolves when that serves and nothing is left in the one before. */
export async function upgradeSidecar(app: string, options: Pick<PartOptions, "folder">): Promise<Upgraded> {
  const path = controlPath(stateOf(app, options));
  return (await callControl(path, "upgrade", {}, { timeoutMs: upgradeWithinMs })) as Upgraded;
}

function stateOf(app: string, { folder }: Pick<PartOptions, "folder">): string {
  return join(folder, `sidecar-${app}`, "state");
}

/** How many calls a sidecar has taken in for its app since it started, as its metrics page has it; undefined when it does not answer. */
export async function callsTakenIn(
  ports: Pick<SidecarPorts, "admin">,
  signal: AbortSignal,
): Promise<number | undefined> {
  const tooLate = AbortSignal.timeout(askTimeoutMs);
  try {
    const response = await fetch(`http://${host}:${ports.admin}/metrics`, {
      signal: AbortSignal.any([signal, tooLate]),
    });
    return countInbound(await response.text());
  } catch (error) {
    // What the network did is the cause of a TypeError; with none, or another TypeError as cause, it is a mistake of this program.
    const isOfTheNetwork =
      error instanceof TypeError && error.cause instanceof Error && !(error.cause instanceof TypeError);
    if (signal.aborted || tooLate.aborted || isOfTheNetwork) return undefined;
    throw error;
  }
}

const requestCount = /^dualmesh_request_duration_seconds_count\{([^}]*)\} (\d+)/;

/** The sum of the samples that count exchanges from the mesh to the app. */
export function countInbound(page: string): number {
  let total = 0;
  for (const line of page.split("\n")) {
    const [, labels = "", count = "0"] = requestCount.exec(line) ?? [];
    if (labels.includes('direction="inbound"')) total += Number(count);
  }
  return total;
}

interface Part {
  readonly name: string;
  readonly command: "registry" | "sidecar";
  readonly configuration: object;
  readonly admin: number;
}

async function startPart(part: Part, options: PartOptions): Promise<Child> {
  const folder = join(options.folder, part.name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${part.command}.yaml`);
  // JSON is YAML too.
  await writeFile(file, `${JSON.stringify(part.configuration, null, 2)}\n`);
  const bundle = await freshBundle(repository);
  const program = bundle === undefined ? [sources] : [...bundle.flags, bundle.program];
  const child = startChild({
    name: part.name,
    program: [process.execPath, ...program],
    arguments: [part.command, "run", "--config", file],
    // As under a supervisor, it ends when its parent is gone.
    environment: { [supervisedVariable]: "1" },
    channel: true,
    onLine: () => {},
    onUnexpectedEnd: options.onUnexpectedEnd,
    clock: options.clock,
  });
  try {
    await untilReady(part, options);
    return child;
  } catch (error) {
    await child.end(1000);
    throw error;
  }
}

async function untilReady(part: Part, { clock, signal }: PartOptions): Promise<void> {
  const deadline = clock.now() + readyWithinMs;
  let last = "no answer yet";
  while (clock.now() < deadline) {
    signal.throwIfAborted();
    try {
      const response = await fetch(`http://${host}:${part.admin}/readyz`, {
        signal: AbortSignal.timeout(askTimeoutMs),
      });
      if (response.ok) return;
      last = `${response.status} ${await response.text()}`;
    } catch (error) {
      last = messageOf(error); // it does not listen yet
    }
    await sleep(clock, askEveryMs, signal);
  }
  throw new MeshError("demo.not-ready", `${part.name} was not ready after ${readyWithinMs} ms: ${last}`, {
    name: part.name,
  });
}
