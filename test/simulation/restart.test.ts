/** A registry and a client with real sockets and real files: the registry ends and comes back on the same port and disk. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { openState } from "@dualmesh/base/state/state";
import { openRegistryDirectory, type RegistryDirectory } from "@dualmesh/client/directory";
import { registryConfigShape } from "@dualmesh/registry/config";
import { type RunningRegistry, startRegistry } from "@dualmesh/registry/registry";
import { instance, service } from "./world.ts";

const directories: string[] = [];
after(() => Promise.all(directories.map((path) => rm(path, { recursive: true, force: true }))));

async function temporary(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "dualmesh-"));
  directories.push(path);
  return path;
}

async function start(path: string, port: number): Promise<{ registry: RunningRegistry; stop: () => Promise<void> }> {
  const state = await openState({ path, part: "registry" });
  const config = registryConfigShape.parse({
    stream: { port },
    doors: { zookeeper: { port: 0 }, eureka: false, http: false },
  });
  const common = { clock: systemClock, random: systemRandom, log: silentLog };
  const registry = await startRegistry({ config, state, ...common });
  const stop = async (): Promise<void> => {
    await registry.close();
    await state.close();
  };
  return { registry, stop };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round++) {
    assert.ok(round < 2_000, `not within 10 s: ${what}`);
    await pause(5);
  }
}

it("a registry that restarts with its disk continues every session, and nobody sees a change", {
  timeout: 60_000,
}, async () => {
  const registryPath = await temporary();
  const clientState = await openState({ path: await temporary(), part: "sidecar" });
  const open = async (nodeId: string, port: number): Promise<RegistryDirectory> =>
    openRegistryDirectory({
      addresses: [`127.0.0.1:${port}`],
      nodeId,
      kind: "sidecar",
      journal: await clientState.journal(nodeId),
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
  const first = await start(registryPath, 0);
  const port = first.registry.streamPort;
  const [provider, consumer] = [await open("provider", port), await open("consumer", port)];
  const sizes: number[] = [];
  consumer.watch(service, (set) => sizes.push(set.instances.length));
  for (let appPort = 1; appPort <= 3; appPort++) await provider.publish(instance(appPort));
  await until("seen", () => sizes.at(-1) === 3);
  const session = provider.status().session;
  const seen = sizes.length;
  await first.stop();
  const second = await start(registryPath, port);
  await until(
    "both are back",
    () => provider.status().state === "connected" && consumer.status().state === "connected",
  );
  await until("answered", () => consumer.status().feeds.every((feed) => feed.answered));
  await until("told again", () => provider.status().pending === 0);
  assert.equal(second.registry.epoch, first.registry.epoch + 1);
  assert.equal(provider.status().session, session, "the token is valid across the restart");
  assert.equal(sizes.length, seen, "nobody was told anything");
  assert.equal(second.registry.instances(service).length, 3);
  await provider.close({ orderly: true });
  await until("an orderly end shows", () => sizes.at(-1) === 0);
  await consumer.close({ orderly: false });
  await second.stop();
  await clientState.close();
});
