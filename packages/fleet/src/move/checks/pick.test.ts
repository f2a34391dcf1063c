import assert from "node:assert/strict";
import { test } from "node:test";
import type { MeshError } from "@dualmesh/base/errors";
import type { ProcessFacts, ProcessName } from "../../process/facts.ts";
import { pickProcess } from "./pick.ts";

const unit = { kind: "unit", name: "pay.service" } as const;

function process(pid: number, ...remotes: readonly number[]): ProcessFacts {
  return {
    pid,
    started: 1,
    uid: 1,
    cgroup: "/",
    netns: 1,
    command: ["/usr/bin/java"],
    listening: [],
    connections: remotes.map((port) => ({
      local: { host: "10.0.0.1", port: 1_000 + port },
      remote: { host: "10.0.0.9", port },
    })),
    exact: true,
  };
}

test("of several processes the one that is connected to a registry is meant", () => {
  assert.equal(pickProcess([process(1), process(2, 2_181), process(3, 80)], unit, []).pid, 2);
  assert.equal(pickProcess([process(1, 2_181), process(2, 5_000)], unit, ["10.0.0.9:5000"]).pid, 2);
  assert.equal(pickProcess([process(1)], unit, []).pid, 1);
});

test("none, or several that could be meant, are told with their numbers", () => {
  const code = (all: readonly ProcessFacts[], named: ProcessName = unit): string => {
    try {
      pickProcess(all, named, []);
      return "";
    } catch (error) {
      return `${(error as MeshError).code}: ${(error as MeshError).message}`;
    }
  };
  assert.match(code([]), /^move\.no-process: the unit pay\.service has no process, or there is none of that name/);
  assert.match(
    code([], { kind: "netns", name: "pay" }),
    /^move\.no-process: no process is in the network namespace pay: has the application been started there/,
  );
  assert.match(code([], { kind: "cgroup", name: "/pay" }), /: no process is in the control group \/pay: is the path/);
  assert.match(code([], { kind: "pid", pid: 7 }), /: there is no process 7 on this machine/);
  assert.match(
    code([process(1), process(2)]),
    /none of them has a connection to a registry: name one with --pid, of 1 \(java\), 2 \(java\)/,
  );
  assert.match(code([process(1, 2_181), process(2, 2_181)]), /^move\.several-processes: .* several of them/);
});
