import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { netnsOf } from "../host/namespace.ts";
import { openTestCgroup, openTestNamespace, whyNoCgroups, whyNoNamespaces } from "../host/testing.ts";
import { readFacts } from "./read.ts";

test("of a process it is told who it is, and what its own sockets are and nobody else's", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, "connection");
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const [other] = await accepted;
  try {
    const [facts, ...more] = readFacts({ kind: "pid", pid: process.pid });
    assert.deepEqual(more, []);
    assert.equal(facts?.pid, process.pid);
    assert.equal(facts?.uid, process.getuid?.());
    assert.equal(facts?.netns, netnsOf("self"));
    assert.equal(facts?.command[0], process.execPath);
    assert.equal(facts?.exact, true);
    const stat = readFileSync("/proc/self/stat", "latin1");
    assert.equal(facts?.started, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]));
    assert.deepEqual(facts?.listening, [{ host: "127.0.0.1", port }]);
    const ends = [
      { host: "127.0.0.1", port: socket.localPort },
      { host: "127.0.0.1", port },
    ];
    const byLocal = facts?.connections.toSorted(
      (one, next) => Number(one.local.port === port) - Number(next.local.port === port),
    );
    assert.deepEqual(byLocal, [
      { local: ends[0], remote: ends[1] },
      { local: ends[1], remote: ends[0] },
    ]);
  } finally {
    socket.destroy();
    other.destroy();
    server.close();
  }
});

test("a name with spaces and parentheses does not hide when a process was started", async () => {
  const rename = `process.title = "x) R 1 (y"; console.log("renamed"); setTimeout(() => {}, 60000);`;
  const child = spawn(process.execPath, ["-e", rename], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(child.stdout, "data");
    const [facts] = readFacts({ kind: "pid", pid: child.pid ?? -1 });
    const [own] = readFacts({ kind: "pid", pid: process.pid });
    assert.match(readFileSync(`/proc/${child.pid}/stat`, "latin1"), /^\d+ \(x\) R 1 \(y\) /);
    assert.ok(facts !== undefined && own !== undefined && facts.started >= own.started);
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});

test("who is not there has no facts, and a namespace that is not there is told", async () => {
  const child = spawn("/bin/true");
  await once(child, "exit");
  assert.deepEqual(readFacts({ kind: "pid", pid: child.pid ?? -1 }), []);
  assert.deepEqual(readFacts({ kind: "netns", name: "1" }), []);
  assert.throws(() => readFacts({ kind: "netns", name: "dmb-nowhere" }), { code: "host.namespace-gone" });
});

test("a namespace, by name and by number, and a control group name the processes in them", {
  skip: whyNoCgroups(),
}, async () => {
  using cgroup = openTestCgroup(2);
  await using namespace = await openTestNamespace("10.76.0.1/32");
  const first = await namespace.peer({ cgroup });
  const second = await namespace.peer({ uid: 4_140 });
  const port = await first.listen({ host: "::" }, "hello");
  const dialled = await second.dial({ host: "::1", port });
  for (const name of [namespace.name, `${namespace.netns}`]) {
    const facts = readFacts({ kind: "netns", name });
    assert.deepEqual(new Set(facts.map(({ pid }) => pid)), new Set([first.pid, second.pid]));
    assert.ok(facts.every(({ netns }) => netns === namespace.netns));
    const caller = facts.find(({ pid }) => pid === second.pid);
    assert.deepEqual([caller?.uid, caller?.listening, caller?.connections], [4_140, [], [dialled.flow]]);
  }
  for (const name of [cgroup.path, cgroup.path.slice(0, cgroup.path.lastIndexOf("/"))]) {
    const [facts, ...others] = readFacts({ kind: "cgroup", name });
    assert.deepEqual(others, []);
    assert.deepEqual([facts?.pid, facts?.cgroup, facts?.listening], [first.pid, cgroup.path, [{ host: "::", port }]]);
  }
  assert.deepEqual(
    readFacts({ kind: "unit", name: cgroup.path.split("/")[1] ?? "" }).map(({ pid }) => pid),
    [first.pid],
  );
  await first.end();
});

test("two hundred processes of a namespace are read in well under a second", { skip: whyNoNamespaces() }, (t) => {
  const began = performance.now();
  const facts = readFacts({ kind: "netns", name: `${netnsOf("self")}` });
  const tookMs = performance.now() - began;
  t.diagnostic(`${facts.length} processes in ${Math.round(tookMs)} ms`);
  assert.ok(tookMs < 200 + 5 * facts.length, `${tookMs} ms`);
});

test("whoever may see a process and not its descriptors, as root in a container, is told its user's sockets, and that they are", {
  skip: whyNoNamespaces(),
}, async () => {
  await using namespace = await openTestNamespace();
  const app = await namespace.peer({ uid: 4_141 });
  const port = await app.listen({ host: "127.0.0.1" }, "hello");
  const reads = `
    import { readFacts } from ${JSON.stringify(new URL("./read.ts", import.meta.url).href)};
    const [{ exact, listening }] = readFacts({ kind: "pid", pid: ${app.pid} });
    console.log(JSON.stringify({ exact, listening }));
  `;
  const less = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"];
  const said = namespace.run(less[0] as string, ...less.slice(1), process.execPath, "--input-type=module", "-e", reads);
  assert.deepEqual(JSON.parse(said), { exact: false, listening: [{ host: "127.0.0.1", port }] });
});
