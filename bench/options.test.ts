import assert from "node:assert/strict";
import test from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { loadsOf, loadText, parseDataplaneOptions } from "./options.ts";

test("a comparison measures every protocol under its usual loads and with every proxy unless told otherwise", () => {
  const options = parseDataplaneOptions([]);
  assert.ok(options !== undefined);
  assert.equal(options.kind, "compare");
  assert.deepEqual(options.works, ["bolt", "dubbo", "http"]);
  assert.deepEqual(loadsOf(options, "bolt").map(loadText), ["4x16", "64x4", "1x1"]);
  assert.deepEqual(loadsOf(options, "http").map(loadText), ["64x1", "1x1"]);
  assert.deepEqual(options.proxies, ["direct", "dualmesh", "dualmesh-rules", "haproxy", "envoy", "nginx"]);
  assert.equal(options.json, false);
});

test("lists are taken apart and numbers read", () => {
  const options = parseDataplaneOptions([
    "--seconds",
    "2.5",
    "--work",
    "dubbo",
    "--load",
    "2x3,1x1",
    "--proxy",
    "direct,haproxy",
    "--json",
  ]);
  assert.equal(options?.seconds, 2.5);
  assert.deepEqual(options?.loads?.[0], { connections: 2, inFlight: 3 });
  assert.deepEqual(options?.proxies, ["direct", "haproxy"]);
  assert.equal(options?.json, true);
});

test("a soak is of dualmesh with bolt at 64x4", () => {
  const options = parseDataplaneOptions(["--soak", "30"]);
  assert.equal(options?.kind, "soak");
  assert.equal(options?.soakMinutes, 30);
  assert.deepEqual([options?.works, options?.proxies], [["bolt"], ["dualmesh"]]);
});

test("streaming is of 1 GiB through dualmesh beside haproxy", () => {
  const options = parseDataplaneOptions(["--stream"]);
  assert.equal(options?.kind, "stream");
  assert.equal(options?.streamMebibytes, 1_024);
  assert.deepEqual(options?.proxies, ["direct", "dualmesh", "haproxy"]);
});

test("what is not understood is a usage error that names it", () => {
  for (const args of [
    ["--load", "4"],
    ["--work", "thrift"],
    ["--proxy", "x"],
    ["--seconds", "-1"],
    ["--nope"],
    ["--soak", "1", "--stuck"],
    ["--stream", "--memory"],
  ]) {
    assert.throws(
      () => parseDataplaneOptions(args),
      (error) => isMeshError(error, "bench.usage"),
      args.join(" "),
    );
  }
});
