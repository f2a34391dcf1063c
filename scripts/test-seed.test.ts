import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

test("the seed of a run reaches fast-check", () => {
  const preload = new URL("./test-seed.ts", import.meta.url).href;
  const program = 'import fc from "fast-check"; console.log(fc.readConfigureGlobal()?.seed)';
  const result = spawnSync(process.execPath, ["--import", preload, "--input-type=module", "-e", program], {
    cwd: import.meta.dirname,
    env: { ...process.env, SEED: "12345" },
    encoding: "utf8",
  });
  assert.equal(result.stdout.trim(), "12345", result.stderr);
});
