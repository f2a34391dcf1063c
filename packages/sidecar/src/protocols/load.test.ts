import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import type { RpcCodec } from "@dualmesh/wire/rpc";
import { RawServer } from "../request/http-testing.ts";
import { boltHeartbeat, endpointAt, TestPlane } from "../request/testing.ts";
import { codecMethods } from "./guard.ts";
import { loadCodecs } from "./load.ts";
import { answerTo, faultyCodec } from "./testing.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "protocols-"));
});
after(() => rm(folder, { recursive: true }));

const all = Object.keys(codecMethods).map((name) => `${name}: () => undefined`);
const codecText = (words: string): string => `export const codec = { ${[...all, words].join(", ")} };`;
let files = 0;

async function problemsOf(...texts: readonly string[]): Promise<string> {
  const protocols: { module: string; where: string }[] = [];
  for (const text of texts) {
    const module = join(folder, `codec-${files++}.mjs`);
    await writeFile(module, text);
    protocols.push({ module, where: `sidecar.yaml:${protocols.length + 2}:5` });
  }
  try {
    await loadCodecs(protocols, () => {});
  } catch (error) {
    assert.ok(isMeshError(error, "config.invalid"), String(error));
    return error.message;
  }
  return "";
}

test("what is wrong with a module is told with the place that names it, all at once", async () => {
  const good = 'applicationHeader: "", protocol: "mine", sniff: () => "no"';
  assert.equal(await problemsOf(codecText(good)), "");
  const wrong = await problemsOf(codecText(good), "export const other = 1;", 'export const codec = { protocol: "x" };');
  assert.match(wrong, /^the configuration has 3 problems:\n/);
  assert.match(
    wrong,
    /\n {2}sidecar\.yaml:3:5: protocols\[1\]\.module: \S+codec-\d+\.mjs exports no codec: export const/,
  );
  assert.match(
    wrong,
    /sidecar\.yaml:4:5: protocols\[2\]\.module: .* without the functions sniff, view, decode, encode,/,
  );
  assert.match(wrong, /without the text applicationHeader/);
  assert.match(await problemsOf("this is no script"), /cannot be loaded: .* \(node \S+\.mjs shows where\)/);
  assert.match(await problemsOf('throw new Error("no luck")'), /cannot be loaded: no luck/);
  await assert.rejects(
    loadCodecs([{ module: join(folder, "none.ts") }], () => {}),
    /cannot be loaded: .*none\.ts/,
  );
  assert.match(await problemsOf("export const codec = 7;"), /a codec that is number, not an object/);
});

test("a protocol has a name of its own and takes nobody else's connections", async () => {
  const named = (name: string): string => codecText(`applicationHeader: "", protocol: ${name}, sniff: () => "no"`);
  for (const name of ['"Mine"', '"1st"', '"a/b"', '""', "7", "undefined"])
    assert.match(await problemsOf(named(name)), /whose protocol is no name/, name);
  for (const name of ["bolt", "dubbo", "http", "https", "tcp"])
    assert.match(await problemsOf(named(`"${name}"`)), new RegExp(`a codec for ${name}, which is built in`));
  assert.match(await problemsOf(named('"mine"'), named('"mine"')), /protocols\[1\].*for mine, as another module does/);
  const sniffing = (text: string): string => codecText(`applicationHeader: "", protocol: "mine", sniff: ${text}`);
  for (const [first, what] of [
    ["1", "Bolt"],
    ["2", "Bolt 2"],
    ["0xda", "Dubbo"],
    ["0x16", "TLS"],
    ["0x50", "HTTP"],
    ["0x47", "HTTP"],
  ])
    assert.match(
      await problemsOf(sniffing(`(head) => (head[0] === ${first} ? "yes" : "no")`)),
      new RegExp(`sniff takes ${what}.* for its own`),
    );
  assert.match(await problemsOf(sniffing("() => true")), /sniff says true; expected yes, no or more/);
  assert.match(await problemsOf(sniffing('() => { throw new Error("x") }')), /sniff fails for the bytes 01: x/);
});

/** A call by a protocol whose function `fails`; resolves when it has been answered or its connection closed. */
async function callWith(fails: keyof RpcCodec, value: unknown): Promise<{ malformed: number; told: string[] }> {
  const told: string[] = [];
  const ownCodecs = [faultyCodec(fails, value, (_, method) => void told.push(method))];
  await using plane = new TestPlane({ waitMs: 100 }, { ownCodecs });
  await using provider = await RawServer.open(({ socket }) =>
    socket.on("data", (bytes) => socket.write(answerTo(bytes))),
  );
  const cell = { revision: 1, known: fails !== "errorReplyTo", endpoints: [endpointAt(provider.port)] };
  const route = { protocol: "faulty", head: "a:1", timeoutMs: 300, cell };
  plane.apply({ ...route, service: "faulty/a:1:", group: "" }, { ...route, service: "faulty/a:1:g", group: "g" });
  const caller = await plane.caller();
  let answered = 0;
  caller.socket.prependListener("data", ({ length }: Buffer) => {
    answered += length;
  });
  caller.send(Buffer.from([0xf7, 0, 0, 0, 0, 1]));
  await caller.until(() => caller.closed || answered > 0, `${fails} failed`);
  // Others go on being served.
  const other = await plane.caller();
  other.send(boltHeartbeat);
  await other.received(1);
  return { malformed: plane.metrics.eventCount("malformed"), told };
}

test("a protocol without faults is carried", async () => {
  assert.deepEqual(await callWith("method", undefined), { malformed: 0, told: [] });
});

test("a fault inside a module costs the connection that met it, is counted and told, and nothing else", async () => {
  for (const [name, value] of [
    ["sniff", undefined],
    ["view", undefined],
    ["decode", undefined],
    ["decode", 0],
    ["decode", 7],
    ["decode", -1],
    ["decode", Number.NaN],
    ["decode", "six"],
    ["service", undefined],
    ["service", 7],
    ["group", undefined],
    ["writer", undefined],
    ["header", undefined],
    ["replyFlags", undefined],
    ["rewriteId", undefined],
    ["failed", undefined],
    ["errorReplyTo", undefined],
    ["errorReplyTo", "text"],
  ] as const) {
    const { malformed, told } = await callWith(name, value);
    assert.ok(malformed >= 1, `${name} ${value}: counted`);
    assert.ok(told.length >= 1 && told[0] === name, `${name} ${value}: told ${told.join()}`);
  }
});
