import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FakeClock } from "../clock.ts";
import { MeshError } from "../errors.ts";
import { type ControlHandler, callControl, controlPath, openControl, upgradingError } from "./control-socket.ts";

let directory = "";
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "dualmesh-"));
});
after(() => rm(directory, { recursive: true }));

const handlers = new Map<string, ControlHandler>([
  ["echo", async (given) => given],
  ["nothing", async () => undefined],
  ["refuse", async () => Promise.reject(new MeshError("part.refused", "not now"))],
  ["crash", async () => Promise.reject(new TypeError("undefined is not a function"))],
  ["never", () => new Promise(() => {})],
]);

/** All that comes until the connection is closed, in order or by being cut. */
function read(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (piece) => {
      text += piece;
    });
    socket.on("error", () => {}); // cut; "close" follows
    socket.on("close", () => resolve(text));
  });
}

test("commands are answered, errors keep their code, and the socket is private", async () => {
  const server = await openControl({ directory, handlers });
  try {
    assert.equal(server.path, controlPath(directory));
    assert.equal((await stat(server.path)).mode & 0o777, 0o600);
    assert.deepEqual(await callControl(server.path, "echo", { a: "中文" }), { a: "中文" });
    assert.equal(await callControl(server.path, "nothing"), null);
    await assert.rejects(callControl(server.path, "refuse"), { code: "part.refused", message: "not now" });
    await assert.rejects(callControl(server.path, "crash"), { code: "control.failed" });
    await assert.rejects(callControl(server.path, "toString"), { code: "control.unknown-command" });
    await assert.rejects(callControl(server.path, "never", {}, { timeoutMs: 10 }), { code: "control.timeout" });
  } finally {
    await server.close();
  }
  await assert.rejects(callControl(server.path, "echo"), { code: "control.unreachable" });
});

test("several commands on one connection are answered in order, however the bytes are cut", async () => {
  const server = await openControl({ directory, handlers });
  try {
    const socket = createConnection(server.path);
    const bytes = Buffer.from(
      '{"id":1,"command":"echo","arguments":{"a":"ü"}}\nnonsense\n{"id":2,"command":"nothing"}\n',
    );
    for (const byte of bytes) socket.write(Buffer.of(byte));
    let text = "";
    while (text.split("\n").length < 4) text += String((await once(socket, "data"))[0]);
    socket.destroy();
    const answers = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(answers[0], { id: 1, ok: true, result: { a: "ü" } });
    assert.equal(answers[1].error.code, "control.malformed");
    assert.deepEqual(answers[2], { id: 2, ok: true, result: null });
  } finally {
    await server.close();
  }
});

test("a line without end, too many connections and idle ones are cut", async () => {
  const clock = new FakeClock();
  const server = await openControl({ directory, handlers, clock, maxConnections: 2, idleTimeoutMs: 1_000 });
  try {
    const endless = createConnection(server.path);
    endless.write(Buffer.alloc(1_100_000, 0x61));
    assert.match(await read(endless), /control\.too-large/);

    const idle = createConnection(server.path);
    const other = createConnection(server.path);
    for (const socket of [idle, other]) {
      socket.write('{"command":"nothing"}\n');
      await once(socket, "data");
    }
    assert.match(await read(createConnection(server.path)), /control\.busy/);
    const rest = read(idle);
    await clock.advance(1_000);
    assert.equal(await rest, "");
    other.destroy();
  } finally {
    await server.close();
  }
});

test("a client that asks and never reads is cut, and others go on", async () => {
  const big = "x".repeat(900_000);
  const server = await openControl({ directory, handlers });
  try {
    const deaf = createConnection(server.path);
    const closed = new Promise((resolve) => deaf.on("close", resolve));
    deaf.on("error", () => {}); // it is cut while writing
    deaf.pause();
    const line = `${JSON.stringify({ command: "echo", arguments: { big } })}\n`;
    for (let i = 0; i < 20; i++) deaf.write(line);
    assert.deepEqual(await callControl(server.path, "echo", { a: 1 }), { a: 1 });
    await closed;
  } finally {
    await server.close();
  }
});

test("one server takes the place of another: at every moment somebody answers, and what waits is answered", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<object>();
  let isUpgrading = false;
  const first = await openControl({
    directory,
    handlers: new Map<string, ControlHandler>([
      ["who", async () => (isUpgrading ? Promise.reject(upgradingError()) : "first")],
      ["wait", () => held],
    ]),
  });
  const waiting = callControl(first.path, "wait");
  assert.equal(await callControl(first.path, "who"), "first");
  // In production it is another process, which binds by another name.
  const second = await openControl({ directory, handlers: new Map([["who", async () => "second"]]), isHidden: true });
  assert.equal(await callControl(first.path, "who"), "first", "nobody finds the hidden one");
  isUpgrading = true;
  await assert.rejects(callControl(first.path, "who", {}, { timeoutMs: 100 }), { code: "control.upgrading" });
  const asking = callControl(first.path, "who");
  second.show();
  assert.equal(await asking, "second", "whoever was told to ask again has asked again");
  first.leave();
  release({ a: 1 });
  assert.deepEqual(await waiting, { a: 1 });
  assert.equal((await stat(second.path)).mode & 0o777, 0o600);
  assert.equal(await callControl(second.path, "who"), "second", "the one that left has taken nothing away");
  await second.close();
  await assert.rejects(stat(second.path), { code: "ENOENT" });
  assert.deepEqual(await readdir(directory), []);
});
