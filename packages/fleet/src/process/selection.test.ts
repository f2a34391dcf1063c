import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProcessFacts } from "./facts.ts";
import { chooseSelection } from "./selection.ts";

const connection = { local: { host: "10.0.0.2", port: 40_000 }, remote: { host: "10.0.0.1", port: 2_181 } };
const app: ProcessFacts = {
  pid: 10,
  started: 1,
  uid: 1_000,
  cgroup: "/system.slice/pay.service",
  netns: 1,
  command: ["java"],
  listening: [{ host: "::", port: 20_880 }],
  connections: [connection],
  exact: true,
};
const other: ProcessFacts = { ...app, pid: 11, uid: 2_000, cgroup: "/system.slice/other.service" };
const quiet = { listening: [], connections: [] };
const sidecar = { uid: 3_000, cgroup: "/system.slice/dualmesh.service" };
const byGroup = { kind: "cgroup", path: app.cgroup } as const;
const byUser = { kind: "uid", uid: app.uid } as const;

test("a process with a control group of its own is told by it", () => {
  assert.deepEqual(chooseSelection(app, [app, other], sidecar), { selection: byGroup, exclusive: true });
  assert.deepEqual(chooseSelection(app, []), { selection: byGroup, exclusive: true });
});

test("others in its group that have no sockets, or are in other namespaces, change nothing", () => {
  const shell = { ...app, ...quiet, pid: 12 };
  const elsewhere = { ...app, pid: 13, netns: 2 };
  assert.deepEqual(chooseSelection(app, [shell, elsewhere], sidecar), { selection: byGroup, exclusive: true });
});

test("others in its group, or below it, make its user the better choice", () => {
  for (const cgroup of [app.cgroup, `${app.cgroup}/worker`]) {
    const beside = { ...other, cgroup };
    assert.deepEqual(chooseSelection(app, [app, beside], sidecar), { selection: byUser, exclusive: true });
  }
});

test("where others are selected either way it is the group, and said", () => {
  const beside = { ...app, pid: 12 };
  assert.deepEqual(chooseSelection(app, [beside], sidecar), { selection: byGroup, exclusive: false });
});

test("without a group of its own it is told by its user", () => {
  const free = { ...app, cgroup: "/" };
  assert.deepEqual(chooseSelection(free, [other], sidecar), { selection: byUser, exclusive: true });
  assert.deepEqual(chooseSelection(free, [{ ...app, pid: 12 }], sidecar), { selection: byUser, exclusive: false });
});

test("the sidecar is never selected", () => {
  assert.deepEqual(chooseSelection(app, [], { ...sidecar, cgroup: `${app.cgroup}/sidecar` }), {
    selection: byUser,
    exclusive: true,
  });
  assert.deepEqual(chooseSelection(app, [], { ...sidecar, uid: app.uid }), { selection: byGroup, exclusive: true });
  const choice = chooseSelection({ ...app, cgroup: "/" }, [], { uid: app.uid, cgroup: "/" });
  assert.ok("reasons" in choice);
  assert.equal(choice.reasons.length, 2);
  assert.match(choice.reasons[0] ?? "", /no control group of its own that is seen from here: start it as a service/);
  assert.match(
    choice.reasons[1] ?? "",
    /the sidecar runs as the user of the process, 1000: run the sidecar as another user/,
  );
});

test("a kernel that cannot tell groups is asked for users only", () => {
  assert.deepEqual(chooseSelection(app, [], sidecar, ["uid"]), { selection: byUser, exclusive: true });
});
