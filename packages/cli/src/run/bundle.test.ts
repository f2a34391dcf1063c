import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { freshBundle } from "./bundle.ts";

test("a bundle is used with the flags of its first line, unless a source is newer or there is none", async () => {
  const root = await mkdtemp(join(tmpdir(), "dualmesh-bundle-"));
  const put = async (path: string, text: string, seconds: number): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
    await utimes(join(root, path), seconds, seconds);
  };
  try {
    assert.equal(await freshBundle(root), undefined);
    await put("packages/cli/src/run/deep.ts", "", 10);
    await utimes(join(root, "packages/cli/src/run"), 10, 10);
    await put("packages/cli/src/a.test.ts", "", 99);
    await put("package-lock.json", "{}", 10);
    await put("scripts/build.ts", "", 10);
    await put("dist/dualmesh.mjs", "#!/usr/bin/env -S node --a=1 --b\ncode", 20);
    assert.deepEqual(await freshBundle(root), { program: join(root, "dist/dualmesh.mjs"), flags: ["--a=1", "--b"] });
    await put("dist/dualmesh.mjs", "#!/usr/bin/env node\ncode", 20);
    assert.deepEqual((await freshBundle(root))?.flags, []);
    await put("packages/cli/src/run/deep.ts", "", 21);
    assert.equal(await freshBundle(root), undefined);
  } finally {
    await rm(root, { recursive: true });
  }
});
