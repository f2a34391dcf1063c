import assert from "node:assert/strict";
import { test } from "node:test";
import { openTestNamespace } from "./testing.ts";
import { asBoundedRoot, asSomebody, toldOf, uid, whyNotOthers } from "./testing-users.ts";

const skip = whyNotOthers();

test("a user with nothing but CAP_NET_ADMIN in its own namespace does all that concerns rules and cuts", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace("10.76.0.1/32");
  const server = await namespace.peer();
  const port = await server.listen({ host: "10.76.0.1" }, "registry");
  const app = await namespace.peer({ uid: 4_111 });
  const standing = await app.dial({ host: "10.76.0.1", port });
  const seen = await asSomebody(
    namespace.path,
    ["net_admin"],
    `
    const privileged = openLinux();
    const host = await privileged.host(statSync("/proc/self/ns/net").ino);
    const of = { kind: "uid", uid: 4111 };
    const check = await host.check(of);
    await host.keepTracking();
    await host.catch({ name: "app", of, ways: [{ server: { host: "10.76.0.1", port: ${port} }, port: 9 }] });
    await host.forward("app", [{ published: { host: "10.76.0.1", port: 20881 }, appPort: 9 }]);
    const rules = [...(await host.caught()), ...(await host.forwarded())];
    await host.release("app");
    await host.unforward("app");
    const [facts] = await privileged.facts({ kind: "pid", pid: ${app.pid} });
    const here = await privileged.facts({ kind: "netns", name: String(facts.netns) });
    const cut = await host.cut(facts.connections);
    console.log(JSON.stringify({ check, rules, left: await host.caught(), facts, here: here.map(({ pid }) => pid), cut, capture: await host.whyNoCapture() }));
    `,
  );
  assert.deepEqual(seen["check"], []);
  assert.deepEqual(seen["rules"], ["app", "app"]);
  assert.deepEqual(seen["left"], []);
  assert.equal(seen["cut"], 1);
  assert.match(String(seen["capture"]), /CAP_NET_RAW/);
  assert.ok([server.pid, app.pid].every((pid) => (seen["here"] as readonly number[]).includes(pid)));
  const facts = seen["facts"] as Record<string, unknown>;
  assert.deepEqual(
    [facts["exact"], facts["uid"], facts["netns"], facts["connections"]],
    [false, 4_111, namespace.netns, [standing.flow]],
  );
});

test("a user without rights is told what is missing, for each thing, and nothing is changed", { skip }, async () => {
  await using namespace = await openTestNamespace();
  await using elsewhere = await openTestNamespace();
  const app = await namespace.peer();
  const foreign = await elsewhere.peer();
  const seen = await asSomebody(
    namespace.path,
    [],
    `
    const privileged = openLinux();
    const host = await privileged.host(statSync("/proc/self/ns/net").ino);
    ${toldOf}
    const ways = [{ server: { host: "10.76.0.1", port: 2181 }, port: 9 }];
    console.log(JSON.stringify({
      check: await host.check({ kind: "uid", uid: 1 }),
      caught: await told(() => host.catch({ name: "app", of: { kind: "uid", uid: 1 }, ways })),
      foreign: await told(() => privileged.facts({ kind: "pid", pid: ${foreign.pid} })),
      elsewhere: (await privileged.host(${elsewhere.netns})) ?? "not seen",
    }));
    `,
  );
  assert.deepEqual(seen["check"], [
    "rules need the capability CAP_NET_ADMIN: run as root, with --sudo, or give it to this process",
  ]);
  assert.match(
    String(seen["caught"]),
    /^host.not-permitted: nft may not change the rule app.*needs root \(or --sudo\), or the capability CAP_NET_ADMIN/,
  );
  assert.match(String(seen["foreign"]), /^host.not-permitted: process \d+ is another user's/);
  assert.equal(seen["elsewhere"], "not seen");
  assert.equal(namespace.run("nft", "list", "tables"), "");
  await app.end();
});

test("root in a container that lets it become nobody else is told so, and looks at calls as itself", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace();
  const app = await namespace.peer();
  const directory = `/tmp/dmu-${process.pid}`;
  const seen = await asBoundedRoot(
    namespace.path,
    ["net_admin", "net_raw"],
    `
    import { asUser } from ${JSON.stringify(new URL("./users.ts", import.meta.url).href)};
    ${toldOf}
    const user = { uid: ${uid}, gid: ${uid} };
    const linux = openLinux();
    const host = await linux.host(statSync("/proc/self/ns/net").ino);
    console.log(JSON.stringify({
      capture: (await host.whyNoCapture()) ?? "it can",
      check: await host.check({ kind: "uid", uid: 1 }),
      directory: await told(() => linux.directory(${JSON.stringify(directory)}, user)),
      left: statSync(${JSON.stringify(directory)}, { throwIfNoEntry: false }) ?? "nothing",
      lent: await told(() => asUser(user, () => "it could")),
      dropped: await told(() => dropPrivileges(user)),
    }));
    `,
  );
  assert.deepEqual([seen["capture"], seen["check"], seen["left"]], ["it can", [], "nothing"]);
  assert.match(String(seen["directory"]), /^host.directory-failed: .* cannot be given away: EPERM.*CAP_CHOWN/);
  for (const how of ["lent", "dropped"])
    assert.match(String(seen[how]), /^host.not-dropped: .*needs CAP_SETUID and CAP_SETGID.*--user 0:0/);
  await app.end();
});
