import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

const file = JSON.stringify(new URL("./open-log.ts", import.meta.url).href);

function run(code: string): { status: number | null; stderr: string; stdout: string } {
  const program = `import { openLog } from ${file};\n${code}`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
}

test("each line is one JSON object with level, time, fields and text, on standard error", () => {
  const { stderr, stdout } = run(`
    const log = await openLog({ level: "info" });
    log.debug({}, "not shown");
    log.info({ port: 1 }, "listening");
    log.child({ part: "sidecar" }).warn({}, "slow");
  `);
  assert.equal(stdout, "");
  const lines = stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ time, ...rest }) => rest),
    [
      { level: "info", port: 1, msg: "listening" },
      { level: "warn", part: "sidecar", msg: "slow" },
    ],
  );
  assert.ok(lines.every(({ time }) => !Number.isNaN(Date.parse(time))));
});

test("the last lines before an exit or a crash are not lost", () => {
  const many = `const log = await openLog({ level: "info" }); for (let i = 0; i < 1000; i++) log.info({ i }, "line");`;
  for (const [end, status] of [
    ["process.exit(3);", 3],
    ["throw new Error('crash');", 1],
  ] as const) {
    const result = run(`${many} ${end}`);
    assert.equal(result.status, status);
    assert.equal(result.stderr.split("\n").filter((line) => line.includes('"msg":"line"')).length, 1000);
  }
});

test("secrets are redacted wherever they stand", () => {
  const { stderr } = run(
    `(await openLog({ level: "info" })).info({ token: "hunter2", session: { token: "hunter2", credentials: "hunter2" } }, "x");`,
  );
  assert.ok(!stderr.includes("hunter2"));
});

test("lines for people when asked for", () => {
  const { stderr } = run(
    `(await openLog({ level: "info", pretty: true })).info({ port: 1 }, "listening"); process.exit(0);`,
  );
  assert.match(stderr, /INFO.*listening.*"port":1/);
});

test("a reader of the log that stands still does not stop the process", async () => {
  const program = `import { openLog } from ${file};
    const log = await openLog({ level: "info" });
    const text = "x".repeat(1000);
    let lines = 0;
    const timer = setInterval(() => {
      for (let i = 0; i < 500; i++, lines++) log.info({ text }, "line");
      if (lines < 5000) return;
      clearInterval(timer);
      process.stdout.write("went on " + (process.memoryUsage().rss < 200e6));
    }, 1);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "pipe"] });
  const [said] = await once(child.stdout, "data");
  assert.equal(String(said), "went on true");
  child.kill("SIGKILL");
  await once(child, "exit");
});
