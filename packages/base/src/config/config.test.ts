import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import { MeshError } from "../errors.ts";
import { type ConfigProblem, type Override, parseConfig } from "./config.ts";
import { printConfig } from "./print.ts";
import { secretText } from "./schema.ts";

const port = z.number().int().min(0).max(65_535);
const schema = z.strictObject({
  directory: z.enum(["registry", "zookeeper"]).default("registry").describe("where instances come from"),
  outbound: z.strictObject({ host: z.string().min(1).default("127.0.0.1"), port: port.default(20_882) }).prefault({}),
  doors: z
    .object({ zookeeper: z.union([z.literal(false), z.strictObject({ port })]).prefault({ port: 2_181 }) })
    .prefault({}),
  apps: z.array(z.strictObject({ name: z.string(), boltPort: port.default(12_200) })).default([]),
  labels: z.record(z.string(), z.string()).default({}),
  credentials: secretText().optional(),
});

function problems(text: string, overrides: readonly Override[] = []): string[] {
  try {
    parseConfig(schema, text, "sidecar.yaml", overrides);
  } catch (error) {
    assert.ok(error instanceof MeshError && error.code === "config.invalid", String(error));
    return (error.details["problems"] as ConfigProblem[]).map(({ where, key, text }) => `${where} | ${key} | ${text}`);
  }
  return [];
}

test("an empty file is the defaults", () => {
  for (const text of ["", "# nothing\n", "---\n", "null\n"]) {
    assert.deepEqual(parseConfig(schema, text, "f"), {
      directory: "registry",
      outbound: { host: "127.0.0.1", port: 20_882 },
      doors: { zookeeper: { port: 2_181 } },
      apps: [],
      labels: {},
    });
  }
});

test("every problem is told at once, each with file, line, key, what was expected and how to mend it", () => {
  const text = `directory: zokeeper
outbond:
  port: 1
outbound:
  port: "20882"
apps:
  - name: a
    boltPort: 70000
  - boltPort: 1
labels: [a]
`;
  assert.deepEqual(problems(text), [
    'sidecar.yaml:2:1 | outbond | unknown key; did you mean "outbound"?',
    'sidecar.yaml:1:1 | directory | expected one of registry, zookeeper, got "zokeeper"; did you mean zookeeper?',
    'sidecar.yaml:5:3 | outbound.port | expected a whole number from 0 to 65535, got "20882"',
    "sidecar.yaml:8:5 | apps[0].boltPort | expected a whole number from 0 to 65535, got 70000",
    'sidecar.yaml:9:5 | apps[1].name | this key is required; add "name: …" with text',
    "sidecar.yaml:10:1 | labels | expected a mapping, got a list",
  ]);
});

test("an unknown key is an error also where the schema would drop it", () => {
  assert.deepEqual(problems("doors: { zookeper: false }"), [
    'sidecar.yaml:1:10 | doors.zookeper | unknown key; did you mean "zookeeper"?',
  ]);
  assert.deepEqual(problems("outbound: { quite-different: 1 }"), [
    "sidecar.yaml:1:13 | outbound.quite-different | unknown key; the keys here are host, port",
  ]);
  assert.match(problems("__proto__: { polluted: 1 }")[0] as string, /__proto__ \| unknown key/);
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("in a union the complaint is of the member that was meant", () => {
  assert.deepEqual(problems("doors: { zookeeper: { port: -1 } }"), [
    "sidecar.yaml:1:23 | doors.zookeeper.port | expected a whole number from 0 to 65535, got -1",
  ]);
  assert.deepEqual(problems("doors: { zookeeper: true }"), [
    "sidecar.yaml:1:10 | doors.zookeeper | expected false or a mapping, got true",
  ]);
});

test("what is not YAML, and a key that stands twice, is told with its place", () => {
  assert.match(problems("a: [1\n")[0] as string, /^sidecar\.yaml:\d+:\d+ \| {2}\| this is not valid YAML/);
  assert.deepEqual(problems("outbound:\n  port: 1\n  host: h\n  port: 2\n"), [
    "sidecar.yaml:4:3 |  | the key port stands here for the second time, after line 2; remove one",
  ]);
  assert.deepEqual(problems("- a\n"), ["sidecar.yaml:1:1 |  | expected a mapping (KEY: VALUE) at the top"]);
  assert.match(problems("directory: !python/object registry\n")[0] as string, /not valid YAML/);
  assert.deepEqual(problems("---\na: 1\n---\nb: 1\n"), [
    "sidecar.yaml:3:1 |  | a second YAML document begins here (---): a configuration is one document; remove this one, or give it a file of its own",
  ]);
});

test("S13: size, lines, nesting and aliases have limits, and a hostile file costs no more than seconds", () => {
  const bomb = Array.from(
    { length: 30 },
    (_, i) => `a${i}: &a${i} [${i === 0 ? "x" : `*a${i - 1}, *a${i - 1}, *a${i - 1}`}]`,
  ).join("\n");
  const hostile: [string, RegExp][] = [
    ["#".repeat(1024 * 1024 + 1), /larger than 1 MiB/],
    [`a: ${"x".repeat(20_000)}`, /longer than/],
    ["[".repeat(5_000), /brackets/],
    ["[\n".repeat(5_000), /brackets/],
    ["- ".repeat(5_000), /indented/],
    ["? ".repeat(5_000), /indented/],
    [`${" ".repeat(5_000)}a: 1`, /indented/],
    [bomb, /aliases/],
  ];
  const started = performance.now();
  for (const [text, expected] of hostile) assert.match(problems(text)[0] as string, expected);
  problems("labels: {\n".concat("a,\n".repeat(300_000)));
  problems(Array.from({ length: 60_000 }, (_, i) => `k${i}: &a${i} ${i}`).join("\n"));
  assert.ok(performance.now() - started < 30_000);
});

test("garbage gives only configuration errors", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[-?:,{}[\]&*!|>'"%@`#\n a]{0,60}$/)), (text) => {
      problems(text);
    }),
    { numRuns: 500 },
  );
});

test("flags are laid over the file, typed as the schema wants, and named in what is wrong with them", () => {
  const flags: Override[] = [
    { path: ["outbound", "port"], value: "0", from: "--outbound-port" },
    { path: ["doors", "zookeeper"], value: "false", from: "--zookeeper" },
    { path: ["outbound", "host"], value: "1", from: "--outbound-host" },
  ];
  const config = parseConfig(schema, "outbound: { port: 9 }\nlabels: { a: b }", "f", flags);
  assert.deepEqual(config.outbound, { host: "1", port: 0 });
  assert.equal(config.doors.zookeeper, false);
  assert.deepEqual(config.labels, { a: "b" });
  assert.deepEqual(problems("", [{ path: ["outbound", "port"], value: "many", from: "--outbound-port" }]), [
    '--outbound-port | outbound.port | expected a whole number from 0 to 65535, got "many"',
  ]);
});

test("what is printed reads back as the same configuration, and secrets are redacted", () => {
  const config = parseConfig(schema, "apps: [{ name: x }]\nlabels: { a.b: 'yes' }", "f");
  assert.deepEqual(parseConfig(schema, printConfig(schema, config), "f"), config);
  assert.match(printConfig(schema, config), /^# where instances come from\ndirectory: registry\n/);
  const secret = printConfig(schema, parseConfig(schema, "credentials: hunter2", "f"));
  assert.ok(!secret.includes("hunter2") && secret.includes("[redacted]"));
  assert.ok(!problems("credentials: 12345").join().includes("12345"));
});
