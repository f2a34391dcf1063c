/** What a running sidecar may be told over its control socket beside `status`. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { Crossing, CrossingList } from "@dualmesh/model/crossing";
import { openHome } from "../testing.ts";

const free = { inbound: { port: 0 }, outbound: { port: 0 }, admin: { port: 0 }, drain: { idleMs: 0 } };
const doors = { zookeeper: false, mesh: false, eureka: false, http: false };
const servers = ["127.0.0.1:1"];

async function configured(path: string, config: object): Promise<string> {
  const file = join(path, "sidecar.yaml");
  await writeFile(file, JSON.stringify({ ...free, doors, ...config, state: join(path, "state") }));
  return file;
}

test("a sidecar whose directory is a registry says why it opens no crossing", async () => {
  await using home = await openHome();
  const file = await configured(home.path, {});
  await home.start("sidecar", "run", "--config", file).saw('"running"');
  const tell = (command: string, words = {}) => callControl(controlPath(join(home.path, "state")), command, words);
  const list = (await tell("crossing.list")) as CrossingList;
  assert.deepEqual([list.crossings, list.directory.kind], [[], "registry"]);
  assert.match(list.outbound, /^127\.0\.0\.1:\d+$/);
  const asked = { name: "shop", servers, chroots: [], host: "192.0.2.1" };
  await assert.rejects(tell("crossing.open", asked), { code: "crossing.other-directory" });
  await assert.rejects(tell("crossing.open", { ...asked, host: "shop" }), { code: "crossing.malformed" });
  await assert.rejects(tell("crossing.provide", { name: "shop", to: "mesh" }), { code: "crossing.unknown" });
  assert.deepEqual(await tell("crossing.close", { name: "shop" }), {});
  assert.equal(((await tell("status")) as { readonly part?: string }).part, "sidecar");
});

test("an open crossing is open again, at its ports, after the sidecar was killed, and `dualmesh status` shows it", async () => {
  await using home = await openHome();
  const file = await configured(home.path, { directory: "zookeeper", zookeeper: { addresses: servers } });
  const first = home.start("sidecar", "run", "--config", file);
  await first.saw('"running"');
  const tell = (command: string, words = {}) => callControl(controlPath(join(home.path, "state")), command, words);
  const asked = { name: "shop", servers, chroots: [], host: "192.0.2.1" };
  const opened = (await tell("crossing.open", asked)) as Crossing;
  first.child.kill("SIGKILL");
  await first.ended();
  await home.start("sidecar", "run", "--config", file).saw('"running"');
  const list = (await tell("crossing.list")) as CrossingList;
  assert.deepEqual(list.crossings, [opened]);
  const { stdout } = await home.run("status", "--state", join(home.path, "state"));
  assert.match(
    stdout,
    new RegExp(`shop +127\\.0\\.0\\.1:1 \\(${opened.doors[0]?.port}\\) +192\\.0\\.2\\.1 +direct +direct`),
  );
});
