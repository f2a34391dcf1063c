import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import { test } from "node:test";
import { openTestNamespace } from "./testing.ts";
import { asSomebody, whyNotOthers } from "./testing-users.ts";

const skip = whyNotOthers();
const own = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);

test("a user with capabilities goes on without them in a child, and keeps them to do what the child asks", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace();
  const app = await namespace.peer();
  const seen = await asSomebody(
    namespace.path,
    ["net_admin"],
    `
    import { serveChild } from ${own("./serve-child.ts")};
    import { joinPrivileged } from ${own("./remote.ts")};
    import { agentSocket } from ${own("./start-agent.ts")};
    import { keepsRights } from ${own("./users.ts")};
    const fd = agentSocket();
    if (fd === undefined) {
      const code = await serveChild([process.execPath, ...process.execArgv], [], { sudo: false });
      process.exit(keepsRights() && code === 7 ? 0 : 1);
    }
    const own = await openLinux().host(statSync("/proc/self/ns/net").ino);
    const alone = await own.check({ kind: "uid", uid: 1 });
    const asked = await joinPrivileged(fd);
    const host = await asked.host(statSync("/proc/self/ns/net").ino);
    await host.catch({ name: "app", of: { kind: "uid", uid: 1 }, ways: [{ server: { host: "10.76.0.1", port: 2181 }, port: 9 }] });
    const caught = await host.caught();
    await host.release("app");
    const keeps = keepsRights();
    await asked[Symbol.asyncDispose]();
    console.log(JSON.stringify({ keeps, alone, caught }));
    process.exit(7);
    `,
  );
  assert.deepEqual(seen, {
    keeps: false,
    alone: ["rules need the capability CAP_NET_ADMIN: run as root, with --sudo, or give it to this process"],
    caught: ["app"],
  });
  await app.end();
});

test("what the child asks for is done for its own user, whatever it says it is and whoever has called sudo before", {
  skip,
}, async (t) => {
  await using namespace = await openTestNamespace();
  const path = `/tmp/dmw-${process.pid}`;
  t.after(() => rmSync(path, { recursive: true, force: true }));
  const seen = await asSomebody(
    namespace.path,
    ["net_admin", "setuid", "setgid"],
    `
    import { Socket } from "node:net";
    import { createInterface } from "node:readline";
    import { serveChild } from ${own("./serve-child.ts")};
    import { agentSocket } from ${own("./start-agent.ts")};
    const fd = agentSocket();
    if (fd === undefined) {
      process.env.SUDO_UID = process.env.SUDO_GID = "0";
      process.exit(await serveChild([process.execPath, ...process.execArgv], [], { sudo: false }));
    }
    const root = { uid: 0, gid: 0 };
    const socket = new Socket({ fd });
    const answers = createInterface({ input: socket })[Symbol.asyncIterator]();
    const ask = async (value) => {
      socket.write(JSON.stringify(value) + "\\n");
      return JSON.parse((await answers.next()).value);
    };
    const hello = await ask({ version: 1, asker: root, users: [root] });
    const made = await ask({ id: 1, operation: "directory", arguments: [${JSON.stringify(path)}, root] });
    console.log(JSON.stringify({ hello, code: made.error?.code ?? "it was made" }));
    process.exit(0);
    `,
  );
  assert.deepEqual(seen, { hello: { ready: 1 }, code: "host.not-permitted" });
  assert.equal(existsSync(path), false);
});
