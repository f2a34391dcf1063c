import assert from "node:assert/strict";
import { test } from "node:test";
import { catchText, cutText, forwardText, namesOf, trackingText, withoutText } from "./rules.ts";

const syn = "tcp flags & (fin | syn | rst | ack) == syn";

test("a catch matches the first packet to each server, of the user, and replaces the table of its name", () => {
  const rule = {
    name: "p1-2",
    of: { kind: "uid", uid: 33 },
    ways: [
      { server: { host: "10.0.0.1", port: 2_181 }, port: 15_001 },
      { server: { host: "fd00::1", port: 2_182 }, port: 15_002 },
    ],
  } as const;
  assert.equal(
    catchText(rule, "unified"),
    `add table inet dualmesh-catch-p1-2
delete table inet dualmesh-catch-p1-2
table inet dualmesh-catch-p1-2 {
  chain output {
    type nat hook output priority -105; policy accept;
    ip daddr 10.0.0.1 tcp dport 2181 ${syn} meta skuid 33 counter redirect to :15001
    ip6 daddr fd00::1 tcp dport 2182 ${syn} meta skuid 33 counter redirect to :15002
  }
}
`,
  );
});

test("a control group is named from where nft looks, with its depth below the mount of version 2", () => {
  const ways = [{ server: { host: "10.0.0.1", port: 2_181 }, port: 15_001 }];
  const of = { kind: "cgroup", path: "/system.slice/pay@1.service" } as const;
  assert.match(
    catchText({ name: "a", of, ways }, ""),
    / socket cgroupv2 level 2 "system\.slice\/pay@1\.service" counter/,
  );
  assert.match(catchText({ name: "a", of, ways }, "unified"), / level 2 "unified\/system\.slice\/pay@1\.service" /);
});

test("a forwarding keeps the address and changes the port, for what comes from outside and from here", () => {
  const rules = [
    { published: { host: "10.0.0.1", port: 20_881 }, appPort: 20_880 },
    { published: { host: "fd00::1", port: 20_881 }, appPort: 20_880 },
  ];
  const lines = forwardText("a", rules)
    .split("\n")
    .map((line) => line.trim());
  assert.equal(
    lines.filter((line) => line === `ip daddr 10.0.0.1 tcp dport 20881 ${syn} counter dnat ip to 10.0.0.1:20880`)
      .length,
    2,
  );
  assert.equal(
    lines.filter((line) => line === `ip6 daddr fd00::1 tcp dport 20881 ${syn} counter dnat ip6 to [fd00::1]:20880`)
      .length,
    2,
  );
  assert.ok(lines.includes("type nat hook prerouting priority -105; policy accept;"));
  assert.ok(lines.includes("type nat hook output priority -105; policy accept;"));
});

test("a reset names whole connections, which are forgotten after a while", () => {
  const flows = [
    { local: { host: "10.0.0.2", port: 40_000 }, remote: { host: "10.0.0.1", port: 2_181 } },
    { local: { host: "fd00::2", port: 40_001 }, remote: { host: "fd00::1", port: 2_181 } },
  ];
  const text = cutText("1-1", flows, 20);
  assert.match(text, /set v4 \{ .* elements = \{ 10\.0\.0\.2 \. 40000 \. 10\.0\.0\.1 \. 2181 timeout 20s \};/);
  assert.match(text, /set v6 \{ .* elements = \{ fd00::2 \. 40001 \. fd00::1 \. 2181 timeout 20s \};/);
});

test("tables of one kind never look like those of another", () => {
  const tables = [
    "dualmesh-catch-forward-a",
    "dualmesh-forward-catch-b",
    "dualmesh-tracking",
    "dualmesh-cut-1",
    "docker",
  ];
  assert.deepEqual(namesOf("catch", tables), ["forward-a"]);
  assert.deepEqual(namesOf("forward", tables), ["catch-b"]);
  assert.match(trackingText(), /^add table inet dualmesh-tracking\n/);
  assert.equal(withoutText("t"), "add table inet t\ndelete table inet t\n");
});
