/**
 * What ships, in a folder with nothing around it: sidecars that run from the sources and from the bundle take over from each other, and a bundle without the
 * native file of koffi, which moves connections, is replaced by draining.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { commandOf } from "../../bench/dataplane/bundle.ts";
import { eventually } from "../hostile/world.ts";
import { upgradeSeed } from "./seed.ts";
import { SidecarProcess } from "./sidecar-process.ts";
import { UpgradeWorld } from "./world.ts";

const builder = join(import.meta.dirname, "..", "..", "scripts", "build.ts");
const folder = mkdtempSync(join(tmpdir(), "bundle-"));
const whole = join(folder, "whole");
const skip = whyNoHandles(process) ?? false;
const timeout = 120_000;

before(() => {
  const { status, stderr } = spawnSync(process.execPath, [builder, whole], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("connections go from the sources to the bundle, to the next one, and back to the sources", {
  skip,
  timeout,
}, async () => {
  await using world = await UpgradeWorld.open({ seed: upgradeSeed });
  const { sidecar } = world;
  const load = await world.load();
  for (const program of [programOf(whole), programOf(whole), SidecarProcess.program()]) {
    const { moved, cut } = await sidecar.upgrade(program);
    assert.ok(moved > 40, `${moved} moved`);
    assert.deepEqual(cut, {});
  }
  const { broken, lost, failed } = await load.end();
  assert.deepEqual([...broken, ...lost], []);
  assert.equal(failed, 0);
});

test("a bundle keeps its parent's process id over an upgrade", { skip, timeout }, async () => {
  await using world = await UpgradeWorld.open({ seed: upgradeSeed, supervised: true, program: programOf(whole) });
  const { sidecar } = world;
  const load = await world.load();
  const { moved } = await sidecar.upgrade(programOf(whole));
  assert.ok(moved > 40, `${moved} moved`);
  assert.equal(sidecar.child.exitCode, null);
  await eventually("the new process is the parent's only child", () => sidecar.processes().join() === `${sidecar.pid}`);
  const { broken, lost } = await load.end();
  assert.deepEqual([...broken, ...lost], []);
});

test("a bundle without koffi's native file is replaced by draining, and says why", { skip, timeout }, async () => {
  const bare = join(folder, "bare");
  cpSync(whole, bare, { recursive: true });
  rmSync(join(bare, "koffi"), { recursive: true });
  await using world = await UpgradeWorld.open({ seed: upgradeSeed, program: programOf(bare) });
  const { sidecar } = world;
  const former = sidecar.pid;
  const { moved, pid } = await sidecar.upgrade(programOf(bare));
  assert.equal(moved, 0);
  assert.notEqual(pid, former);
  assert.match(sidecar.output(), /koffi\/linux_\w+\.node.*connections cannot be moved here/);
  await sidecar.serves("the new process serves", 10_000);
  // One of the two is enough, whichever it is.
  assert.equal((await sidecar.upgrade(programOf(whole))).moved, 0);
  assert.equal((await sidecar.upgrade(programOf(bare))).moved, 0);
  assert.match(sidecar.output(), /the new process cannot take connections/);
  assert.notEqual(sidecar.pid, pid);
});

function programOf(bundle: string): readonly string[] {
  return commandOf(join(bundle, "dualmesh.mjs"));
}
