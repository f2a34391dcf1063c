import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { openTestNamespace, until, whyNoNamespaces } from "./testing.ts";

const user = { uid: 4_130, gid: 4_131 };
const agentUrl = JSON.stringify(new URL("./agent.ts", import.meta.url).href);
const remoteUrl = JSON.stringify(new URL("./remote.ts", import.meta.url).href);
const startUrl = JSON.stringify(new URL("./start-agent.ts", import.meta.url).href);

/** Starts an agent, and gives up its rights. */
const opened = `
    const agent = startAgent([process.execPath, "--input-type=module", "-e", "import { runHostAgent } from " + ${JSON.stringify(agentUrl)} + "; process.exit(await runHostAgent());"]);
    const privileged = await openPrivileged({ agent, dropTo: ${JSON.stringify(user)} });`;

/** A process that starts an agent, gives up its rights, tries what it can do without, and goes on with a capture. */
function asker(netns: number): string {
  return `
    import { spawnSync } from "node:child_process";
    import { readFileSync } from "node:fs";
    import { once } from "node:events";
    import { url } from "node:inspector";
    import { openPrivileged } from ${remoteUrl};
    import { startAgent } from ${startUrl};
    ${opened}
    const told = async (task) => { try { return (await task()) ?? "done"; } catch (error) { return error.code ?? error.message; } };
    const host = await privileged.host(${netns});
    const refuses = process.listenerCount("SIGUSR1");
    const signalled = once(process, "SIGUSR1");
    process.kill(process.pid, "SIGUSR1");
    await signalled;
    const ways = [{ server: { host: "10.76.0.1", port: 2181 }, port: 9 }];
    const status = readFileSync("/proc/self/status", "latin1");
    console.log(JSON.stringify({
      ids: [process.getuid(), process.geteuid(), process.getgid(), process.getegid(), process.getgroups()],
      rights: [/^CapPrm:.*$/m.exec(status)[0], /^CapEff:.*$/m.exec(status)[0]],
      debugger: [refuses, url() ?? "none"],
      again: await told(() => process.setuid(0)),
      nft: spawnSync("/usr/sbin/nft", ["list", "tables"]).status,
      check: await host.check({ kind: "uid", uid: 1 }),
      caught: await told(() => host.catch({ name: "app", of: { kind: "uid", uid: 1 }, ways })),
      names: await host.caught(),
      root: await told(() => privileged.directory("/root/dmb-agent", { uid: 0, gid: 0 })),
      nobody: (await privileged.host(1)) ?? "nobody",
    }));
    await host.capture({ ports: [1], onBytes() {}, onEnd() {} });
    console.log(JSON.stringify({ looks: true }));
    process.stdin.once("data", async () => console.log(JSON.stringify({ names: await host.caught() })));
  `;
}

function childrenOf(pid: number | undefined): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
}

/** True for what is there and not only left of one. */
function lives(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
}

test("the one who asks has no rights left, the agent does what is asked, outlives Ctrl-C, and ends with the one who asks", {
  skip: whyNoNamespaces("tcpdump"),
}, async () => {
  await using namespace = await openTestNamespace();
  await namespace.peer();
  const child: ChildProcess = spawn(process.execPath, ["--input-type=module", "-e", asker(namespace.netns)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const lines = createInterface(child.stdout as NodeJS.ReadableStream)[Symbol.asyncIterator]();
    const said = async (): Promise<Record<string, unknown>> =>
      JSON.parse(String((await lines.next()).value)) as Record<string, unknown>;
    assert.deepEqual(await said(), {
      ids: [user.uid, user.uid, user.gid, user.gid, [user.gid]],
      rights: ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"],
      debugger: [1, "none"],
      again: "EPERM",
      nft: 1,
      check: [],
      caught: "done",
      names: ["app"],
      root: "host.not-permitted",
      nobody: "nobody",
    });
    assert.match(namespace.run("nft", "list", "tables"), /dualmesh-catch-app/);
    assert.deepEqual(await said(), { looks: true });
    const [agent = 0] = childrenOf(child.pid);
    const [capture = 0] = childrenOf(agent);
    assert.equal(readFileSync(`/proc/${capture}/comm`, "latin1"), "tcpdump\n");
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(agent, signal);
    child.stdin?.write("\n");
    assert.deepEqual(await said(), { names: ["app"] });
    child.kill("SIGKILL");
    await until("the agent and its capture have ended", () => !lives(agent) && !lives(capture));
  } finally {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  }
});

/** A process that asks at each line of its input, and lets the agent go at its end. */
const stoppedAsker = `
    import { createInterface } from "node:readline";
    import { openPrivileged } from ${remoteUrl};
    import { startAgent } from ${startUrl};
    ${opened}
    console.log(process.pid + " " + agent.pid);
    for await (const line of createInterface({ input: process.stdin })) console.log((await privileged.host(1)) ?? "answered");
    await privileged[Symbol.asyncDispose]();
    console.log("let go");
  `;

test("Ctrl-Z stops who asks and not the agent, and one that is stopped all the same is not waited for", {
  skip: whyNoNamespaces("nft"),
}, async () => {
  // A shell with jobs gives it a group of its own, which a terminal stops at once.
  const job = 'set -m; exec 3<&0; "$0" --input-type=module -e "$1" <&3 & exec sleep 60 > /dev/null';
  const shell = spawn("bash", ["-c", job, process.execPath, stoppedAsker], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(shell.stdout)[Symbol.asyncIterator]();
  const said = async (): Promise<string> => String((await lines.next()).value);
  const [asking = 0, agent = 0] = (await said()).split(" ").map(Number);
  try {
    process.kill(-asking, "SIGTSTP");
    await until("who asks is stopped", () => stateOf(asking) === "T");
    assert.notEqual(stateOf(agent), "T"); // it would never answer
    process.kill(asking, "SIGCONT");
    shell.stdin.write("\n");
    assert.equal(await said(), "answered");
    process.kill(agent, "SIGSTOP");
    shell.stdin.end();
    assert.equal(await said(), "let go");
    process.kill(agent, "SIGCONT");
    await until("the agent has ended", () => !lives(agent));
  } finally {
    for (const pid of [agent, asking, shell.pid as number]) if (lives(pid)) process.kill(pid, "SIGKILL");
  }
});

function stateOf(pid: number): string | undefined {
  return /^State:\t(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
}
