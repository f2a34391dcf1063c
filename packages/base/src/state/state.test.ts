import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isMeshError } from "../errors.ts";
import { systemFiles } from "./files.ts";
import { openState } from "./state.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "dualmesh-"));
});
after(() => rm(root, { recursive: true }));

/** A process that takes the state directory, says how that went in one line, and keeps it until it is ended. */
const holder = `
import { openState } from ${JSON.stringify(new URL("./state.ts", import.meta.url).href)};
try {
  const state = await openState({ path: process.argv[1], part: "sidecar" });
  process.stdout.write("open " + state.epoch + "\\n");
  process.stdin.resume();
} catch (error) {
  process.stdout.write(error.code + " " + error.details.pid + "\\n");
}`;

async function startHolder(path: string): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", holder, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout as NodeJS.ReadableStream, "data");
  return { child, said: String(line).trim() };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("the directory is made with mode 0700 and the epoch grows at each opening", async () => {
  const path = join(root, "deep", "epochs");
  for (let epoch = 1; epoch <= 3; epoch++) {
    await using state = await openState({ path, part: "registry" });
    assert.equal(state.epoch, epoch);
    assert.equal((await stat(path)).mode & 0o777, 0o700);
  }
  for (const name of await readdir(path))
    assert.equal((await stat(join(path, name))).mode & 0o077 & ~0o011, name.startsWith("lock.") ? 0o044 : 0, name);
});

test("documents come back, and are replaced whole", async () => {
  const path = join(root, "documents");
  {
    await using state = await openState({ path, part: "sidecar" });
    assert.equal(await state.readDocument("ports"), undefined);
    await Promise.all([1, 2, 3].map((n) => state.writeDocument("ports", { n })));
  }
  await using state = await openState({ path, part: "sidecar" });
  assert.deepEqual(await state.readDocument("ports"), { n: 3 });
  await assert.rejects(state.readDocument("../ports"), { code: "state.bad-name" });
  const file = join(path, "ports.document");
  const whole = await readFile(file);
  await writeFile(file, whole.subarray(0, whole.length - 1));
  await assert.rejects(state.readDocument("ports"), { code: "state.damaged" });
});

test("closing the directory closes its journals, and each is open once at a time", async () => {
  const path = join(root, "journals");
  {
    await using state = await openState({ path, part: "sidecar" });
    const journal = await state.journal("sessions");
    assert.throws(() => state.journal("sessions"), { code: "state.in-use" });
    journal.put("a", "1");
  }
  await using state = await openState({ path, part: "sidecar" });
  assert.equal((await state.journal("sessions")).get("a")?.toString(), "1");
});

test("the directory of another part is refused", async () => {
  const path = join(root, "other");
  await (await openState({ path, part: "registry" })).close();
  await assert.rejects(openState({ path, part: "sidecar" }), { code: "state.other-part" });
  await (await openState({ path, part: "registry" })).close(); // the refusal gave the lock back
});

test("a directory with files of others that is open to other users is not taken over", async () => {
  const path = await mkdtemp(join(root, "foreign-"));
  await chmod(path, 0o755);
  await writeFile(join(path, "letters.txt"), "private");
  await assert.rejects(openState({ path, part: "sidecar" }), { code: "state.open-failed" });
  assert.equal((await stat(path)).mode & 0o777, 0o755);
});

test("a second process is told who holds the directory and how to mend it; after kill -9 the next one takes it", async () => {
  const path = join(root, "held");
  const first = await startHolder(path);
  try {
    assert.equal(first.said, "open 1");
    await assert.rejects(
      openState({ path, part: "sidecar" }),
      (error) =>
        isMeshError(error, "state.locked") && error.details["pid"] === first.child.pid && /--state/.test(error.message),
    );
    first.child.kill("SIGSTOP"); // a process that stands still holds on
    await assert.rejects(openState({ path, part: "sidecar" }), { code: "state.locked" });
  } finally {
    await end(first.child);
  }
  await using state = await openState({ path, part: "sidecar" });
  assert.equal(state.epoch, 2);
});

test("of many processes that want a dead one's directory at once, exactly one gets it", async () => {
  const path = join(root, "race");
  let epoch = 0;
  for (let round = 0; round < 3; round++) {
    const all = await Promise.all(Array.from({ length: 6 }, () => startHolder(path)));
    epoch++;
    const winners = all.filter(({ said }) => said.startsWith("open"));
    assert.deepEqual(
      winners.map(({ said }) => said),
      [`open ${epoch}`],
    );
    for (const { said } of all)
      if (!said.startsWith("open")) assert.equal(said, `state.locked ${winners[0]?.child.pid}`);
    await Promise.all(all.map(({ child }) => end(child)));
  }
});

test("many openings within one process: one holds, each gives it to the next", async () => {
  const path = join(root, "turns");
  let holding = 0;
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, async () => {
      const state = await openState({ path, part: "sidecar" });
      assert.equal(++holding, 1);
      holding--;
      await state.close();
      return state.epoch;
    }),
  );
  const epochs = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  assert.ok(epochs.length > 0);
  assert.equal(new Set(epochs).size, epochs.length);
  for (const result of results) if (result.status === "rejected") assert.equal(result.reason.code, "state.locked");
});

test("a document that is a link, or no file, is not read", async () => {
  const directory = await mkdtemp(join(tmpdir(), "dualmesh-files-"));
  try {
    const link = join(directory, "link");
    await symlink("/etc/hostname", link);
    await assert.rejects(systemFiles.read(link), { code: "ELOOP" });
    await assert.rejects(systemFiles.read(directory), /is no file/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
