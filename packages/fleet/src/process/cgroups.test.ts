import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cgroupMount, cgroupProcesses, cgroupsOfUnit, isInCgroup, parseCgroup } from "./cgroups.ts";

test("the mount of version 2 is found where there is nothing else, beside version 1, and in a container", () => {
  const mounts = (root: string, path: string): string =>
    `23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n41 31 0:38 ${root} ${path} rw,relatime shared:9 - cgroup2 cgroup2 rw\n`;
  assert.deepEqual(cgroupMount(mounts("/", "/sys/fs/cgroup")), { path: "/sys/fs/cgroup", below: "" });
  assert.deepEqual(cgroupMount(mounts("/", "/sys/fs/cgroup/unified")), {
    path: "/sys/fs/cgroup/unified",
    below: "unified",
  });
  assert.equal(cgroupMount(mounts("/", "/mnt/cgroup")), undefined);
  assert.equal(cgroupMount(mounts("/docker/1", "/sys/fs/cgroup")), undefined);
  assert.equal(cgroupMount("32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"), undefined);
  assert.equal(cgroupMount("garbage\n\n- - -"), undefined);
});

test("the group of version 2 is read among those of version 1; what is not seen from here is none", () => {
  assert.equal(parseCgroup("9:name=systemd:/x\n0::/system.slice/pay.service\n"), "/system.slice/pay.service");
  assert.equal(parseCgroup("0::/\n"), "/");
  assert.equal(parseCgroup("4:memory:/a\n"), "/");
  assert.equal(parseCgroup("0::/../other\n"), "/");
  assert.equal(parseCgroup("0::/gone (deleted)\n"), "/");
});

test("a group is in itself and in those above it, not in one whose name begins alike", () => {
  assert.ok(isInCgroup("/a/b", "/a"));
  assert.ok(isInCgroup("/a", "/a"));
  assert.ok(!isInCgroup("/ab", "/a"));
  assert.ok(!isInCgroup("/a", "/a/b"));
});

test("a unit's group is found at any depth, and its processes are those below it as well", () => {
  const path = mkdtempSync(join(tmpdir(), "dualmesh-cgroups-"));
  try {
    const mount = { path, below: "" };
    const made: Readonly<Record<string, string>> = {
      "system.slice/pay.service": "11\n0\n",
      "system.slice/pay.service/worker": "12\n13\n",
      "user.slice/user@1.service/app.slice/pay.service": "14\n",
      "system.slice/other.service": "15\n",
    };
    for (const [below, pids] of Object.entries(made)) {
      mkdirSync(join(path, below), { recursive: true });
      writeFileSync(join(path, below, "cgroup.procs"), pids);
    }
    const units = ["/system.slice/pay.service", "/user.slice/user@1.service/app.slice/pay.service"];
    assert.deepEqual(cgroupsOfUnit(mount, "pay"), units);
    assert.deepEqual(cgroupsOfUnit(mount, "pay.service"), units);
    assert.deepEqual(cgroupsOfUnit(mount, "other"), ["/system.slice/other.service"]);
    assert.deepEqual(cgroupsOfUnit(mount, "nothing"), []);
    assert.deepEqual(cgroupProcesses(mount, "/system.slice/pay.service"), [11, 12, 13]);
    assert.deepEqual(cgroupProcesses(mount, "/system.slice").toSorted(), [11, 12, 13, 15]);
    assert.deepEqual(cgroupProcesses(mount, "/gone"), []);
  } finally {
    rmSync(path, { recursive: true });
  }
});
