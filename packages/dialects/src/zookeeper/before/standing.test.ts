/** Connections through the door before an ensemble that stand still at one door and go on at the next: their clients hear the same as without it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeEvent, type ReplyBody } from "@dualmesh/wire/jute/reply";
import { openAcl, type RequestBody } from "@dualmesh/wire/jute/request";
import fc from "fast-check";
import type { Said, ZooKeeperTestClient } from "../../testing/zookeeper-client.ts";
import type { RewriteState, SessionModes } from "./owner.ts";
import { BeforeFixture, dubboName, providers } from "./testing.ts";

const own = `${providers}/${dubboName("10.0.0.5", 20_881)}`;
const other = `${providers}/${dubboName("10.0.0.6", 20_880, "stock")}`;
const entry = "/services/shop/10.0.0.5:20881";
const ephemeral = 1;
const recursive = 1;
const modes: readonly SessionModes[] = [
  { provides: "direct", consumes: "direct" },
  { provides: "mesh", consumes: "direct" },
  { provides: "direct", consumes: "mesh" },
  { provides: "mesh", consumes: "mesh" },
];

/** What a client asks, what somebody else does at the ensemble, or what the owner of the door does. */
type Step =
  | { readonly kind: "ask"; readonly body: RequestBody }
  | { readonly kind: "others"; readonly path: string; readonly do: "put" | "delete" | "set" }
  | { readonly kind: "consume"; readonly to: RewriteState }
  | { readonly kind: "provide"; readonly to: RewriteState };

interface Cut {
  readonly step: number;
  /** Of what is asked, so many have come before. */
  readonly bytes: number;
}

const create = (path: string, flags = ephemeral): RequestBody => ({
  op: "create",
  code: 15,
  path,
  data: Buffer.from("x"),
  acl: openAcl,
  flags,
  ttl: 0n,
});
const list = (path: string, watch = true): RequestBody => ({ op: "getChildren", code: 12, path, watch });

async function told(steps: readonly Step[], cuts: readonly Cut[], begins: SessionModes): Promise<readonly string[]> {
  const fixture = new BeforeFixture();
  fixture.owner.begins = begins;
  fixture.ensemble.put(other);
  fixture.ensemble.put("/services/shop", 0n);
  const client = await fixture.client();
  const session = (client.connected?.sessionId ?? 0n).toString(16);
  for (const [index, step] of steps.entries()) {
    const here = cuts.filter((cut) => cut.step === index);
    if (step.kind === "ask") await ask(fixture, client, step.body, here);
    else {
      const act = (): void => others(fixture, step);
      if (here.length === 0) act();
      else for (const [at] of here.entries()) await fixture.upgrade([client], at === 0 ? act : undefined);
      if (step.kind === "consume") await fixture.door.consume(session, step.to);
      if (step.kind === "provide")
        for (const { path } of fixture.door.registrations()) await fixture.door.provide(path, step.to);
    }
    await fixture.clock.advance(1_600);
  }
  assert.equal(client.closed, false);
  assert.equal(fixture.ensemble.connections.length, 1, "nobody has connected again");
  assert.deepEqual(new Set(fixture.door.consumers().map(({ connected }) => connected)), new Set([true]));
  return [
    ...client.said.map(textOf),
    ...fixture.ensemble.changes,
    ...fixture.door.registrations().map(({ path, state }) => `${state} ${path}`),
    ...fixture.door.uncarried().map(({ path }) => `uncarried ${path}`),
    ...fixture.door
      .sessions()
      .flatMap(({ watches, bypassed }) => [
        ...[...watches].sort(),
        ...bypassed.map(({ registration }) => registration),
      ]),
    ...new Set(fixture.owner.wanted),
  ];
}

async function ask(
  fixture: BeforeFixture,
  client: ZooKeeperTestClient,
  body: RequestBody,
  cuts: readonly Cut[],
): Promise<void> {
  const { frame } = client.frameOf(body, kindOf(body));
  let sent = 0;
  for (const { bytes } of cuts) {
    const end = Math.max(sent, Math.min(frame.length, bytes));
    if (end > sent) client.connection.receive(frame.subarray(sent, end));
    sent = end;
    await fixture.upgrade([client]);
  }
  if (sent < frame.length) client.connection.receive(frame.subarray(sent));
}

function others({ ensemble }: BeforeFixture, step: Step): void {
  if (step.kind !== "others") return;
  const isThere = ensemble.nodes.has(step.path);
  if (step.do === "put") ensemble.put(step.path);
  else if (isThere && step.do === "delete") ensemble.delete(step.path);
  else if (isThere) ensemble.set(step.path, Buffer.from("changed"));
}

function kindOf({ op }: RequestBody): ReplyBody["kind"] {
  switch (op) {
    case "create":
      return "created";
    case "exists":
    case "setData":
      return "stat";
    case "getData":
      return "data";
    case "getChildren":
      return "children2";
    case "addWatch":
      return "error";
    default:
      return "none";
  }
}

/** Numbers of order differ: the door asks something of its own in one case and not in the other. */
function textOf(said: Said): string {
  if ("event" in said) return `event ${said.event.type} ${said.event.path}`;
  const { xid, error, body } = said.reply;
  const text = JSON.stringify(body, (key, value) =>
    key === "stat" ? undefined : key === "children" ? [...value].sort() : typeof value === "bigint" ? "" : value,
  );
  return `reply ${xid} ${error} ${text}`;
}

const script: readonly Step[] = [
  { kind: "ask", body: list(providers) },
  { kind: "ask", body: create(own) },
  { kind: "ask", body: list(providers) },
  { kind: "ask", body: { op: "getData", path: own, watch: true } },
  { kind: "ask", body: create(entry) },
  { kind: "ask", body: { op: "addWatch", path: "/services", mode: recursive } },
  { kind: "provide", to: "both" },
  { kind: "consume", to: "both" },
  { kind: "others", path: `${providers}/${dubboName("10.0.0.7", 20_880, "stock")}`, do: "put" },
  { kind: "ask", body: list(providers) },
  { kind: "ask", body: { op: "ping" } },
  { kind: "ask", body: { op: "setData", path: own, data: Buffer.from("y"), version: -1 } },
  { kind: "provide", to: "mesh" },
  { kind: "consume", to: "mesh" },
  { kind: "ask", body: list(providers) },
  { kind: "ask", body: { op: "exists", path: own, watch: true } },
  { kind: "others", path: other, do: "delete" },
  { kind: "ask", body: { op: "delete", path: own, version: -1 } },
  { kind: "ask", body: create(own) },
  { kind: "ask", body: { op: "auth", kind: 0, scheme: "digest", credentials: Buffer.from("a:b") } },
  { kind: "consume", to: "direct" },
  { kind: "provide", to: "direct" },
  { kind: "ask", body: list(providers) },
  { kind: "ask", body: list("/services/shop") },
];

describe("connections through the door before an ensemble that go on at another one", () => {
  for (const begins of modes) {
    it(`are told the same whatever byte the upgrade comes at: provides ${begins.provides}, consumes ${begins.consumes}`, async () => {
      const without = await told(script, [], begins);
      for (const [step, { kind }] of script.entries()) {
        for (let bytes = 0; bytes <= (kind === "ask" ? 120 : 0); bytes += kind === "ask" && bytes > 16 ? 7 : 1) {
          const withCut = await told(script, [{ step, bytes }], begins);
          assert.deepEqual(withCut, without, `at byte ${bytes} of step ${step}`);
        }
      }
    });
  }

  it("are told the same whatever they ask and whatever happens meanwhile", async () => {
    const path = fc.constantFrom(own, other, entry, providers, "/services/shop");
    const leaf = fc.constantFrom(own, entry);
    const body: fc.Arbitrary<RequestBody> = fc.oneof(
      leaf.map((at) => create(at)),
      leaf.map((at): RequestBody => ({ op: "delete", path: at, version: -1 })),
      fc.tuple(fc.constantFrom(providers, "/services/shop"), fc.boolean()).map(([at, watches]) => list(at, watches)),
      fc.record({ op: fc.constantFrom("exists", "getData"), path, watch: fc.boolean() }),
      fc.record({
        op: fc.constant("setData"),
        path: leaf,
        data: fc.constant(Buffer.from("z")),
        version: fc.constant(-1),
      }),
      fc.record({ op: fc.constant("addWatch"), path, mode: fc.constant(recursive) }),
    );
    const state = fc.constantFrom<RewriteState>("direct", "both", "mesh");
    const foreign = fc.constantFrom(other, `${providers}/${dubboName("10.0.0.7", 20_880, "stock")}`);
    const step: fc.Arbitrary<Step> = fc.oneof(
      { weight: 6, arbitrary: body.map((one) => ({ kind: "ask" as const, body: one })) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("others"),
          path: foreign,
          do: fc.constantFrom("put", "delete", "set"),
        }),
      },
      fc.record({ kind: fc.constantFrom("provide", "consume"), to: state }),
    );
    const cut = fc.record({ step: fc.nat(24), bytes: fc.nat(150) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.array(cut, { minLength: 1, maxLength: 3 }),
        fc.constantFrom(...modes),
        async (steps, cuts, begins) => {
          const sorted = [...cuts].sort((one, next) => one.bytes - next.bytes);
          assert.deepEqual(await told(steps, sorted, begins), await told(steps, [], begins));
        },
      ),
      { numRuns: Number(process.env["RUNS"] ?? 100) },
    );
  });

  it("lose nothing of what the ensemble says meanwhile, or had said in part", async () => {
    const event = encodeEvent({ type: 3, state: 3, path: "/config" });
    for (let bytes = 0; bytes <= event.length; bytes += 1) {
      const fixture = new BeforeFixture();
      const client = await fixture.client();
      const ensemble = fixture.ensemble.newest;
      ensemble.say(event.subarray(0, bytes));
      await fixture.upgrade([client], () => ensemble.say(event.subarray(bytes)));
      const { said } = client;
      assert.equal(said.filter((one) => "event" in one).length, 1, `at byte ${bytes}`);
    }
  });

  it("wait for the answers that the ensemble owes, and requests behind them for the next door", async () => {
    const fixture = new BeforeFixture();
    const client = await fixture.client();
    fixture.ensemble.paused = true;
    const first = client.exists(providers);
    assert.equal(client.connection.stand?.(), undefined);
    const second = client.exists("/nothing");
    fixture.ensemble.newest.run();
    assert.equal(client.error(first), -101);
    fixture.ensemble.paused = false;
    assert.equal(client.error(second), undefined);
    await fixture.upgrade([client]);
    assert.equal(client.error(second), -101);
    const last = client.exists("/nothing");
    await fixture.settle();
    assert.equal(client.error(last), -101);
    assert.equal(client.closed, false);
  });

  it("know what a resumed session owns, and which deletions wait", async () => {
    const fixture = new BeforeFixture();
    const path = `${providers}/${dubboName("10.0.0.5", 20_881)}`;
    fixture.ensemble.put(providers, 0n);
    const first = await fixture.client();
    first.create(path, ephemeral);
    first.create(entry, ephemeral);
    fixture.ensemble.put("/services/shop", 0n);
    first.create(entry, ephemeral);
    await fixture.settle();
    first.drop();
    const client = await fixture.client(first.identity);
    const before = fixture.ensemble.changes.length;
    await fixture.upgrade([client]);
    const again = client.create(path, ephemeral);
    await fixture.settle();
    assert.equal(client.error(again), 0, "it is there already, and is not made again");
    const deleted = client.delete(entry);
    await fixture.settle();
    assert.equal(client.error(deleted), 0);
    await fixture.upgrade([client]);
    await fixture.clock.advance(1_000);
    assert.deepEqual(fixture.ensemble.changes.slice(before), []);
    await fixture.clock.advance(1_000);
    assert.deepEqual(fixture.ensemble.changes.slice(before), [`delete ${entry}`]);
  });

  it("end when they do not stand still in time, and their clients resume their sessions at the next door", async () => {
    const fixture = new BeforeFixture();
    const client = await fixture.client();
    fixture.ensemble.paused = true;
    client.exists(providers);
    await fixture.upgrade([client]);
    assert.equal(client.closed, true);
    fixture.ensemble.paused = false;
    const again = await fixture.client(client.identity);
    assert.equal(again.connected?.sessionId, client.connected?.sessionId);
  });
});
