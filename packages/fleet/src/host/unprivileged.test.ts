import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { accessSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { openTestNamespace, whyNoNamespaces } from "./testing.ts";

const run = promisify(execFile);
const linux = new URL("./linux.ts", import.meta.url).href;
const uid = 4_110;

/** Runs a module as a user who is not root, in a namespace, with some capabilities, and gives the JSON that it prints. */
async function asSomebody(
  path: string,
  capabilities: readonly string[],
  program: string,
): Promise<Record<string, unknown>> {
  const rights = capabilities.map((name) => `+${name}`).join(",");
  const words = ["--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];
  if (rights !== "") words.push("--inh-caps", rights, "--ambient-caps", rights);
  const node = [
    process.execPath,
    "--input-type=module",
    "-e",
    `import { openLinux } from ${JSON.stringify(linux)};\n${program}`,
  ];
  const { stdout } = await run("nsenter", [`--net=${path}`, "setpriv", ...words, ...node], { cwd: "/" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Its files must be there for others than their owner; in the home of root they are not. */
function whyNotOthers(): string | false {
  const missing = whyNoNamespaces("tcpdump");
  if (missing !== false) return missing;
  process.seteuid?.(uid);
  try {
    accessSync(new URL(linux));
    accessSync(process.execPath);
    return false;
  } catch {
    return "needs a checkout that other users may read";
  } finally {
    process.seteuid?.(0);
  }
}

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
    import { statSync } from "node:fs";
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
    import { statSync } from "node:fs";
    const privileged = openLinux();
    const host = await privileged.host(statSync("/proc/self/ns/net").ino);
    const told = async (task) => { try { await task(); return "it worked"; } catch (error) { return error.code + ": " + error.message; } };
    const ways = [{ server: { host: "10.76.0.1", port: 2181 }, port: 9 }];
    console.log(JSON.stringify({
      check: await host.check({ kind: "uid", uid: 1 }),
      caught: await told(() => host.catch({ name: "app", of: { kind: "uid", uid: 1 }, ways })),
      foreign: await told(() => privileged.facts({ kind: "pid", pid: ${foreign.pid} })),
      elsewhere: (await privileged.host(${elsewhere.netns})) ?? "not seen",
    }));
    `,
  );
  assert.deepEqual(seen["check"], ["rules need the capability CAP_NET_ADMIN: run as root, or give it to this process"]);
  assert.match(
    String(seen["caught"]),
    /^host.not-permitted: nft may not change the rule app.*needs root, or the capability CAP_NET_ADMIN/,
  );
  assert.match(String(seen["foreign"]), /^host.not-permitted: process \d+ is another user's/);
  assert.equal(seen["elsewhere"], "not seen");
  assert.equal(namespace.run("nft", "list", "tables"), "");
  await app.end();
});
