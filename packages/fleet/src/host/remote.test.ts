import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import type { ProcessFacts } from "../process/facts.ts";
import { type AgentOptions, runHostAgent } from "./agent.ts";
import type { CaptureOptions, Host, Privileged } from "./host.ts";
import { maxOperations, protocolVersion } from "./messages.ts";
import { Remote } from "./remote.ts";
import { until } from "./testing.ts";

const netns = 4_026_531_840;
const asker = { uid: 1_000, gid: 1_000 };

/** Remembers what it was asked, and answers or fails as it is told. */
class Recorder {
  readonly asked: unknown[][] = [];
  answer: () => unknown = () => undefined;
  captures: CaptureOptions[] = [];
  closed = 0;

  /** What the agent is given in place of a machine. */
  readonly privileged: Privileged = {
    facts: (...given) => this.#record("facts", given),
    host: async () => this.host,
    start: (...given) => this.#record("start", given),
    stateDirectories: (...given) => this.#record("stateDirectories", given),
    directory: (...given) => this.#record("directory", given),
    [Symbol.asyncDispose]: async () => void this.asked.push(["dispose"]),
  };
  readonly host: Host = {
    check: (...given) => this.#record("check", given),
    warnings: (...given) => this.#record("warnings", given),
    catch: (...given) => this.#record("catch", given),
    release: (...given) => this.#record("release", given),
    caught: (...given) => this.#record("caught", given),
    keepTracking: (...given) => this.#record("keepTracking", given),
    forward: (...given) => this.#record("forward", given),
    unforward: (...given) => this.#record("unforward", given),
    forwarded: (...given) => this.#record("forwarded", given),
    cut: (...given) => this.#record("cut", given),
    whyNoCapture: (...given) => this.#record("whyNoCapture", given),
    capture: async (options) => {
      await this.#record("capture", [{ ports: options.ports, snapBytes: options.snapBytes }]);
      this.captures.push(options);
      return {
        close: async () => {
          this.closed++;
        },
      };
    },
  };

  // biome-ignore lint/suspicious/noExplicitAny: the answer of every operation
  async #record(operation: string, given: readonly unknown[]): Promise<any> {
    this.asked.push([operation, ...given]);
    return this.answer();
  }
}

/** An agent over a recorder, and the remote that asks it. */
async function openPair(
  environment: NodeJS.ProcessEnv = {},
  hello = { version: protocolVersion, asker, users: [asker] },
) {
  const recorder = new Recorder();
  const [requests, answers] = [new PassThrough(), new PassThrough()];
  const opened: Parameters<NonNullable<AgentOptions["open"]>>[0][] = [];
  const open: NonNullable<AgentOptions["open"]> = (asked) => {
    opened.push(asked);
    return recorder.privileged;
  };
  const ended = runHostAgent({ input: requests, output: answers, open, environment });
  const remote = new Remote({ input: answers, output: requests, close: async () => void (await ended) });
  await remote.ready(hello, systemClock);
  return { recorder, remote, requests, ended, opened, [Symbol.asyncDispose]: () => remote[Symbol.asyncDispose]() };
}

/** Objects as JSON makes them. */
function record<T>(model: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model as { [K in keyof T]: fc.Arbitrary<T[K]> }, { noNullPrototype: true });
}

const port = fc.integer({ min: 1, max: 65_535 });
const name = fc.stringMatching(/^[A-Za-z0-9-]{1,64}$/);
const v4 = fc.ipV4().filter((host) => host !== "0.0.0.0");
const address = record({ host: v4, port });
const flow = record({ local: address, remote: address });
const user = record({ uid: fc.nat(), gid: fc.nat() });
const cgroup = fc
  .array(
    fc.stringMatching(/^[a-z0-9@_.\\:-]{1,20}$/).filter((part) => !/^\.+$/.test(part)),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => `/${parts.join("/")}`);
const selection = fc.oneof(
  record({ kind: fc.constant("uid" as const), uid: fc.nat() }),
  record({ kind: fc.constant("cgroup" as const), path: cgroup }),
);
const unique = { selector: (each: { server: unknown }) => JSON.stringify(each.server), minLength: 1, maxLength: 5 };
const rule = record({ name, of: selection, ways: fc.uniqueArray(record({ server: address, port }), unique) });
const forwards = fc.uniqueArray(record({ published: address, appPort: port }), {
  selector: (each) => JSON.stringify(each.published),
  minLength: 1,
  maxLength: 5,
});
const processName = fc.oneof(
  record({ kind: fc.constant("pid" as const), pid: fc.integer({ min: 1, max: 4_000_000 }) }),
  record({ kind: fc.constant("cgroup" as const), name: cgroup }),
  record({
    kind: fc.constantFrom("unit" as const, "netns" as const),
    name: fc.stringMatching(/^[a-z0-9@_-]{1,30}$/),
  }),
);
const facts: fc.Arbitrary<readonly ProcessFacts[]> = fc.array(
  record({
    pid: fc.nat(),
    started: fc.nat(),
    uid: fc.nat(),
    cgroup,
    netns: fc.nat(),
    command: fc.array(fc.string({ unit: "binary" })),
    listening: fc.array(address),
    connections: fc.array(flow),
    exact: fc.boolean(),
  }),
  { maxLength: 3 },
);
const start = record({
  netns: fc.integer({ min: 1 }),
  user: fc.option(user, { nil: undefined }),
  words: fc.tuple(
    fc.constant("sidecar"),
    fc.constant("run"),
    fc.string({ maxLength: 30 }).filter((text) => !/\p{Cc}/u.test(text)),
  ),
  log: cgroup,
});

interface Case {
  readonly given: readonly unknown[];
  readonly result: unknown;
}

const cases: Readonly<Record<string, fc.Arbitrary<Case>>> = {
  facts: record({ given: fc.tuple(processName), result: facts }),
  start: record({ given: fc.tuple(start), result: fc.nat() }),
  stateDirectories: record({
    given: fc.tuple(fc.integer({ min: 1 })),
    result: fc.array(record({ path: fc.string(), uid: fc.nat(), gid: fc.nat(), isPrivate: fc.boolean() })),
  }),
  directory: record({ given: fc.tuple(cgroup, user), result: fc.constant(undefined) }),
  check: record({ given: fc.tuple(selection), result: fc.array(fc.string()) }),
  warnings: record({ given: fc.constant([]), result: fc.array(fc.string()) }),
  catch: record({ given: fc.tuple(rule), result: fc.constant(undefined) }),
  release: record({ given: fc.tuple(name), result: fc.constant(undefined) }),
  caught: record({ given: fc.constant([]), result: fc.array(name) }),
  keepTracking: record({ given: fc.constant([]), result: fc.constant(undefined) }),
  forward: record({ given: fc.tuple(name, forwards), result: fc.constant(undefined) }),
  unforward: record({ given: fc.tuple(name), result: fc.constant(undefined) }),
  forwarded: record({ given: fc.constant([]), result: fc.array(name) }),
  cut: record({ given: fc.tuple(fc.array(flow)), result: fc.nat() }),
  whyNoCapture: record({ given: fc.constant([]), result: fc.option(fc.string(), { nil: undefined }) }),
};

type Operation = (...given: readonly unknown[]) => Promise<unknown>;

for (const [operation, arbitrary] of Object.entries(cases)) {
  test(`over the wire ${operation} is asked, answered and refused as it is without one`, async () => {
    await using pair = await openPair();
    const { recorder, remote } = pair;
    const host = await remote.host(netns);
    const of = (Object.hasOwn(recorder.host, operation) ? host : remote) as unknown as Record<string, Operation>;
    await fc.assert(
      fc.asyncProperty(
        arbitrary,
        fc.stringMatching(/^[a-z]+\.[a-z-]+$/),
        fc.string(),
        async ({ given, result }, code, text) => {
          recorder.asked.length = 0;
          recorder.answer = () => result;
          assert.deepEqual(await of[operation]?.(...given), result);
          assert.deepEqual(recorder.asked, [[operation, ...given]]);
          recorder.answer = () => {
            throw new MeshError(code, text, { netns });
          };
          await assert.rejects(Promise.resolve(of[operation]?.(...given)), {
            name: "MeshError",
            code,
            message: text,
            details: { netns },
          });
        },
      ),
      { numRuns: 40 },
    );
  });
}

test("the bytes of captures come whole and in order, each capture at the pace of who takes them", async () => {
  await using pair = await openPair();
  const { recorder, remote } = pair;
  const host = await remote.host(netns);
  const taken: Buffer[] = [];
  const gate = Promise.withResolvers<void>();
  let slow = 0;
  const onEnd = (): void => assert.fail("it goes on");
  const quick = await host?.capture({ ports: [1], snapBytes: 96, onBytes: (bytes) => void taken.push(bytes), onEnd });
  const onSlowBytes = (): Promise<void> => {
    slow++;
    return gate.promise;
  };
  await host?.capture({ ports: [2], onBytes: onSlowBytes, onEnd });
  assert.deepEqual(recorder.asked, [
    ["capture", { ports: [1], snapBytes: 96 }],
    ["capture", { ports: [2], snapBytes: undefined }],
  ]);
  const [first, second] = recorder.captures;
  const pieces = Array.from({ length: 50 }, (_, index) => Buffer.alloc(index * 100, index));
  const telling = second?.onBytes(Buffer.from("one"));
  for (const piece of pieces) await first?.onBytes(piece);
  assert.deepEqual(Buffer.concat(taken), Buffer.concat(pieces));
  assert.equal(slow, 1);
  assert.equal(await Promise.race([telling, "it waits"]), "it waits");
  gate.resolve();
  await telling;
  await quick?.close();
  await quick?.close();
  assert.equal(recorder.closed, 1);
});

test("a capture that ends by itself says why, and one that could not begin its code", async () => {
  await using pair = await openPair();
  const { recorder, remote } = pair;
  const host = await remote.host(netns);
  const ended: string[] = [];
  const capture = await host?.capture({ ports: [1], onBytes: () => undefined, onEnd: (why) => void ended.push(why) });
  recorder.captures[0]?.onEnd("it is tired");
  await until("it is told", () => ended.length === 1);
  assert.deepEqual(ended, ["it is tired"]);
  await capture?.close();
  recorder.answer = () => {
    throw new MeshError("host.failed", "no");
  };
  const onEnd = (): void => assert.fail("it never began");
  await assert.rejects(Promise.resolve(host?.capture({ ports: [1], onBytes: () => undefined, onEnd })), {
    code: "host.failed",
  });
});

test("the end of the asker ends the agent and its captures", async () => {
  const { recorder, remote, requests, ended } = await openPair();
  const host = await remote.host(netns);
  await host?.capture({ ports: [1], onBytes: () => undefined, onEnd: () => undefined });
  requests.end();
  assert.equal(await ended, 0);
  assert.deepEqual(recorder.asked.at(-1), ["dispose"]);
});

test("the end of the agent is told to everybody who waits for it", async () => {
  const { recorder, remote, requests } = await openPair();
  const host = await remote.host(netns);
  const ends: string[] = [];
  await host?.capture({ ports: [1], onBytes: () => undefined, onEnd: (why) => void ends.push(why) });
  recorder.answer = () => new Promise(() => undefined);
  const waiting = host?.caught();
  remote.gone("it was killed");
  await assert.rejects(Promise.resolve(waiting), { code: "host.no-agent" });
  await assert.rejects(remote.facts({ kind: "pid", pid: 1 }), { code: "host.no-agent" });
  assert.deepEqual(ends, ["the process that holds the privileges is not there: it was killed"]);
  requests.end();
});

test("what the agent is not asked in the right way is refused and not done", async () => {
  await using pair = await openPair();
  const { recorder, remote } = pair;
  const refused: readonly (readonly [string, readonly unknown[], number | undefined, string])[] = [
    ["format", ["/"], undefined, "host.unknown-operation"],
    ["constructor", [], netns, "host.unknown-operation"],
    ["__proto__", [], netns, "host.unknown-operation"],
    ["catch", [{ name: "a" }], netns, "host.malformed"],
    ["catch", [null], netns, "host.malformed"],
    ["check", [undefined], netns, "host.malformed"],
    ["caught", [], undefined, "host.malformed"],
    ["facts", ["1"], undefined, "host.malformed"],
    ["start", [{ netns, words: ["sh", "-c", "id"], log: "/tmp/log" }], undefined, "host.malformed"],
    ["capture", [{ ports: ["1 or host x"] }], netns, "host.malformed"],
  ];
  for (const [operation, given, where, code] of refused) {
    await assert.rejects(remote.ask(operation, given, where), { code }, operation);
  }
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(cases)),
      fc.array(fc.jsonValue(), { maxLength: 2 }),
      async (operation, given) => {
        await remote.ask(operation, given, netns).catch((error) => assert.equal(error.code, "host.malformed"));
      },
    ),
  );
  assert.ok(
    recorder.asked.every(([operation]) =>
      [
        "caught",
        "warnings",
        "keepTracking",
        "forwarded",
        "whyNoCapture",
        "cut",
        "release",
        "unforward",
        "stateDirectories",
      ].includes(String(operation)),
    ),
  );
});

test("operations beyond 32 at once are refused", async () => {
  await using pair = await openPair();
  const { recorder, remote } = pair;
  const gate = Promise.withResolvers<unknown>();
  recorder.answer = () => gate.promise;
  const host = await remote.host(netns);
  const waiting = Array.from({ length: maxOperations + 3 }, () => host?.caught());
  const results = Promise.allSettled(waiting);
  await until("so many are under way", () => recorder.asked.length === maxOperations);
  gate.resolve([]);
  const codes = (await results).map((result) => (result.status === "rejected" ? result.reason.code : "done"));
  assert.deepEqual(codes, [...Array(maxOperations).fill("done"), ...Array(3).fill("host.busy")]);
});

test("whoever is not JSON, or says too much in a line, is served no longer", async () => {
  for (const text of ["x\n", `"${"x".repeat(2 ** 20)}"\n`, '{"id":0,"operation":"caught","arguments":[]}\n']) {
    const { requests, ended, recorder } = await openPair();
    requests.write(text);
    assert.equal(await ended, 1);
    assert.deepEqual(recorder.asked, [["dispose"]]);
  }
});

test("the first line says for whom, but under sudo it is whoever was let in", async () => {
  const root = { version: protocolVersion, asker: { uid: 0, gid: 0 }, users: [{ uid: 5, gid: 5 }] };
  await using plain = await openPair({}, root);
  assert.deepEqual(plain.opened, [{ asker: root.asker, users: root.users }]);
  await using sudo = await openPair({ SUDO_UID: "1000", SUDO_GID: "1001" }, root);
  assert.deepEqual(sudo.opened, [{ asker: { uid: 1_000, gid: 1_001 }, users: [] }]);
  await assert.rejects(openPair({}, { ...root, version: 99 }), { code: "host.no-agent" });
});
