import assert from "node:assert/strict";
import { test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import type { CatchRule } from "./host.ts";
import {
  readCaptureRequest,
  readCatchRule,
  readCgroupPath,
  readFlows,
  readForwardRules,
  readHello,
  readName,
  readNetns,
  readPath,
  readPid,
  readProcessName,
  readRequest,
  readSelection,
  readStart,
  readUser,
} from "./inputs.ts";
import { catchText } from "./rules.ts";

const readers: Readonly<Record<string, (given: unknown) => unknown>> = {
  readCaptureRequest,
  readCatchRule,
  readCgroupPath,
  readFlows,
  readForwardRules,
  readHello,
  readName,
  readNetns,
  readPath,
  readPid,
  readProcessName,
  readRequest,
  readSelection,
  readStart,
  readUser,
};
const malformed = { code: "host.malformed" };
const server = { host: "10.0.0.1", port: 2_181 };
const rule: CatchRule = { name: "a", of: { kind: "uid", uid: 1 }, ways: [{ server, port: 15_001 }] };

for (const [name, read] of Object.entries(readers)) {
  test(`${name} takes what is right as it is, and anything else is only its own error`, () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withBigInt: true, withDate: true }), (given) => {
        try {
          read(given);
        } catch (error) {
          assert.ok(isMeshError(error, "host.malformed"), String(error));
        }
      }),
    );
  });
}

test("no text gets out of the place that a rule has for it", () => {
  const hostile = ["", "a b", "a\nb", "a;b", 'a"b', "a{", "$a", "../a", "a/b", "-".repeat(65), "ä", "a\0"];
  for (const name of hostile) assert.throws(() => readCatchRule({ ...rule, name }), malformed, name);
  for (const host of [
    ...hostile,
    "localhost",
    "10.0.0.1/8",
    "10.0.0.1 ",
    "::1%lo",
    "[::1]",
    "0.0.0.0",
    "::",
    "10.1",
    "0x7f.0.0.1",
  ]) {
    assert.throws(() => readCatchRule({ ...rule, ways: [{ server: { host, port: 1 }, port: 1 }] }), malformed, host);
  }
  for (const port of [0, -1, 65_536, 1.5, "1", "1 accept", null, Number.NaN]) {
    assert.throws(() => readCatchRule({ ...rule, ways: [{ server, port }] }), malformed, String(port));
  }
  for (const uid of [-1, 2 ** 32 - 1, 2 ** 32, "0", "0 accept", 0.5]) {
    assert.throws(() => readCatchRule({ ...rule, of: { kind: "uid", uid } }), malformed, String(uid));
  }
  for (const path of [
    "",
    "/",
    "a",
    "//a",
    "/a/",
    "/a/../b",
    "/./a",
    '/a"b',
    "/a\nb",
    "/a\0",
    `/${"a".repeat(5_000)}`,
  ]) {
    assert.throws(() => readCatchRule({ ...rule, of: { kind: "cgroup", path } }), malformed, path);
  }
});

test("what is let through stands between quotes in one line of the rule", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      let of: CatchRule["of"];
      try {
        of = readSelection({ kind: "cgroup", path: `/${text}` });
      } catch {
        return;
      }
      const lines = catchText({ ...rule, of }, "").split("\n");
      assert.equal(lines.length, 9);
      assert.equal(lines[5]?.split('"').length, 3);
    }),
  );
});

test("names of systemd are let through as they are", () => {
  for (const path of [
    "/system.slice/pay@1.service",
    "/a.slice/dev-disk-by\\x2dlabel.swap",
    "/docker/0123:abc",
    "/kubepods.slice/*",
  ]) {
    assert.equal(readCgroupPath(path), path);
  }
});

test("addresses come out in one form, and two rules for one are refused", () => {
  const read = (host: string): string | undefined =>
    readCatchRule({ ...rule, ways: [{ server: { host, port: 1 }, port: 1 }] }).ways[0]?.server.host;
  assert.equal(read("FD00:0:0::0001"), "fd00::1");
  assert.equal(read("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(read("::ffff:a00:1"), "10.0.0.1");
  const twice = [
    { server: { host: "fd00::1", port: 1 }, port: 1 },
    { server: { host: "fd00:0::1", port: 1 }, port: 2 },
  ];
  assert.throws(() => readCatchRule({ ...rule, ways: twice }), malformed);
  assert.throws(() => readForwardRules([1, 2].map((appPort) => ({ published: server, appPort }))), malformed);
});

test("limits are those that are promised", () => {
  const flow = { local: { host: "10.0.0.2", port: 1 }, remote: server };
  assert.equal(readFlows(Array(1_024).fill(flow)).length, 1_024);
  assert.throws(() => readFlows(Array(1_025).fill(flow)), malformed);
  assert.throws(() => readFlows([{ local: { host: "::1", port: 1 }, remote: server }]), malformed);
  const ways = Array.from({ length: 65 }, (_, port) => ({ server: { host: "10.0.0.1", port: port + 1 }, port: 1 }));
  assert.equal(readCatchRule({ ...rule, ways: ways.slice(1) }).ways.length, 64);
  assert.throws(() => readCatchRule({ ...rule, ways }), malformed);
  assert.throws(() => readCatchRule({ ...rule, ways: [] }), malformed);
  assert.equal(readCaptureRequest({ ports: Array(64).fill(1) }).ports.length, 64);
  assert.throws(() => readCaptureRequest({ ports: Array(65).fill(1) }), malformed);
  for (const snapBytes of [95, 262_145]) assert.throws(() => readCaptureRequest({ ports: [1], snapBytes }), malformed);
});

test("only two commands of this product can be started, with words that are words and an absolute path for a log", () => {
  const start = { netns: 1, words: ["sidecar", "run"], log: "/tmp/log" };
  assert.deepEqual(readStart(start), { ...start, user: undefined });
  const guard = ["move", "guard", "--moves", "/var/lib/moves"];
  assert.deepEqual(readStart({ ...start, words: guard }).words, guard);
  assert.throws(() => readStart({ ...start, words: guard, user: { uid: 0, gid: 0 } }), malformed);
  for (const words of [
    [],
    ["sidecar"],
    ["registry", "run"],
    ["move", "in"],
    ["move", "guard"],
    ["move", "guard", "--moves"],
    ["move", "guard", "--moves", "moves"],
    ["move", "guard", "--moves", "/a/../b"],
    ["move", "guard", "--owner", "0:0"],
    ["move", "guard", "--moves", "/a", "--owner", "0:0"],
    ["move", "host"],
    ["run", "sidecar"],
    ["sidecar", "run", "a\0b"],
    ["sidecar", "run", 1],
  ]) {
    assert.throws(() => readStart({ ...start, words }), malformed, String(words));
  }
  for (const log of ["log", "/", "/a/../b", "/a\nb"]) assert.throws(() => readStart({ ...start, log }), malformed, log);
  assert.throws(() => readStart({ ...start, program: "/bin/sh" }), malformed);
});
