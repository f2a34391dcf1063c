/**
 * The product in a bench, the bundle that ships, started as a user starts it: a registry and one sidecar, each with a state directory of its own, and the
 * echo server as a provider in SDK mode that the registry's own stream announces. Callers use the sidecar's outbound port; over HTTP the
 * service's own loopback address, which the sidecar's HTTP door tells. In a pair the provider has registered at a sidecar of its own. All that
 * the bench knows of the product's commands and options is in this file.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import type { Scope } from "@dualmesh/base/scope";
import { openJournal } from "@dualmesh/base/state/journal";
import { openRegistryDirectory } from "@dualmesh/client/directory";
import type { Instance } from "@dualmesh/model/instance";
import { serviceText } from "@dualmesh/model/service";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import type { Work } from "../options.ts";
import { productCommand } from "./bundle.ts";
import type { Place } from "./load.ts";
import { freePort, loadCore, proxyCore, type Started, start } from "./process.ts";
import { type StartProxy, temporaryDirectory } from "./proxy.ts";

const host = "127.0.0.1";
/** What Bolt and Dubbo name in their frames, and the name over HTTP. */
const interfaceName = "bench.Echo";
const httpName = "bench-echo";
const readyTimeoutMs = 30_000;

export const startDualmesh: StartProxy = async (scope, work, echoPort) => {
  const { sidecar, places } = await startDualmeshFor(scope, [{ work, port: echoPort }]);
  const place = places.get(work) as Place;
  return { ...place, pid: sidecar.pid, heapMb: () => heapMb(sidecar.admin) };
};

export interface ProviderPort {
  readonly work: Work;
  readonly port: number;
}

/** One sidecar before several providers, and where each work is called there. */
export async function startDualmeshFor(
  scope: Scope,
  providers: readonly ProviderPort[],
): Promise<{ readonly sidecar: Sidecar; readonly places: ReadonlyMap<Work, Place> }> {
  const directory = temporaryDirectory(scope);
  const stream = await startRegistry(scope, directory);
  await announce(scope, join(directory, "provider.journal"), stream, providers);
  const sidecar = await startSidecar(scope, directory, "sidecar", stream);
  const places = new Map<Work, Place>();
  for (const { work } of providers)
    places.set(work, work === "http" ? await standIn(sidecar, "sdk") : { port: sidecar.outbound });
  return { sidecar, places };
}

/** The caller's sidecar and the provider's, where the server at `providerPort` registers by HTTP. */
export async function startDualmeshPair(
  scope: Scope,
  providerPort: number,
): Promise<Place & { readonly pids: readonly number[] }> {
  const directory = temporaryDirectory(scope);
  const stream = await startRegistry(scope, directory);
  const behind = await startSidecar(scope, directory, "provider-sidecar", stream);
  const registered = await fetch(`http://${host}:${behind.door}/v1/instances`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ service: httpName, host, port: providerPort, ttlMs: 86_400_000 }),
  });
  if (!registered.ok) throw new MeshError("bench.start", `the provider is not registered: ${await registered.text()}`);
  const front = await startSidecar(scope, directory, "sidecar", stream);
  return { ...(await standIn(front, "mesh")), pids: [front.pid, behind.pid] };
}

/** Resolves with the port of its stream once it is ready. */
async function startRegistry(scope: Scope, directory: string): Promise<number> {
  const [stream, admin] = [await freePort(), await freePort()];
  const configuration = {
    listen: host,
    stream: { port: stream },
    admin: { port: admin },
    doors: { zookeeper: false, eureka: false, http: false },
  };
  const started = startPart(scope, { core: loadCore, part: "registry", name: "registry", directory, configuration });
  await ready("registry", started, admin);
  return stream;
}

export interface Sidecar {
  readonly pid: number;
  /** By which the processes that it becomes are known, since all of them are started with it. */
  readonly file: string;
  /** Its state directory. */
  readonly state: string;
  readonly outbound: number;
  readonly admin: number;
  /** The port of its HTTP door. */
  readonly door: number;
}

async function startSidecar(scope: Scope, directory: string, name: string, stream: number): Promise<Sidecar> {
  const [outbound, inbound, admin, door] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const configuration = {
    registry: { address: `${host}:${stream}` },
    inbound: { host, port: inbound },
    outbound: { host, port: outbound },
    admin: { port: admin },
    doors: { zookeeper: false, mesh: false, eureka: false, http: { port: door } },
    advertise: host,
  };
  const started = startPart(scope, { core: proxyCore, part: "sidecar", name, directory, configuration });
  await ready(name, started, admin);
  return { pid: started.pid, file: started.file, state: started.state, outbound, admin, door };
}

interface PartOptions {
  readonly core: number;
  readonly part: "registry" | "sidecar";
  /** Of its files. */
  readonly name: string;
  readonly directory: string;
  readonly configuration: object;
}

interface StartedPart extends Started {
  readonly file: string;
  readonly state: string;
}

function startPart(scope: Scope, { core, part, name, directory, configuration }: PartOptions): StartedPart {
  const [program, ...words] = productCommand();
  const file = join(directory, `${name}.yaml`);
  const state = join(directory, name);
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(file, JSON.stringify(configuration)); // JSON is YAML too
  const args = [...words, part, "run", "--config", file, "--state", state];
  return { ...start(scope, { core, command: program, args }), file, state };
}

/** Where the service is called over HTTP, once the sidecar knows its provider in this mode. */
async function standIn({ door, admin }: Sidecar, mode: Instance["mode"]): Promise<Place> {
  const deadline = systemClock.now() + readyTimeoutMs;
  let shown = "";
  while (systemClock.now() < deadline) {
    const reply = await fetch(`http://${host}:${door}/v1/services/${httpName}`);
    shown = await reply.text();
    if (reply.ok) {
      const [instance] = (JSON.parse(shown) as { readonly instances: readonly { readonly url: string }[] }).instances;
      const endpoints = await (await fetch(`http://${host}:${admin}/endpoints`)).text();
      if (instance !== undefined && endpoints.includes(`"mode": "${mode}"`)) {
        const { hostname, port } = new URL(instance.url);
        return { host: hostname, port: Number(port) };
      }
    }
    await sleep(systemClock, 100);
  }
  throw new MeshError("bench.start", `the sidecar does not come to know the HTTP provider: ${shown}`);
}

/** Registers the echo servers; they are taken back when `scope` ends. */
async function announce(
  scope: Scope,
  journalPath: string,
  stream: number,
  providers: readonly ProviderPort[],
): Promise<void> {
  const journal = scope.use(await openJournal({ path: journalPath }));
  const directory = openRegistryDirectory({
    ...{ addresses: [`${host}:${stream}`], nodeId: "bench-provider", kind: "sdk", journal },
    ...{ clock: systemClock, random: systemRandom, log: silentLog },
  });
  scope.defer(() => directory.close({ orderly: true }));
  for (const { work, port } of providers)
    await directory.publish(provider(work, port), { signal: AbortSignal.timeout(readyTimeoutMs) });
}

function provider(work: Work, port: number): Instance {
  const version = work === "bolt" ? "1.0" : "";
  const name = work === "http" ? httpName : interfaceName;
  const service = serviceText({ protocol: work, name, version, group: "" });
  return sampleInstance({ service, host, application: "bench-provider", appPort: port });
}

/** Waits for `/readyz`; fails when the part ends first. */
async function ready(part: string, started: Started, admin: number): Promise<void> {
  const deadline = systemClock.now() + readyTimeoutMs;
  let running = true;
  void started.ended.then(() => {
    running = false;
  });
  let last = "no answer";
  while (running && systemClock.now() < deadline) {
    try {
      const reply = await fetch(`http://${host}:${admin}/readyz`);
      if (reply.ok) return;
      last = await reply.text();
    } catch (error) {
      last = messageOf(error); // it does not listen yet
    }
    await sleep(systemClock, 100);
  }
  const why = `${running ? `not ready after ${readyTimeoutMs / 1_000} s: ${last}` : "it ended"} ${started.complaint()}`;
  throw new MeshError("bench.start", `the ${part} does not start: ${why}`);
}

/** What `/metrics` tells of the heap in use. */
async function heapMb(admin: number): Promise<number | null> {
  try {
    const text = await (await fetch(`http://${host}:${admin}/metrics`)).text();
    const found = /^[a-z_]*heap[a-z_]*used[a-z_]*(?:\{[^}]*\})? (\S+)$/m.exec(text);
    return found === null ? null : Number(found[1]) / 1_048_576;
  } catch {
    return null; // the admin port is a courtesy here: the load itself shows a sidecar that has ended
  }
}
