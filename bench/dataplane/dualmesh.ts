/**
 * The product in a bench, started as a user starts it: a registry and one sidecar, each with a state directory of its own, and the
 * echo server as a provider in SDK mode that the registry's own stream announces. Callers use the sidecar's outbound port. All that
 * the bench knows of the product's commands and options is in this file.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import { type Log, silentLog } from "@dualmesh/base/log";
import type { Scope } from "@dualmesh/base/scope";
import type { Directory } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { serviceText } from "@dualmesh/model/service";
import type { Work } from "../options.ts";
import { accepting, freePort, loadCore, proxyCore, start } from "./process.ts";
import { type StartProxy, temporaryDirectory } from "./proxy.ts";

const command = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
const streamClient = new URL("../../packages/client/src/directory.ts", import.meta.url);
const readyTimeoutMs = 30_000;

/** What is used of the stream's client. */
interface StreamClient {
  openRegistryDirectory(options: {
    readonly registry: string;
    readonly node: string;
    readonly kind: "sdk";
    readonly state?: string;
    readonly log: Log;
  }): Promise<Directory & AsyncDisposable> | (Directory & AsyncDisposable);
}

export const startDualmesh: StartProxy = async (scope, work, echoPort) => {
  for (const part of [command, streamClient.pathname]) {
    if (!existsSync(part)) return { unavailable: `${part.replace(/^.*\/packages\//, "packages/")} is not there yet` };
  }
  const state = temporaryDirectory(scope);
  const [registry, registryAdmin] = [await freePort(), await freePort()];
  const registryArgs = [
    "registry",
    "run",
    "--state",
    join(state, "registry"),
    "--listen",
    `127.0.0.1:${registry}`,
    "--admin",
    `127.0.0.1:${registryAdmin}`,
  ];
  const started = start(scope, { core: loadCore, command: process.execPath, args: [command, ...registryArgs] });
  await accepting(started, registry);
  await announce(scope, `127.0.0.1:${registry}`, work, echoPort);

  const [outbound, inbound, admin] = [await freePort(), await freePort(), await freePort()];
  const args = ["sidecar", "run", "--state", join(state, "sidecar"), "--registry", `127.0.0.1:${registry}`];
  args.push(
    "--outbound",
    `127.0.0.1:${outbound}`,
    "--inbound",
    `127.0.0.1:${inbound}`,
    "--admin",
    `127.0.0.1:${admin}`,
  );
  const sidecar = start(scope, { core: proxyCore, command: process.execPath, args: [command, ...args] });
  await accepting(sidecar, outbound);
  await ready(admin);
  return { port: outbound, pid: sidecar.pid, heapMb: () => heapMb(admin) };
};

/** Registers the echo server; it is taken back when `scope` ends. */
async function announce(scope: Scope, registry: string, work: Work, port: number): Promise<void> {
  const { openRegistryDirectory } = (await import(streamClient.href)) as StreamClient;
  const directory = scope.use(
    await openRegistryDirectory({ registry, node: "bench-provider", kind: "sdk", log: silentLog }),
  );
  const publication = await directory.publish(provider(work, port));
  scope.defer(() => publication.withdraw());
}

function provider(work: Work, port: number): Instance {
  const version = work === "bolt" ? "1.0" : "";
  return {
    service: serviceText({ protocol: work, name: "bench.Echo", version, group: "" }),
    host: "127.0.0.1",
    application: "bench-provider",
    appPort: port,
    address: "127.0.0.1",
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
    incarnation: 1,
    registration: { dialect: "native", text: "" },
  };
}

async function ready(admin: number): Promise<void> {
  const deadline = systemClock.now() + readyTimeoutMs;
  for (let last = "no answer"; ; ) {
    try {
      const reply = await fetch(`http://127.0.0.1:${admin}/readyz`);
      if (reply.ok) return;
      last = await reply.text();
    } catch (error) {
      last = messageOf(error);
    }
    if (systemClock.now() > deadline)
      throw new Error(`the sidecar is not ready after ${readyTimeoutMs / 1_000} s: ${last}`);
    await sleep(systemClock, 100);
  }
}

/** What `/metrics` tells of the heap in use. */
async function heapMb(admin: number): Promise<number | null> {
  try {
    const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    const found = /^[a-z_]*heap[a-z_]*used[a-z_]*(?:\{[^}]*\})? (\S+)$/m.exec(text);
    return found === null ? null : Number(found[1]) / 1_048_576;
  } catch {
    return null; // the admin port is a courtesy here: the load itself shows a sidecar that has ended
  }
}
