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
import { constants } from "node:os";
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

test("whoever asks without privileges starts and makes nothing for others, nor with a group of others, and only a guard keeps privileges", {
  skip,
}, async () => {
  using folder = openFolder();
  chownSync(folder.path, user.uid, user.gid);
  chmodSync(folder.path, 0o700);
  await using privileged = openLinux({ program: product, asker: user, users: [other] });
  const netns = netnsOf("self") ?? 0;
  const log = join(folder.path, "log");
  const start = (options: Partial<StartOptions>): Promise<number> =>
    privileged.start({ netns, user: undefined, words: ["sidecar", "run"], log, ...options });
  const disk = { uid: user.uid, gid: 6 };
  for (const foreign of [{ uid: 0, gid: 0 }, disk, { uid: user.uid, gid: 0 }, { uid: other.uid, gid: user.gid }]) {
    await assert.rejects(start({ user: foreign }), { code: "host.not-permitted" });
    await assert.rejects(privileged.directory(join(folder.path, "made"), foreign), { code: "host.not-permitted" });
  }
  assert.ok(!existsSync(log) && !existsSync(join(folder.path, "made")));
  for (const [words, uid] of [
    [["sidecar", "run"], user.uid],
    [["move", "guard", "--moves", folder.path], 0],
  ] as const) {
    const pid = await start({ words });
    try {
      const seen = await said(log);
      assert.equal(seen["uid"], uid);
      const owner = uid === 0 ? ["--owner", `${user.uid}:${user.gid}`, "--supervised"] : [];
      assert.deepEqual(seen["words"], [...words, ...owner]);
      assert.equal(lstatSync(log).uid, user.uid);
    } finally {
      process.kill(pid, "SIGKILL");
      rmSync(log);
    }
  }
});

test("a guard, which begins as root, is started only for moves that are the asker's and nobody else can have put there", {
  skip,
}, async () => {
  using folder = openFolder();
  const { path } = folder;
  const own = (name: string, mode = 0o700, owner: { readonly uid: number; readonly gid: number } = user): string => {
    const made = join(path, name);
    mkdirSync(made);
    chownSync(made, owner.uid, owner.gid);
    chmodSync(made, mode);
    return made;
  };
  const inside = (above: string): string => {
    const made = join(above, "moves");
    mkdirSync(made, { mode: 0o700 });
    chownSync(made, user.uid, user.gid);
    return made;
  };
  const moves = own("moves");
  symlinkSync(moves, join(path, "link"));
  mkdirSync(join(moves, "below"), { mode: 0o700 });
  chownSync(join(moves, "below"), user.uid, user.gid);
  await using privileged = openLinux({ program: product, asker: user, users: [other] });
  const netns = netnsOf("self") ?? 0;
  const log = join(moves, "log");
  const refused: readonly (readonly [string, string])[] = [
    [own("roots", 0o700, { uid: 0, gid: 0 }), "host.not-permitted"],
    [own("strangers", 0o700, { uid: 4_199, gid: 4_199 }), "host.not-permitted"],
    [own("groups", 0o700, { uid: user.uid, gid: 6 }), "host.not-permitted"],
    ["/tmp", "host.directory-unsafe"],
    [own("open", 0o770), "host.directory-unsafe"],
    [own("opener", 0o707), "host.directory-unsafe"],
    [join(path, "link"), "host.directory-unsafe"],
    [join(path, "link/below"), "host.directory-unsafe"],
    [inside(own("above", 0o777, { uid: 0, gid: 0 })), "host.directory-unsafe"],
    [inside(own("strangers-above", 0o755, { uid: 4_199, gid: 4_199 })), "host.directory-unsafe"],
    [log, "host.directory-unsafe"],
    [join(path, "missing"), "host.directory-unsafe"],
  ];
  for (const [directory, code] of refused) {
    const starting = privileged.start({ netns, user: undefined, words: ["move", "guard", "--moves", directory], log });
    await assert.rejects(starting, { code }, directory);
  }
  assert.ok(!existsSync(log), "nothing was made for it");
  const others = own("others", 0o700, other);
  for (const directory of [others, join(moves, "below"), inside(own("sticky", 0o1777, { uid: 0, gid: 0 }))]) {
    const pid = await privileged.start({ netns, user: undefined, words: ["move", "guard", "--moves", directory], log });
    try {
      const { uid, gid } = directory === others ? other : user;
      const words = ["move", "guard", "--moves", directory, "--owner", `${uid}:${gid}`, "--supervised"];
      assert.deepEqual((await said(log))["words"], words);
    } finally {
      process.kill(pid, "SIGKILL");
      rmSync(log);
    }
  }
});

test("in what is started no signal opens a debugger", { skip }, async () => {
  using folder = openFolder();
  chownSync(folder.path, user.uid, user.gid);
  await using privileged = openLinux({ program: product });
  const log = join(folder.path, "log");
  const pid = await privileged.start({ netns: netnsOf("self") ?? 0, user, words: ["sidecar", "run"], log });
  try {
    await said(log);
    const [, caught = "0"] = /^SigCgt:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
    const bit = BigInt(constants.signals.SIGUSR1 - 1);
    assert.equal((BigInt(`0x${caught}`) >> bit) & 1n, 0n, "nothing in it listens to SIGUSR1");
  } finally {
    process.kill(pid, "SIGKILL");
  }
});

test("what root makes has its mode whatever the mask of the process is, and lies only where nobody else writes", {
  skip,
}, async () => {
  using folder = openFolder();
  const { path } = folder;
  await using asked = openLinux({ program: product });
  await using others = openLinux({ program: product, asker: user });
  const mask = process.umask(0o077);
  try {
    await asked.directory(join(path, "above/own"), user);
  } finally {
    process.umask(mask);
  }
  assert.equal(lstatSync(join(path, "above")).mode & 0o777, 0o755);
  const { mode, uid, gid } = lstatSync(join(path, "above/own"));
  assert.deepEqual([mode & 0o777, uid, gid], [0o700, user.uid, user.gid]);
  await asked.directory(join(path, "above/own"), user);
  const failed = { code: "host.directory-failed" };
  await assert.rejects(others.directory(join(path, "above/asked"), user), failed);
  await assert.rejects(asked.directory(join(path, "above/own"), { uid: user.uid, gid: 6 }), failed);
  mkdirSync(join(path, "theirs"));
  chownSync(join(path, "theirs"), other.uid, other.gid);
  await assert.rejects(asked.directory(join(path, "theirs/below/own"), user), failed);
  mkdirSync(join(path, "shared"));
  chownSync(join(path, "shared"), 0, other.gid);
  chmodSync(join(path, "shared"), 0o775);
  await assert.rejects(asked.directory(join(path, "shared/own"), user), failed);
  assert.ok(!existsSync(join(path, "theirs/below")) && !existsSync(join(path, "shared/own")));
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
  for (const made of ["users/folder/made", "users/link", "roots"]) {
    await assert.rejects(privileged.directory(join(path, made), user), { code: "host.directory-failed" });
  }
  assert.ok(!existsSync(join(path, "roots/log")) && !existsSync(join(path, "roots/made")));
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
    assert.deepEqual(mine, [{ path, uid: 0, gid: 0, isPrivate: true }]);
    chmodSync(folder.path, 0o777);
    const open = (await privileged.stateDirectories(netnsOf("self") ?? 0)).find((each) => each.path === path);
    assert.equal(open?.isPrivate, false, "others can put another one there");
    assert.deepEqual(await privileged.stateDirectories(namespace.netns), []);
  } finally {
    alike.close();
    await control.close();
    await state.close();
  }
});
