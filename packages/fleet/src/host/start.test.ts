import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { openControl } from "@dualmesh/base/state/control-socket";
import { openState } from "@dualmesh/base/state/state";
import type { StartOptions } from "./host.ts";
import { openLinux } from "./linux.ts";
import { netnsOf } from "./namespace.ts";
import { openTestNamespace, until, whyNoNamespaces } from "./testing.ts";

const skip = whyNoNamespaces();
const user = { uid: 4_120, gid: 4_121 };
const other = { uid: 4_122, gid: 4_122 };

/** What stands for the product: it says what it is, and stays. */
const program = `
  const fs = require("node:fs");
  const rights = /^CapPrm:.*$/m.exec(fs.readFileSync("/proc/self/status", "latin1"))[0];
  const { uid, gid } = { uid: process.getuid(), gid: process.getgid() };
  console.log(JSON.stringify({ uid, gid, groups: process.getgroups(), rights, netns: fs.statSync("/proc/self/ns/net").ino,
    words: process.argv.slice(1), environment: process.env }));
  setTimeout(() => {}, 60000);
`;
const product = [process.execPath, "-e", program] as const;

/** A directory that every user may enter, since that of the test run is its own user's. */
function openFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync("/tmp/dmb-");
  chmodSync(path, 0o755);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

async function said(log: string): Promise<Record<string, unknown>> {
  await until("it has said what it is", () => readFileSync(log, "utf8").endsWith("\n"));
  return JSON.parse(readFileSync(log, "utf8")) as Record<string, unknown>;
}

test("a part is started in a namespace as a user, without rights, groups and the environment of who asks, and outlives it", {
  skip,
}, async () => {
  using folder = openFolder();
  await using namespace = await openTestNamespace();
  await namespace.peer();
  const privileged = openLinux({ program: product });
  await assert.rejects(privileged.directory(join(folder.path, "own"), user), { code: "host.directory-failed" });
  chownSync(folder.path, user.uid, user.gid);
  await privileged.directory(join(folder.path, "above/own"), user);
  const log = join(folder.path, "above/own/sidecar.log");
  const words = ["sidecar", "run", "--state", "a b'\"$(c)", "--supervised"];
  const pid = await privileged.start({ netns: namespace.netns, user, words, log });
  try {
    await privileged[Symbol.asyncDispose]();
    const seen = await said(log);
    assert.deepEqual(seen["words"], words);
    assert.deepEqual([seen["uid"], seen["gid"], seen["groups"]], [user.uid, user.gid, [user.gid]]);
    assert.equal(seen["rights"], "CapPrm:\t0000000000000000");
    assert.equal(seen["netns"], namespace.netns);
    assert.deepEqual(seen["environment"], { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/" });
    const { mode, uid } = lstatSync(log);
    assert.deepEqual([mode & 0o777, uid], [0o600, user.uid]);
    assert.equal(lstatSync(join(folder.path, "above")).uid, user.uid);
    assert.equal(lstatSync(join(folder.path, "above/own")).mode & 0o777, 0o700);
  } finally {
    process.kill(pid, "SIGKILL");
    await until("it has ended", () => !existsSync(`/proc/${pid}`));
  }
});

test("whoever asks without privileges starts and makes nothing for others, and only a guard keeps privileges", {
  skip,
}, async () => {
  using folder = openFolder();
  chownSync(folder.path, user.uid, user.gid);
  await using privileged = openLinux({ program: product, asker: user, users: [other] });
  const netns = netnsOf("self") ?? 0;
  const log = join(folder.path, "log");
  const start = (options: Partial<StartOptions>): Promise<number> =>
    privileged.start({ netns, user: undefined, words: ["sidecar", "run"], log, ...options });
  await assert.rejects(start({ user: { uid: 0, gid: 0 } }), { code: "host.not-permitted" });
  await assert.rejects(privileged.directory("/tmp/dmb-root", { uid: 0, gid: 0 }), { code: "host.not-permitted" });
  assert.ok(!existsSync(log));
  for (const [words, uid] of [
    [["sidecar", "run"], user.uid],
    [["move", "guard"], 0],
  ] as const) {
    const pid = await start({ words });
    try {
      assert.equal((await said(log))["uid"], uid);
      assert.equal(lstatSync(log).uid, user.uid);
    } finally {
      process.kill(pid, "SIGKILL");
      rmSync(log);
    }
  }
});

test("a log or a directory is made with the rights of its user, so that no path reaches further", {
  skip,
}, async () => {
  using folder = openFolder();
  const { path } = folder;
  mkdirSync(join(path, "roots"), { mode: 0o700 });
  mkdirSync(join(path, "users"));
  chownSync(join(path, "users"), user.uid, user.gid);
  symlinkSync(join(path, "roots/log"), join(path, "users/link"));
  symlinkSync(join(path, "roots"), join(path, "users/folder"));
  await using privileged = openLinux({ program: product });
  const netns = netnsOf("self") ?? 0;
  for (const log of ["roots/log", "users/link", "users/folder/log"]) {
    const starting = privileged.start({ netns, user, words: ["sidecar", "run"], log: join(path, log) });
    await assert.rejects(starting, { code: "host.log-failed" });
  }
  for (const made of ["roots/made", "users/folder/made", "users/link", "roots"]) {
    await assert.rejects(privileged.directory(join(path, made), user), { code: "host.directory-failed" });
  }
  assert.ok(!existsSync(join(path, "roots/log")));
});

test("what cannot run is told, with the log that says more", { skip }, async () => {
  using folder = openFolder();
  await using privileged = openLinux({ program: ["/nowhere/node"] });
  const log = join(folder.path, "log");
  const netns = netnsOf("self") ?? 0;
  const starting = privileged.start({ netns, user: undefined, words: ["sidecar", "run"], log });
  await assert.rejects(starting, (error: Error) => error.message.includes(log) && /ended with 127/.test(error.message));
  assert.match(readFileSync(log, "utf8"), /nowhere/);
});

test("the state directories of a namespace are those whose part listens there", { skip }, async () => {
  using folder = openFolder();
  await using namespace = await openTestNamespace();
  await namespace.peer();
  const path = join(folder.path, "sidecar");
  await using state = await openState({ path, part: "sidecar" });
  const control = await openControl({ directory: path, handlers: new Map() });
  mkdirSync(join(folder.path, "alike"));
  const alike = createServer().listen(join(folder.path, "alike/control.sock"));
  try {
    await using privileged = openLinux();
    const found = await privileged.stateDirectories(netnsOf("self") ?? 0);
    const mine = found.filter((each) => each.path.startsWith(folder.path));
    assert.deepEqual(mine, [{ path, uid: 0, gid: 0 }]);
    assert.deepEqual(await privileged.stateDirectories(namespace.netns), []);
  } finally {
    alike.close();
    await control.close();
    await state.close();
  }
});
