/** A sidecar that was killed starts again and there is no registry: what it knew is in force from its first millisecond. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { openState } from "@dualmesh/base/state/state";
import { sidecarConfig } from "@dualmesh/sidecar/config";
import { Peer } from "@dualmesh/sidecar/request/testing";
import { type RunningSidecar, startSidecar } from "@dualmesh/sidecar/sidecar";
import { dubboEcho, dubboRequest } from "./dubbo.ts";
import { type Dialect, dialects, eventually, World } from "./world.ts";
import { openZooKeeper } from "./zookeeper.ts";

const grouped = "test.Grouped";

/** A sidecar on the state in `folder`; ends with the world. */
async function start(
  world: World,
  folder: string,
  registryPort: number,
  outboundPort: number,
): Promise<RunningSidecar> {
  const state = await openState({ path: folder, part: "sidecar" });
  const config = sidecarConfig.parse({
    registry: { address: `127.0.0.1:${registryPort}` },
    inbound: { host: "127.0.0.1", port: 0 },
    outbound: { port: outboundPort },
    doors: { zookeeper: { port: 0 }, mesh: false, eureka: false, http: false },
    drain: { idleMs: 0, lingerMs: 0, maxMs: 1_000 },
    // Nothing waits: what is not known when a call comes is not known.
    timeouts: { waitMs: 0 },
    staleAfterMs: 60_000,
  });
  const common = { clock: systemClock, random: systemRandom, log: silentLog };
  const running = await startSidecar({ ...common, state, config, shown: {} });
  world.defer(async () => {
    await running.close();
    await state.close();
  });
  return running;
}

/** Dials `port` again and again; the first connection that is made calls at once. Resolves to the status of the answer. */
async function firstCall(port: number, { protocol, request }: Dialect): Promise<number | undefined> {
  for (;;) {
    const socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => {
        socket.write(request(1));
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (!isOpen) continue;
    const caller = new Peer(socket, protocol);
    await caller.received(1);
    socket.destroy();
    return caller.frames[0]?.status;
  }
}

/** The names that the ZooKeeper door shows, without the port that differs from one start to the next. */
async function providers(world: World, running: RunningSidecar, name = "test.Echo"): Promise<readonly string[]> {
  const client = await openZooKeeper(await world.socket(running.doors.zookeeper as number));
  const asked = client.list(`/dubbo/${name}/providers`, true);
  const before = performance.now();
  await eventually("a list", () => client.children(asked) !== undefined);
  assert.ok(performance.now() - before < 800, "it waits for nobody");
  return (client.children(asked) ?? []).map((name) => name.replaceAll(String(running.outboundPort), "PORT"));
}

/** One call to each of two services that only their group tells apart. */
async function callGroups(world: World, { outboundPort }: RunningSidecar): Promise<void> {
  const caller = await world.caller(outboundPort, "dubbo");
  for (const [at, group] of ["a", "b"].entries()) {
    caller.send(dubboRequest({ id: at + 1, path: grouped, attachments: [["group", group]] }));
    await caller.received(at + 1);
  }
}

test("a call in the first millisecond after a restart is routed by the state on disk, and doors show what they showed", {
  timeout: 30_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "restart-"));
  await using world = await World.open();
  world.defer(() => rm(folder, { recursive: true, force: true }));
  for (const dialect of dialects) await world.provider(dialect.service, dialect.answer);
  const answered: string[] = [];
  for (const group of ["a", "b"])
    await world.provider(`dubbo/${grouped}:1.0:${group}`, (peer, frame) => {
      answered.push(group);
      dubboEcho(peer, frame);
    });
  const before = await start(world, join(folder, "before"), world.registry.streamPort, 0);
  const shown = await providers(world, before);
  assert.equal(shown.length, 1);
  for (const dialect of dialects) {
    await eventually("the first sidecar knows it", async () => {
      const caller = await world.caller(before.outboundPort, dialect.protocol);
      caller.send(dialect.request(1));
      await caller.received(1);
      return caller.frames[0]?.status === (dialect.protocol === "bolt" ? 0 : 20);
    });
    await eventually("it is on disk", async () => {
      const journal = await readFile(join(folder, "before", "directory.journal"));
      return journal.includes(`entry/s${dialect.service}`);
    });
  }

  await providers(world, before, grouped);
  await eventually("the groups are on disk", async () => {
    const journal = await readFile(join(folder, "before", "directory.journal"));
    return ["a", "b"].every((group) => journal.includes(`entry/sdubbo/${grouped}:1.0:${group}`));
  });

  // As a kill leaves it: without a word to anybody, and the lock is void.
  const kept = (path: string): boolean => !basename(path).startsWith("lock") && !path.endsWith(".sock");
  await cp(join(folder, "before"), join(folder, "after"), { recursive: true, filter: kept });
  const [port, noRegistry] = [await unusedPort(), await unusedPort()];
  const calls = Promise.all(dialects.map((dialect) => firstCall(port, dialect)));
  const after = await start(world, join(folder, "after"), noRegistry, port);
  assert.deepEqual(await calls, [0, 20]);
  answered.splice(0);
  await callGroups(world, after);
  assert.deepEqual(answered, ["a", "b"], "the first that is called does not stand for both");
  assert.deepEqual(await providers(world, after), shown);
  assert.equal((await after.routes.get("/readyz")?.({} as never))?.status, 503, "the registry may still answer");
});

async function unusedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
