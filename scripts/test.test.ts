import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const here = import.meta.dirname;
let copy = "";
before(() => {
  copy = mkdtempSync(join(tmpdir(), "runner-"));
  mkdirSync(join(copy, "test"));
  cpSync(here, join(copy, "scripts"), { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
  symlinkSync(join(here, "..", "node_modules"), join(copy, "node_modules"));
  writeFileSync(join(copy, "package.json"), '{"type":"module"}');
});
after(() => rmSync(copy, { recursive: true }));

/** Runs `npm test` over one test file of this text. */
function run(text: string, environment: NodeJS.ProcessEnv = {}): { status: number | null; output: string } {
  writeFileSync(join(copy, "test", "one.test.ts"), `import { test } from "node:test";\n${text}`);
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  const result = spawnSync(process.execPath, [join(copy, "scripts", "test.ts")], {
    env: { ...inherited, CI: "", ...environment },
    encoding: "utf8",
  });
  return { status: result.status, output: result.stdout + result.stderr };
}

test("a run that passes says so, with the seed", () => {
  const { status, output } = run('test("fine", () => {});', { SEED: "77" });
  assert.equal(status, 0, output);
  assert.match(output, /SEED=77/);
  assert.match(output, /tests 1\n[\s\S]*pass 1\n[\s\S]*fail 0\n/);
});

test("a failed test fails the run", () => {
  assert.equal(run('test("bad", () => { throw new Error("bad"); });').status, 1);
});

test("a skip is told with its reason, and fails the run only where CI does not allow it", () => {
  const skip = 'test("one", { skip: "no Java on this machine" }, () => {});';
  const here = run(skip);
  assert.equal(here.status, 0);
  assert.match(here.output, /skipped \(1\): no Java on this machine\n {2}test\/one\.test\.ts: one/);
  const ci = run(skip, { CI: "true" });
  assert.equal(ci.status, 1);
  assert.match(ci.output, /which CI does not allow: no Java/);
  assert.equal(run('test("cell", { skip: "no SDK mode" }, () => {});', { CI: "true" }).status, 0);
  assert.equal(run('test("namespace", { skip: "needs root" }, () => {});', { CI: "true" }).status, 1);
});

test("a process that is left running is named, ended and fails the run", () => {
  const { status, output } = run(`
    import { spawn } from "node:child_process";
    test("leaves", () => { spawn("sleep", ["600"], { detached: true, stdio: "ignore" }).unref(); });`);
  assert.equal(status, 1);
  const pid = Number(/process (\d+) was left running: sleep 600/.exec(output)?.[1]);
  assert.ok(pid > 0, output);
  const state = spawnSync("cat", [`/proc/${pid}/stat`], { encoding: "utf8" }).stdout;
  assert.ok(state === "" || state.includes(") Z "), state);
});

test("a file that is left in the temporary folder is named and fails the run", () => {
  const { status, output } = run(`
    import { writeFileSync } from "node:fs";
    import { tmpdir } from "node:os";
    test("leaves", () => { writeFileSync(tmpdir() + "/rest", ""); });`);
  assert.equal(status, 1);
  assert.match(output, /left rest in the temporary folder/);
});
