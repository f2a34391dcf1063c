/** A protocol of one's own, as examples/protocol has it: its programs, as they are, call one another through two sidecars and a registry. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { eventually, metric, World } from "../hostile/world.ts";

const example = join(import.meta.dirname, "../../examples/protocol");
const main = join(import.meta.dirname, "../../packages/cli/src/main.ts");
const protocols = [{ module: join(example, "codec.ts") }];

interface Program {
  readonly child: ChildProcess;
  readonly said: { text: string };
}

function start(world: World, file: string, words: readonly string[], environment: Record<string, string>): Program {
  const env = { ...process.env, ...environment };
  const child = spawn(process.execPath, [join(example, file), ...words], { env, stdio: ["ignore", "pipe", "pipe"] });
  const said = { text: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (bytes) => {
      said.text += String(bytes);
    });
  }
  world.defer(() => void child.kill("SIGKILL"));
  return { child, said };
}

function doorOf({ running }: { readonly running: { readonly doors: Readonly<Record<string, number>> } }): string {
  return `http://127.0.0.1:${running.doors["http"]}`;
}

test("a protocol that a module describes is carried through two sidecars", { timeout: 60_000 }, async () => {
  await using world = await World.open();
  const near = await world.sidecar({ protocols });
  const far = await world.sidecar({ protocols });
  const providers = ["one", "two"].map((NAME) => start(world, "provider.ts", [], { DUALMESH: doorOf(far), NAME }));
  for (const { said } of providers) await eventually("it is in force", () => said.text.includes('"inForce":true'));

  const items = Array.from({ length: 20 }, (_, index) => String(index));
  const call = async (words: readonly string[]): Promise<{ item: string; status: number; body: string }[]> => {
    const { child, said } = start(world, "consumer.ts", words, { DUALMESH: doorOf(near) });
    await once(child, "exit");
    assert.equal(child.exitCode, 0, said.text);
    return said.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  const answers = await call(items);
  assert.equal(answers.length, items.length);
  for (const { item, status, body } of answers) {
    assert.equal(status, 0, body);
    assert.equal(body.split(": ")[1], String((Number(item) * 7) % 100));
  }
  assert.deepEqual([...new Set(answers.map(({ body }) => body.split(":")[0]))].sort(), ["one", "two"]);
  const labels = 'service="note/price:1:",protocol="note"';
  const counted = (direction: string, source: string): string =>
    `dualmesh_request_duration_seconds_count{source="${source}",${labels},direction="${direction}",result="ok"}`;
  assert.equal(await metric(near.admin, counted("outbound", "unknown")), items.length);
  assert.equal(await metric(far.admin, counted("inbound", "unknown")), items.length);

  // The application's own failure, and the sidecar's answer when nobody is left.
  assert.deepEqual(await call(["what"]), [{ item: "what", status: 1, body: "quote wants a number" }]);
  for (const { child } of providers) child.kill("SIGKILL");
  await eventually("nobody is left", async () => {
    const [answer] = await call(["1"]);
    return answer?.status === 2 && answer.body.startsWith("no-provider: ");
  });
});

test("the example's codec is small, and a sidecar that does not know the protocol leaves its services alone", {
  timeout: 60_000,
}, async () => {
  const text = readFileSync(join(example, "codec.ts"), "utf8");
  assert.ok(text.split("\n").length < 120);
  assert.deepEqual(
    text.split("\n").filter((line) => line.startsWith("import ") && !line.startsWith("import type ")),
    [],
  );
  await using world = await World.open();
  const without = await world.sidecar();
  const { said } = start(world, "provider.ts", [], { DUALMESH: doorOf(without), NAME: "one" });
  await eventually("it is in force", () => said.text.includes('"inForce":true'));
  const { instances } = (await (await fetch(`${doorOf(without)}/v1/services/note/price:1:`)).json()) as {
    readonly instances: readonly { readonly mode: string }[];
  };
  assert.deepEqual(
    instances.map(({ mode }) => mode),
    ["sdk"],
  );
});

test("a module that cannot be used keeps the sidecar from starting, and the file and line that name it are told", {
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "own-"));
  try {
    writeFileSync(join(folder, "codec.mjs"), 'export const codec = { protocol: "bolt", applicationHeader: "" };\n');
    writeFileSync(join(folder, "sidecar.yaml"), "zone: here\nprotocols:\n  - module: ./codec.mjs\n");
    const words = ["sidecar", "run", "--config", join(folder, "sidecar.yaml"), "--state", join(folder, "state")];
    const child = spawn(process.execPath, [main, ...words], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (bytes) => {
      said += String(bytes);
    });
    const [code] = await once(child, "close");
    assert.equal(code, 3);
    assert.match(
      said,
      /sidecar\.yaml:3:5: protocols\[0\]\.module: \S+codec\.mjs exports a codec without the functions sniff,/,
    );
    assert.match(said, /for bolt, which is built in/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
