import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { takeLock } from "@dualmesh/base/state/lock";
import { openHome } from "../testing.ts";
import { checkMovesPath } from "./moves-path.ts";

const asAsked = { sudo: false };

test("a path is refused exactly where the sockets below it would become too long, and before anything is made", async () => {
  await using home = await openHome();
  const longest = join(home.path, "m".repeat(58 - home.path.length - 1));
  checkMovesPath(longest, asAsked);
  const state = join(longest, "sidecar-0badcafe", "state");
  await mkdir(state, { recursive: true });
  await (await takeLock(state)).release();
  assert.throws(() => checkMovesPath(`${longest}m`, asAsked), {
    code: "move.no-place",
    message: /its path has 59 bytes, and with more than 58 the sockets below it .* --moves$/,
  });
  const words = ["move", "in", "--pid", String(process.pid), "--moves", `${longest}m`];
  for (const dry of [[], ["--dry-run"]]) {
    const { code, stderr, stdout } = await home.run(...words, ...dry);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /moves cannot be kept in .*: its path has 59 bytes/);
  }
  assert.deepEqual(await readdir(home.path), [longest.slice(dirname(longest).length + 1)]);
});

test("a file in the place of the directory, or of one above it, is named by every command", async () => {
  await using home = await openHome();
  const file = join(home.path, "file");
  await writeFile(file, "");
  for (const moves of [file, join(file, "moves")]) {
    assert.throws(() => checkMovesPath(moves, asAsked), { message: new RegExp(`: ${file} is no directory: name`) });
    const words = ["--pid", String(process.pid), "--moves", moves];
    const dry = await home.run("move", "in", "--dry-run", ...words);
    assert.deepEqual([dry.code, dry.stdout], [1, ""]);
    assert.match(dry.stderr, /moves cannot be kept in .* is no directory/);
  }
  const status = await home.run("move", "status", "--moves", file);
  assert.equal(status.code, 1);
  assert.match(status.stderr, new RegExp(`${file} is no directory, and holds no moves: name theirs with --moves`));
});

test("a directory that cannot be made is named with the one in which it cannot, unless somebody else makes it", async () => {
  await using home = await openHome();
  const moves = join(home.path, "a", "moves");
  const asked: string[] = [];
  const access = (path: unknown): never => {
    asked.push(String(path));
    throw new Error("EROFS: read-only file system");
  };
  assert.throws(() => checkMovesPath(moves, { sudo: false, access }), {
    code: "move.no-place",
    message: `moves cannot be kept in ${moves}: it cannot be made in ${home.path} (EROFS: read-only file system): name another one with --moves`,
  });
  assert.deepEqual(asked, [home.path]);
  checkMovesPath(moves, { sudo: true, access });
  checkMovesPath(moves, asAsked);
});
