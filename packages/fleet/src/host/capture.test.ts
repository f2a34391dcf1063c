import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { accountOf } from "./accounts.ts";
import { openCapture } from "./capture.ts";
import { openLinux } from "./linux.ts";
import { Namespace, netnsOf } from "./namespace.ts";
import { openTestNamespace, until, whyNoNamespaces } from "./testing.ts";

const skip = whyNoNamespaces("tcpdump");
const linkTypeSll2 = 276;
const fileHeadBytes = 24;
const packetHeadBytes = 16;

/** The processes named tcpdump that a process has started. */
function capturing(parent: number | undefined): readonly number[] {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "latin1")
    .split(" ")
    .filter(Boolean)
    .map(Number);
  return children.filter((pid) => commandName(pid) === "tcpdump");
}

/** Empty when there is no such process, or only what is left of one. */
function commandName(pid: number): string {
  try {
    const [, name = "", state] = /\((.*)\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, "latin1")) ?? [];
    return state === "Z" ? "" : name;
  } catch {
    return "";
  }
}

/** The lengths of the packets of a pcap file, as they were kept and as they were. */
function packetsOf(file: Buffer): readonly { readonly kept: number; readonly whole: number }[] {
  const packets: { readonly kept: number; readonly whole: number }[] = [];
  for (let at = fileHeadBytes; at + packetHeadBytes <= file.length; ) {
    const kept = file.readUInt32LE(at + 8);
    packets.push({ kept, whole: file.readUInt32LE(at + 12) });
    at += packetHeadBytes + kept;
  }
  return packets;
}

test("a capture shows the packets of its ports, cut to size, runs without rights of its own, and ends when it is closed", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace();
  const server = await namespace.peer();
  const watched = await server.listen({ host: "127.0.0.1" }, "watched");
  const other = await server.listen({ host: "127.0.0.1" }, "other");
  const caller = await namespace.peer();
  await using privileged = openLinux();
  const host = await privileged.host(namespace.netns);
  assert.ok(host !== undefined);
  assert.equal(await host.whyNoCapture(), undefined);

  let file = Buffer.alloc(0);
  const onEnd = (why: string): void => assert.fail(why);
  const onBytes = (bytes: Buffer): void => {
    file = Buffer.concat([file, bytes]);
  };
  const capture = await host.capture({ ports: [watched], snapBytes: 128, onBytes, onEnd });
  const [pid = 0] = capturing(process.pid);
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const [, uid = ""] = /^Uid:\t(\d+)\t\1\t\1\t\1$/m.exec(status) ?? [];
  assert.equal(await accountOf(uid), undefined, "it shares its user with nobody");
  assert.match(status, /^CapEff:\t0000000000002000$/m);
  const called = await caller.dial({ host: "127.0.0.1", port: watched });
  const unseen = await caller.dial({ host: "127.0.0.1", port: other });
  await unseen.echo("y".repeat(3_000));
  await called.echo("x".repeat(2_000));
  await until(
    "the long packet is seen both ways",
    () => packetsOf(file).filter(({ whole }) => whole > 2_000).length >= 2,
  );
  assert.equal(file.readUInt32LE(0), 0xa1b2c3d4);
  assert.equal(file.readUInt32LE(20), linkTypeSll2);
  const packets = packetsOf(file);
  assert.equal(Math.max(...packets.map(({ kept }) => kept)), 128);
  assert.ok(packets.every(({ whole }) => whole < 3_000));
  await capture.close();
  assert.deepEqual(capturing(process.pid), []);
});

test("bytes wait for who takes them", { skip }, async () => {
  await using namespace = await openTestNamespace();
  const server = await namespace.peer();
  const port = await server.listen({ host: "127.0.0.1" }, "watched");
  const caller = await namespace.peer();
  await using privileged = openLinux();
  const host = await privileged.host(namespace.netns);
  const first = Promise.withResolvers<void>();
  let told = 0;
  const onBytes = (): Promise<void> => {
    told++;
    return first.promise;
  };
  await host?.capture({ ports: [port], onBytes, onEnd: (why) => assert.fail(why) });
  const called = await caller.dial({ host: "127.0.0.1", port });
  await called.echo("seen");
  assert.equal(told, 1);
  first.resolve();
  await until("the rest is told", () => told > 1);
});

test("a capture that does not begin is given up, and nothing is left of it", { skip }, async () => {
  const clock = new FakeClock();
  const onEnd = (): void => assert.fail("it never began");
  const namespace = new Namespace(netnsOf("self") ?? 0);
  const opening = openCapture({ ports: [1], onBytes: () => undefined, onEnd }, namespace, clock);
  const refused = assert.rejects(opening, /tcpdump did not begin: it did not look within 10000 ms/);
  let isOver = false;
  void refused.finally(() => {
    isOver = true;
  });
  // Far less than tcpdump takes to begin passes between two looks, so that its limit is always the first.
  while (!isOver) await clock.advance(10_000);
  await refused;
  assert.deepEqual(capturing(process.pid), []);
});

test("a capture that ends by itself says so", { skip }, async () => {
  await using namespace = await openTestNamespace();
  await namespace.peer();
  await using privileged = openLinux();
  const host = await privileged.host(namespace.netns);
  const ended = Promise.withResolvers<string>();
  await host?.capture({ ports: [1], onBytes: () => undefined, onEnd: ended.resolve });
  for (const pid of capturing(process.pid)) process.kill(pid, "SIGTERM");
  assert.match(await ended.promise, /^tcpdump ended/);
});

test("a capture ends with the process that asked for it, also when that is killed and nothing passes", {
  skip,
}, async () => {
  await using namespace = await openTestNamespace();
  await namespace.peer();
  const asker = startAsker(namespace.netns);
  try {
    await once(asker.stdout as NodeJS.ReadableStream, "data");
    const [pid = 0] = capturing(asker.pid);
    assert.equal(commandName(pid), "tcpdump");
    asker.kill("SIGKILL");
    await until("tcpdump has ended", () => commandName(pid) === "");
  } finally {
    asker.kill("SIGKILL");
  }
});

function startAsker(netns: number): ChildProcess {
  const program = `
    import { openLinux } from ${JSON.stringify(new URL("./linux.ts", import.meta.url).href)};
    const host = await openLinux().host(${netns});
    await host.capture({ ports: [1], onBytes() {}, onEnd() {} });
    console.log("it looks");
  `;
  return spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
}
