/**
 * The product in a bench, the bundle that ships, started as a user starts it: a registry and one sidecar, each with a state directory of its own, and the
 * echo server as a provider in SDK mode that the registry's own stream announces. Callers use the sidecar's outbound port. All that
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
import { freePort, loadCore, proxyCore, type Started, start } from "./process.ts";
import { type StartProxy, temporaryDirectory } from "./proxy.ts";

const host = "127.0.0.1";
const readyTimeoutMs = 30_000;

export const startDualmesh: StartProxy = async (scope, work, echoPort) => {
  const command = productCommand();
  const directory = temporaryDirectory(scope);
  const [stream, registryAdmin] = [await freePort(), await freePort()];
  const registryConfig = {
    listen: host,
    stream: { port: stream },
    admin: { port: registryAdmin },
    doors: { zookeeper: false },
  };
  const registry = startPart(scope, {
    command,
    core: loadCore,
    part: "registry",
    directory,
    configuration: registryConfig,
  });
  await ready("registry", registry, registryAdmin);
  await announce(scope, join(directory, "provider.journal"), stream, work, echoPort);

  const [outbound, inbound, admin] = [await freePort(), await freePort(), await freePort()];
  const sidecarConfig = {
    registry: { address: `${host}:${stream}` },
    inbound: { host, port: inbound },
    outbound: { host, port: outbound },
    admin: { port: admin },
    doors: { zookeeper: false, mesh: false },
    advertise: host,
  };
  const sidecar = startPart(scope, {
    command,
    core: proxyCore,
    part: "sidecar",
    directory,
    configuration: sidecarConfig,
  });
  await ready("sidecar", sidecar, admin);
  return { port: outbound, pid: sidecar.pid, heapMb: () => heapMb(admin) };
};

interface PartOptions {
  readonly command: readonly [string, ...string[]];
  readonly core: number;
  readonly part: "registry" | "sidecar";
  readonly directory: string;
  readonly configuration: object;
}

function startPart(scope: Scope, { command, core, part, directory, configuration }: PartOptions): Started {
  const [program, ...words] = command;
  const file = join(directory, `${part}.yaml`);
  const state = join(directory, part);
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(file, JSON.stringify(configuration)); // JSON is YAML too
  return start(scope, {
    core,
    command: program,
    args: [...words, part, "run", "--config", file, "--state", state],
  });
}

/** Registers the echo server; it is taken back when `scope` ends. */
async function announce(scope: Scope, journalPath: string, stream: number, work: Work, port: number): Promise<void> {
  const journal = scope.use(await openJournal({ path: journalPath }));
  const directory = openRegistryDirectory({
    ...{ addresses: [`${host}:${stream}`], nodeId: "bench-provider", kind: "sdk", journal },
    ...{ clock: systemClock, random: systemRandom, log: silentLog },
  });
  scope.defer(() => directory.close({ orderly: true }));
  await directory.publish(provider(work, port), { signal: AbortSignal.timeout(readyTimeoutMs) });
}

function provider(work: Work, port: number): Instance {
  const version = work === "bolt" ? "1.0" : "";
  const service = serviceText({ protocol: work, name: "bench.Echo", version, group: "" });
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
