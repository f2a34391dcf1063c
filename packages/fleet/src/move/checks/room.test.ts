import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Checks } from "./check.ts";
import { type Room, roomAt, sayRoom } from "./room.ts";

const mebibyte = 1024 * 1024;

function said(room: Room | undefined, startsSidecar: boolean): string {
  const checks = new Checks();
  sayRoom(room, "/moves", startsSidecar, checks);
  return checks.lines.map(({ level, what, text }) => `${level} ${what}: ${text}`).join("\n");
}

test("a move is not begun where there is no room for its record, or for the sidecar that it starts", () => {
  assert.equal(said({ bytes: 40 * mebibyte, files: 1_000 }, true), "ok room: 40 MiB are free for /moves");
  assert.match(
    said({ bytes: 31 * mebibyte, files: 1_000 }, true),
    /^stops room: 31 MiB are free for \/moves, and 32 MiB are needed .* sidecar .*: make room there, or name .* --moves$/,
  );
  assert.equal(said({ bytes: 31 * mebibyte, files: 1_000 }, false), "ok room: 31 MiB are free for /moves");
  assert.match(said({ bytes: mebibyte, files: 1_000 }, false), /^stops room: 1 MiB are free .* and 4 MiB are needed/);
  assert.match(
    said({ bytes: 1e12, files: 100 }, true),
    /^stops room: 100 more files can be made below \/moves, and 128/,
  );
  assert.match(said({ bytes: 1e12, files: 100 }, false), /^ok room/);
  assert.match(said({ bytes: 1e12, files: undefined }, true), /^ok room/, "one that counts no files");
  assert.equal(said(undefined, true), "");
});

test("the room of a directory that is not there yet is that of those above it", async () => {
  const here = await roomAt(tmpdir());
  const below = await roomAt(join(tmpdir(), "dm-nobody", "moves"));
  assert.ok(here !== undefined && below !== undefined && below.bytes > 0);
  assert.ok(Math.abs(here.bytes - below.bytes) < 1e9, "somebody else may be writing");
  assert.equal(await roomAt(join("/proc/self/status", "moves")), undefined, "below a file");
});
