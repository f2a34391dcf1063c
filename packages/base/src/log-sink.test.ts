import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const file = JSON.stringify(new URL("./open-log.ts", import.meta.url).href);
/** A device that is always full. */
const full = "/dev/full";

test("a disk that is full costs lines, not the process: it goes on and ends", {
  skip: existsSync(full) ? false : "there is no /dev/full here",
}, () => {
  const descriptor = openSync(full, "w");
  const program = `
    import { openLog } from ${file};
    const log = await openLog({ level: "info", pretty: false });
    for (let turn = 0; turn < 50; turn++) {
      log.info({ turn }, "line");
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    process.stdout.write("went on");
  `;
  const { stdout, status } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", descriptor],
    encoding: "utf8",
    timeout: 20_000,
  });
  closeSync(descriptor);
  assert.deepEqual([stdout, status], ["went on", 0]);
});

test("what was lost is counted and told of once lines can be written again", () => {
  const directory = mkdtempSync(join(tmpdir(), "dualmesh-log-"));
  const path = join(directory, "log");
  // A limit of the size of files is a disk that is full, and one that can be lifted.
  const program = `
    import { openLog } from ${file};
    process.on("SIGXFSZ", () => {});
    const log = await openLog({ level: "info", pretty: false });
    const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    for (let turn = 0; turn < 40; turn++) { log.info({ turn }, "a line that fills it ".repeat(10)); await later(5); }
    const { spawnSync } = await import("node:child_process");
    spawnSync("prlimit", ["--pid", String(process.pid), "--fsize=unlimited:unlimited"]);
    await later(300);
    log.info({}, "after");
    await later(300);
  `;
  const words = ["-c", `ulimit -S -f 4; exec "$0" --input-type=module -e "$1" 2>"$2"`, process.execPath, program, path];
  const { status, stdout } = spawnSync("bash", words, { encoding: "utf8", timeout: 30_000 });
  const text = readFileSync(path, "utf8");
  rmSync(directory, { recursive: true, force: true });
  assert.equal(status, 0, stdout);
  assert.match(text, /"lost":\d+,"why":"EFBIG"/);
  assert.match(text, /"msg":"after"/);
});

test("a reader that stands still costs lines beyond a megabyte, and the process goes on", async () => {
  const program = `
    import { openLog } from ${file};
    const log = await openLog({ level: "info", pretty: false });
    for (let turn = 0; turn < 3_000; turn++) {
      log.info({ turn }, "x".repeat(1_000));
      if (turn % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    process.stdout.write("went on");
    setInterval(() => {}, 1_000);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "pipe"] });
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  assert.equal(said.toString(), "went on");
  let text = "";
  child.stderr.on("data", (piece: Buffer) => {
    text += piece.toString();
  });
  while (!text.includes('"lost":')) await once(child.stderr, "data");
  child.kill("SIGKILL");
  await once(child, "close");
  for (const line of text.split("\n").slice(0, -1)) assert.doesNotThrow(() => JSON.parse(line), line);
});

test("an exit in the midst of writing loses no line and writes none twice", () => {
  const program = `
    import { openLog } from ${file};
    const log = await openLog({ level: "info", pretty: false });
    for (let turn = 0; turn < 3_000; turn++) {
      log.info({ turn }, "line");
      if (turn % 37 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    process.exit(0);
  `;
  const { stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  const turns = stderr
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { turn: number }).turn);
  assert.deepEqual(
    turns.sort((one, other) => one - other),
    Array.from({ length: 3_000 }, (_, turn) => turn),
  );
});
