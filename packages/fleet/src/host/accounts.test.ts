import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { accountOf, unusedUser } from "./accounts.ts";
import { needProgram } from "./programs.ts";
import { whyNoNamespaces } from "./testing.ts";

test("an account is found by name and by number, and one that is not there is none", async () => {
  assert.deepEqual(await accountOf("root"), { uid: 0, gid: 0 });
  assert.deepEqual(await accountOf("0"), { uid: 0, gid: 0 });
  assert.equal(await accountOf("dualmesh-nobody-is-called-so"), undefined);
});

test("who is asked for accounts is not a program that somebody put first in the path", async () => {
  const folder = mkdtempSync("/tmp/dmb-");
  const path = process.env["PATH"];
  try {
    for (const name of ["getent", "id"]) {
      writeFileSync(join(folder, name), "#!/bin/sh\necho x:x:4711:4711::/:/bin/sh\n");
      chmodSync(join(folder, name), 0o755);
    }
    process.env["PATH"] = `${folder}:${path}`;
    assert.deepEqual(await accountOf("root"), { uid: 0, gid: 0 });
  } finally {
    process.env["PATH"] = path;
    rmSync(folder, { recursive: true });
  }
});

test("a user that nobody is has no account and no process, and another is found while one runs", {
  skip: whyNoNamespaces(),
}, async () => {
  const { uid, gid } = await unusedUser();
  assert.ok(uid >= 60_710 && uid <= 61_183 && gid === uid);
  assert.equal(await accountOf(`${uid}`), undefined);
  const words = ["--reuid", `${uid}`, "--regid", `${gid}`, "--clear-groups", "cat"];
  const child = spawn(needProgram("setpriv"), words, { stdio: ["pipe", "pipe", "inherit"] });
  try {
    child.stdin.write("it runs\n");
    await once(child.stdout, "data");
    const another = await unusedUser(uid);
    assert.ok(another.uid > uid);
  } finally {
    child.stdin.end();
    await once(child, "exit");
  }
});
