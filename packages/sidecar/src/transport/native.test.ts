import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, describe, test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import {
  addressOf,
  descriptorOf,
  letGo,
  maxPacketBytes,
  openSystemCalls,
  type SystemCalls,
  socketOf,
  stopReading,
  takenBytes,
  transplant,
  whyNoHandles,
} from "./native.ts";

const why = whyNoHandles(process);
const directory = mkdtempSync(join(tmpdir(), "dualmesh-native-"));
after(() => rmSync(directory, { recursive: true, force: true }));

test("where the handles and calls are not known, why is said", async () => {
  assert.equal(whyNoHandles({ platform: "linux", arch: "x64", version: "v24.21.3" }), undefined);
  assert.match(whyNoHandles({ platform: "darwin", arch: "arm64", version: "v24.21.0" }) ?? "", /this is darwin arm64/);
  assert.match(
    whyNoHandles({ platform: "linux", arch: "x64", version: "v24.2.1" }) ?? "",
    /by Node 24\.21 only, and this is v24\.2\.1/,
  );
  await assert.rejects(openSystemCalls({ platform: "win32", arch: "x64", version: "v24.21.0" }), {
    code: "upgrade.unavailable",
  });
});

describe("packets between processes", { skip: why ?? false }, () => {
  test("arrive one by one with their descriptors, from whom the kernel says, and end with their sender", async () => {
    await using ends = await open();
    const { calls, here, there } = ends;
    assert.deepEqual(calls.credentialsOf(here), { pid: process.pid, uid: process.getuid?.() });
    assert.equal(calls.receive(there), "empty");
    const file = join(directory, "file");
    writeFileSync(file, "what is in it");
    const descriptor = openSync(file, "r");
    assert.equal(calls.send(here, Buffer.from("one"), [descriptor, descriptor]), true);
    assert.equal(calls.send(here, Buffer.from("two"), []), true);
    closeSync(descriptor);
    const first = calls.receive(there);
    assert.ok(typeof first === "object");
    assert.equal(first.bytes.toString(), "one");
    const [one = -1, two = -1] = first.descriptors;
    const read = Buffer.alloc(64);
    assert.equal(read.toString("utf8", 0, readSync(one, read, 0, 64, 0)), "what is in it");
    assert.equal(fstatSync(two).ino, fstatSync(one).ino);
    for (const received of first.descriptors) calls.close(received);
    const second = calls.receive(there);
    assert.ok(typeof second === "object");
    assert.equal(second.bytes.toString(), "two");
    calls.close(here);
    assert.equal(calls.receive(there), "end");
    assert.throws(() => calls.send(there, Buffer.from("three"), []), { code: "upgrade.gone" });
  });

  test("wait when nobody takes them, and go on when somebody does; none is cut", async () => {
    await using ends = await open();
    const { calls, here, there } = ends;
    const packet = Buffer.alloc(maxPacketBytes, 7);
    let sent = 0;
    while (calls.send(here, packet, [])) sent++;
    assert.ok(sent >= 1 && sent < 100, `${sent}`);
    const taken = calls.receive(there);
    assert.ok(typeof taken === "object" && taken.bytes.equals(packet));
    assert.equal(calls.send(here, packet, []), true);
    assert.throws(() => calls.send(here, Buffer.alloc(4 * 1024 * 1024), []), { code: "upgrade.socket" });
  });

  test("a datagram arrives at a path and at a name without one, and an error says where nobody listens", async () => {
    const calls = await openSystemCalls();
    const path = join(directory, "notify");
    assert.throws(() => calls.tell(path, "READY=1"), { code: "upgrade.socket" });
    const program = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + sys.argv[1][1:] if sys.argv[1].startswith("@") else sys.argv[1])
print("listening", flush=True)
print(s.recv(100).decode(), flush=True)`;
    for (const where of [path, `@dualmesh-test-${process.pid}`]) {
      const listener = spawn("python3", ["-c", program, where], {
        stdio: ["ignore", "pipe", "inherit"],
        timeout: 10_000,
      });
      const lines = createInterface({ input: listener.stdout });
      assert.deepEqual(await once(lines, "line"), ["listening"]);
      calls.tell(where, "MAINPID=4711");
      assert.deepEqual(await once(lines, "line"), ["MAINPID=4711"]);
      await once(listener, "close");
    }
  });

  test("go to no socket that is not there, and listen at none that is", async () => {
    const calls = await openSystemCalls();
    const path = join(directory, "nobody");
    assert.throws(() => calls.connectTo(path), { code: "upgrade.socket" });
    const listening = calls.listenAt(path);
    assert.equal(calls.accept(listening), undefined);
    assert.throws(() => calls.listenAt(path), { code: "upgrade.socket" });
    calls.close(listening);
    assert.throws(
      () => calls.listenAt(join(directory, "x".repeat(120))),
      (error) => isMeshError(error, "upgrade.socket") && /too long/.test(error.message),
    );
  });
});

describe("a connection of a handle", { skip: why ?? false }, () => {
  test("goes to another socket that only knows its descriptor, and the peer sees nothing", async () => {
    await using ends = await open();
    const { calls, here, there } = ends;
    await using pair = await connected();
    const { client, server } = pair;
    const heard: string[] = [];
    client.on("data", (bytes: Buffer) => heard.push(bytes.toString()));
    server.write("before ");
    await until(() => heard.join("") === "before ");
    assert.equal(takenBytes(server), 7);
    stopReading(server);
    server.on("data", () => assert.fail("it was read when it was not to be"));
    stopReading(server);
    client.write("in between");
    const descriptor = descriptorOf(server);
    assert.ok(descriptor !== undefined);
    calls.send(here, Buffer.from("x"), [descriptor]);
    letGo(server);
    assert.equal(descriptorOf(server), undefined);
    assert.equal(takenBytes(server), 0);
    const packet = calls.receive(there);
    assert.ok(typeof packet === "object");
    const buffer = Buffer.alloc(1_024);
    const read: string[] = [];
    const onread: net.OnReadOpts = {
      buffer,
      callback: (size) => read.push(buffer.toString("utf8", 0, size)) > 0,
    };
    const adopted = socketOf(packet.descriptors[0] as number, { onread, allowHalfOpen: true });
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(read, [], "nothing is read before it is resumed");
    adopted.resume();
    await until(() => read.join("") === "in between");
    adopted.write("after");
    await until(() => heard.join("") === "before after");
    assert.equal(adopted.remotePort, client.localPort);
    assert.equal(client.destroyed, false);
    client.end();
    await once(adopted, "end");
    adopted.destroy();
    await once(client, "close");
  });

  test("moves within the process to a socket with other options", async () => {
    await using pair = await connected();
    const { client, server } = pair;
    const buffer = Buffer.alloc(16);
    const read: string[] = [];
    const moved = transplant(server, {
      onread: { buffer, callback: (size) => read.push(buffer.toString("utf8", 0, size)) > 0 },
    });
    client.write("hello");
    await until(() => read.join("") === "hello");
    moved.destroy();
  });

  test("a listening port goes on under another server, with who had called and was not accepted", async () => {
    const calls = await openSystemCalls();
    const first = net.createServer(() => assert.fail("the first server accepts nothing any more"));
    first.listen(0, "127.0.0.1");
    await once(first, "listening");
    const { port } = addressOf(first);
    const copy = calls.duplicate(descriptorOf(first) as number);
    first.close();
    const client = net.connect(port, "127.0.0.1");
    await once(client, "connect");
    const second = net.createServer((socket) => socket.end("second"));
    second.listen({ fd: copy });
    const [bytes] = (await once(client, "data")) as [Buffer];
    assert.equal(bytes.toString(), "second");
    assert.deepEqual(addressOf(second), { host: "127.0.0.1", port });
    client.destroy();
    second.close();
    await once(second, "close");
  });
});

interface Ends extends AsyncDisposable {
  readonly calls: SystemCalls;
  readonly here: number;
  readonly there: number;
}

let opened = 0;

async function open(): Promise<Ends> {
  const calls = await openSystemCalls();
  const path = join(directory, `packets-${opened++}`);
  const listening = calls.listenAt(path);
  const here = calls.connectTo(path);
  const there = calls.accept(listening);
  assert.ok(there !== undefined);
  calls.close(listening);
  return {
    calls,
    here,
    there,
    [Symbol.asyncDispose]: async () => {
      calls.close(here);
      calls.close(there);
    },
  };
}

async function connected() {
  const listener = net.createServer({ pauseOnConnect: true });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const client = net.connect(addressOf(listener).port, "127.0.0.1");
  const [server] = (await once(listener, "connection")) as [net.Socket];
  return {
    client,
    server,
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      server.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    assert.ok(turn < 10_000, "it does not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
