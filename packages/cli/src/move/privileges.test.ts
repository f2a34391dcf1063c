import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { accountOf } from "@dualmesh/fleet/host/accounts";
import type { StateDirectory, User } from "@dualmesh/fleet/host/host";
import { openLinux } from "@dualmesh/fleet/host/linux";
import { agentSocketVariable } from "@dualmesh/fleet/host/start-agent";
import type { FlagValues } from "../command.ts";
import {
  chooseUser,
  movesPath,
  openSetting,
  ownerOfGuard,
  ownerOfMoves,
  prepareMoves,
  productAccount,
  zooKeepersFile,
} from "./privileges.ts";
import { isRoot, readUser } from "./users.ts";

const skip = isRoot() ? false : "needs root, which alone has users to choose from";
const user: User = { uid: 4_150, gid: 4_151 };
const stranger: User = { uid: 4_152, gid: 4_152 };

/** Where every user may look. */
function openFolder(): Disposable & { readonly path: string; own(name: string, owner: User, mode?: number): string } {
  const path = mkdtempSync("/tmp/dmb-");
  chmodSync(path, 0o755);
  return {
    path,
    own(name, { uid, gid }, mode = 0o700) {
      const made = join(path, name);
      mkdirSync(made);
      chownSync(made, uid, gid);
      chmodSync(made, mode);
      return made;
    },
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
}

const flags = (words: Readonly<Record<string, string>> = {}): FlagValues => new Map(Object.entries(words));

test("root moves as the operator says, else as a trusted sidecar's user, else as the owner of the moves or as one that nobody is", {
  skip,
}, async () => {
  if ((await accountOf(productAccount)) !== undefined) return; // then that one is chosen in place of the last two
  using folder = openFolder();
  const moves = join(folder.path, "moves");
  const beside: StateDirectory[] = [];
  const choose = (words: Readonly<Record<string, string>> = {}): Promise<User> =>
    chooseUser(flags(words), moves, 1, { stateDirectories: async () => beside });
  const place = (name: string, owner: User, isPrivate: boolean, isZooKeepers = true): void => {
    const path = folder.own(name, owner);
    if (isZooKeepers) writeFileSync(join(path, zooKeepersFile), "");
    beside.push({ path, ...owner, isPrivate });
  };

  const nobody = await choose();
  assert.ok(nobody.uid >= 60_710 && nobody.gid === nobody.uid);
  assert.equal(await accountOf(String(nobody.uid)), undefined);
  place("posing", stranger, true);
  place("elsewhere", user, false);
  place("registry", { uid: 0, gid: 0 }, true, false);
  assert.deepEqual(await choose(), nobody, "none of them counts");
  folder.own("moves", user);
  assert.deepEqual(await choose(), user, "whose moves they are");
  rmSync(moves, { recursive: true });
  place("roots", { uid: 0, gid: 0 }, true);
  assert.deepEqual(await choose(), { uid: 0, gid: 0 });
  place("users", user, true);
  folder.own("moves", user);
  assert.deepEqual(await choose(), user, "theirs before root's");
  assert.deepEqual(await choose({ state: join(folder.path, "posing") }), stranger);
  assert.deepEqual(await choose({ user: "7:8", state: join(folder.path, "posing") }), { uid: 7, gid: 8 });
});

test("a state directory that is root's, and in which others may write, makes nobody root", { skip }, async () => {
  using folder = openFolder();
  const open = folder.own("open", { uid: 0, gid: 0 }, 0o1777);
  symlinkSync("/root", join(folder.path, "link"));
  for (const state of [open, "/tmp", join(folder.path, "link")]) {
    const choosing = chooseUser(flags({ state }), join(folder.path, "moves"), 1, { stateDirectories: async () => [] });
    await assert.rejects(choosing, { code: "host.directory-unsafe" }, state);
  }
});

test("moves are looked after as their owner, and only where nobody else can have put them", { skip }, async () => {
  using folder = openFolder();
  const moves = folder.own("moves", user);
  assert.deepEqual(ownerOfMoves(moves), user);
  symlinkSync(moves, join(folder.path, "link"));
  for (const unsafe of ["/tmp", folder.own("open", user, 0o770), join(folder.path, "link")]) {
    assert.throws(() => ownerOfMoves(unsafe), { code: "host.directory-unsafe" }, unsafe);
  }
  assert.throws(() => ownerOfMoves(join(folder.path, "missing")), { code: "move.none" });
});

test("root, who gives its rights up after an agent was started, joins none that is there", { skip }, async (t) => {
  process.env[agentSocketVariable] = "3";
  t.after(() => delete process.env[agentSocketVariable]);
  const opening = openSetting({ moves: "/nobody/is/here", user, sudo: false, logLevel: "error" });
  await assert.rejects(opening, {
    code: "host.not-dropped",
    message: /DUALMESH_AGENT_SOCKET is set for root.*unset it/,
  });
});

test("a guard goes on as the one for whom it was started, and as root only when that is said", { skip }, () => {
  using folder = openFolder();
  const moves = folder.own("moves", user);
  assert.deepEqual(ownerOfGuard(flags(), moves), user);
  assert.deepEqual(ownerOfGuard(flags({ owner: "4150:4151" }), moves), user);
  for (const owner of ["0:0", "4150:6", "4152:4152"]) {
    assert.throws(() => ownerOfGuard(flags({ owner }), moves), { code: "move.other-user" }, owner);
  }
  assert.throws(() => ownerOfGuard(flags({ owner: "root" }), moves), { code: "usage.wrong" });
  const roots = folder.own("roots", { uid: 0, gid: 0 });
  assert.throws(() => ownerOfGuard(flags(), roots), { code: "move.other-user" });
  assert.deepEqual(ownerOfGuard(flags({ owner: "0:0" }), roots), { uid: 0, gid: 0 });
});

test("root makes the moves directory for a user only where nobody can put a link in its place", { skip }, async () => {
  using folder = openFolder();
  await using linux = openLinux();
  const moves = join(folder.path, "above/moves");
  await prepareMoves(moves, user, linux);
  await prepareMoves(moves, user, linux);
  const { uid, gid, mode } = lstatSync(moves);
  assert.deepEqual([uid, gid, mode & 0o777], [user.uid, user.gid, 0o700]);
  const others = { uid: user.uid, gid: 6 };
  await assert.rejects(prepareMoves(moves, others, linux), { code: "move.other-user" });
  folder.own("theirs", stranger, 0o755);
  const below = prepareMoves(join(folder.path, "theirs/moves"), user, linux);
  await assert.rejects(below, { code: "host.directory-failed" });
  assert.ok(!existsSync(join(folder.path, "theirs/moves")));
});

test("the moves directory has no link above it, and is itself as it was named", () => {
  using folder = openFolder();
  mkdirSync(join(folder.path, "real"));
  symlinkSync(join(folder.path, "real"), join(folder.path, "link"));
  const at = (below: string): string => movesPath(flags({ moves: join(folder.path, below) }));
  assert.equal(at("link/a/moves"), join(folder.path, "real/a/moves"));
  assert.equal(at("link"), join(folder.path, "link"));
});

test("a user is named by name, by number, or by both numbers", async () => {
  assert.deepEqual(await readUser("root"), { uid: 0, gid: 0 });
  assert.deepEqual(await readUser("0"), { uid: 0, gid: 0 });
  assert.deepEqual(await readUser("12:34"), { uid: 12, gid: 34 });
  for (const wrong of ["-u", "a b", "", "dualmesh-nobody-is-called-so"]) {
    await assert.rejects(readUser(wrong), { code: "usage.wrong" }, wrong);
  }
});
