import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { MeshError } from "@dualmesh/base/errors";
import type { ProcessFacts } from "../process/facts.ts";
import { isAlive, lives, processId } from "./processes.ts";

/** A number that was a process's a moment ago. */
async function endedProcess() {
  const child = spawn("sleep", ["60"]);
  const id = processId(child.pid as number);
  assert.ok(id !== undefined && isAlive(id));
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.equal(isAlive(id), false);
  return id;
}

test("a process that is not seen has ended only when who holds the privileges says so", async () => {
  const id = await endedProcess();
  const saying = (all: readonly Partial<ProcessFacts>[]) => ({ facts: async () => all as readonly ProcessFacts[] });
  assert.equal(await lives(id, saying([])), false);
  assert.equal(await lives(id, saying([id])), true);
  assert.equal(await lives(id, saying([{ ...id, started: id.started + 1 }])), false, "the number is another's now");
  const failing = (code: string) => ({
    facts: async () => {
      throw new MeshError(code, "it is not to be known");
    },
  });
  assert.equal(await lives(id, failing("host.not-permitted")), true);
  await assert.rejects(lives(id, failing("host.no-agent")), (error: MeshError) => error.code === "host.no-agent");
});

test("where /proc hides others' processes, that is known, and they are not taken for ended", (t) => {
  const hiding = (...words: string[]) => {
    const mounting = ["-m", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh", ...words];
    return spawnSync("unshare", mounting, { encoding: "utf8" });
  };
  if (hiding("true").status !== 0) return t.skip("needs root, and a mount of its own");
  const script = `
import { areHidden, lives, processId } from ${JSON.stringify(new URL("./processes.ts", import.meta.url).href)};
const seen = processId(${process.pid});
process.setgid(4711);
process.setuid(4711);
const facts = async () => [seen];
process.stdout.write(JSON.stringify([areHidden(), processId(${process.pid}) === undefined, await lives(seen, { facts })]));`;
  const words = [process.execPath, "--input-type=module", "-e", script] as const;
  const hidden = hiding(...words);
  assert.equal(hidden.stdout, "[true,true,true]", hidden.stderr);
  const open = spawnSync(words[0], words.slice(1), { encoding: "utf8" });
  assert.equal(open.stdout, "[false,false,true]", open.stderr);
});
