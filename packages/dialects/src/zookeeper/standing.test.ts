/** Connections that stand still at one door and go on at the next: whenever that is, their clients hear the same as without it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import type { RequestBody } from "@dualmesh/wire/jute/request";
import { openAcl } from "@dualmesh/wire/jute/request";
import fc from "fast-check";
import { DoorFixture } from "../testing/door-fixture.ts";
import type { Said, ZooKeeperTestClient } from "../testing/zookeeper-client.ts";
import { encodeName } from "./provider-url.ts";

const providers = "/dubbo/fx.Greeter/providers";
const consumers = "/dubbo/fx.Greeter/consumers";
const providerOf = (port: number): string =>
  `${providers}/${encodeName(`dubbo://10.0.0.1:${port}/fx.Greeter?application=p&interface=fx.Greeter&side=provider&timestamp=1`)}`;
const consumer = `${consumers}/${encodeName("consumer://10.0.0.9/fx.Greeter?application=c&interface=fx.Greeter")}`;
const plain = ["/config", "/config/a", "/config/b"];
const ephemeral = 1;
/** A door at a sidecar that is not told of a list waits no longer. */
const patienceMs = 1_100;
const recursive = 1;

interface Step {
  readonly by: number;
  readonly body: RequestBody;
}

interface Cut {
  /** The step in whose frame the upgrade is, and how much of it came before. */
  readonly step: number;
  readonly bytes: number;
}

const kindOf = ({ op }: RequestBody) =>
  (
    ({
      create: "created",
      exists: "stat",
      setData: "stat",
      getData: "data",
      getChildren: "children2",
      getEphemerals: "children",
      getAcl: "acl",
      sync: "path",
      addWatch: "error",
    }) as const
  )[op as "create"] ?? "none";

const create = (path: string, flags = 0): RequestBody => ({
  op: "create",
  code: 15,
  path,
  data: Buffer.from("x"),
  acl: openAcl,
  flags,
  ttl: 0n,
});
const list = (path: string, watch = true): RequestBody => ({ op: "getChildren", code: 12, path, watch });

interface Told {
  readonly place?: "registry" | "sidecar";
  /** Everything comes to rest before the next request. */
  readonly rests?: boolean;
  /** Answers and events apart. */
  readonly apart?: boolean;
}

/** Runs a script of two clients, with upgrades at these places; gives what each was told, without numbers of order. */
async function told(
  script: readonly Step[],
  cuts: readonly Cut[],
  { place = "registry", rests = true, apart = !rests }: Told = {},
) {
  let fixture = await DoorFixture.open({ place });
  const clients = [await fixture.client(), await fixture.client()];
  let epoch = 1;
  const upgrade = async (): Promise<void> => {
    epoch += 1;
    fixture = await fixture.upgrade(clients, { place, epoch });
    // Somebody reads the list, as everywhere: which lists a door has open is its own, and shows in numbers of children.
    (await fixture.client()).list(providers);
    await fixture.clock.advance(patienceMs);
  };
  for (const [index, { by, body }] of script.entries()) {
    const client = clients[by] as ZooKeeperTestClient;
    if (client.closed) continue;
    const { frame } = client.frameOf(body, kindOf(body));
    let sent = 0;
    for (const { bytes } of cuts.filter(({ step }) => step === index)) {
      const end = Math.max(sent, Math.min(frame.length, bytes));
      if (end > sent) client.connection.receive(frame.subarray(sent, end));
      sent = end;
      await upgrade();
    }
    if (sent < frame.length) client.connection.receive(frame.subarray(sent));
    if (rests) await fixture.clock.advance(patienceMs);
  }
  await fixture.clock.advance(patienceMs);
  const texts = clients.map(({ closed, said }) => {
    const [replies, events] = [said.filter((one) => "reply" in one), said.filter((one) => "event" in one)];
    // An event may come before the answer to what was asked long before it; and what changes at one moment has no order.
    return { closed, said: !apart ? inRuns(said) : [...replies.map(textOf), ...events.map(textOf)] };
  });
  for (const client of clients) assertOrder(client.said);
  await fixture.door[Symbol.asyncDispose]();
  return { texts };
}

/** In order, but for events that nothing stands between. */
function inRuns(said: readonly Said[]): readonly string[] {
  const texts: string[] = [];
  let events: string[] = [];
  for (const one of said) {
    if ("event" in one) {
      events.push(textOf(one));
      continue;
    }
    texts.push(...events.sort(), textOf(one));
    events = [];
  }
  return [...texts, ...events.sort()];
}

/** What a client has been told of the order never goes back. */
function assertOrder(said: readonly Said[]): void {
  let newest = 0n;
  for (const one of said) {
    if (!("reply" in one)) continue;
    assert.ok(one.reply.zxid >= newest, `${one.reply.zxid} after ${newest}`);
    newest = one.reply.zxid;
  }
}

function textOf(said: Said): string {
  if ("event" in said) return `event ${said.event.type} ${said.event.path}`;
  const { xid, error, body } = said.reply;
  const told = JSON.stringify(body, (key, value) =>
    ["czxid", "mzxid", "pzxid", "cversion", "ctime", "mtime"].includes(key)
      ? undefined
      : typeof value === "bigint"
        ? "id"
        : Array.isArray(value) && value.every((one) => typeof one === "string")
          ? [...value].sort()
          : value,
  );
  return `reply ${xid} ${error} ${told}`;
}

const script: readonly Step[] = [
  { by: 0, body: create("/config") },
  { by: 0, body: list(providers) },
  { by: 0, body: { op: "exists", path: "/config/a", watch: true } },
  { by: 0, body: { op: "addWatch", path: "/config", mode: recursive } },
  { by: 1, body: create(providerOf(1), ephemeral) },
  { by: 1, body: list(providers) },
  { by: 1, body: create("/config/a", ephemeral) },
  { by: 1, body: { op: "ping" } },
  { by: 1, body: { op: "setData", path: "/config/a", data: Buffer.from("y"), version: -1 } },
  { by: 0, body: list(providers) },
  { by: 0, body: { op: "getData", path: "/config/a", watch: true } },
  { by: 0, body: create(consumer, ephemeral) },
  { by: 1, body: { op: "getEphemerals", path: "/" } },
  { by: 1, body: { op: "delete", path: providerOf(1), version: -1 } },
  { by: 1, body: { op: "auth", kind: 0, scheme: "digest", credentials: Buffer.from("a:b") } },
  { by: 0, body: { op: "removeWatches", path: "/config/a", kind: 3 } },
  { by: 1, body: { op: "closeSession" } },
  { by: 0, body: list("/config") },
];

describe("connections of the ZooKeeper door that go on at another one", () => {
  for (const place of ["registry", "sidecar"] as const) {
    it(`are told the same whatever byte the upgrade comes at, ${place}`, async () => {
      const without = await told(script, [], { place });
      for (const [step, { by, body }] of script.entries()) {
        const fixture = await DoorFixture.open();
        const { frame } = (await fixture.client()).frameOf(body);
        await fixture.door[Symbol.asyncDispose]();
        for (let bytes = 0; bytes <= frame.length; bytes += 1) {
          const { texts } = await told(script, [{ step, bytes }], { place });
          assert.deepEqual(texts, without.texts, `at byte ${bytes} of step ${step}, ${body.op} of client ${by}`);
        }
      }
    });
  }

  it("are told the same whatever they ask and however often doors follow each other", async () => {
    const path = fc.constantFrom(...plain, providers, providerOf(1), providerOf(2), consumer);
    const leaf = path.filter((at) => at !== "/config" && at !== providers);
    const watch = fc.boolean();
    const data = fc.constantFrom(Buffer.from("x"), Buffer.from("yy"));
    const body: fc.Arbitrary<RequestBody> = fc.oneof(
      { weight: 4, arbitrary: fc.tuple(path, fc.constantFrom(0, ephemeral)).map(([at, flags]) => create(at, flags)) },
      { weight: 3, arbitrary: leaf.map((at): RequestBody => ({ op: "delete", path: at, version: -1 })) },
      { weight: 3, arbitrary: fc.tuple(path, watch).map(([at, watches]) => list(at, watches)) },
      fc.record({ op: fc.constantFrom("exists", "getData"), path, watch }),
      fc.record({
        op: fc.constant("setData"),
        path: leaf,
        data,
        version: fc.constant(-1),
      }),
      fc.record({ op: fc.constant("addWatch"), path, mode: fc.constantFrom(0, 1) }),
      fc.record({ op: fc.constant("removeWatches"), path, kind: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ op: fc.constantFrom("sync", "getAcl", "getEphemerals"), path }),
      fc.constant<RequestBody>({ op: "ping" }),
    );
    await same(body, true);
  });

  it("are told the same of many requests at once, some of which are under way", async () => {
    const path = fc.constantFrom(...plain);
    const body: fc.Arbitrary<RequestBody> = fc.oneof(
      fc.tuple(path, fc.constantFrom(0, ephemeral)).map(([at, flags]) => create(at, flags)),
      path.map((at): RequestBody => ({ op: "delete", path: at, version: -1 })),
      fc.tuple(path, fc.boolean()).map(([at, watches]) => list(at, watches)),
      fc.record({ op: fc.constantFrom("exists", "getData"), path, watch: fc.boolean() }),
      fc.record({
        op: fc.constant("setData"),
        // A parent that nobody made but its children has no data that is kept.
        path: path.filter((at) => at !== "/config"),
        data: fc.constant(Buffer.from("z")),
        version: fc.constant(-1),
      }),
    );
    await same(body, false);
  });

  it("hear of what changed between two doors, once, and of nothing that is the same", async () => {
    const fixture = await DoorFixture.open();
    const [one, other] = [await fixture.client(), await fixture.client()];
    one.create(providerOf(1), ephemeral);
    one.create("/config");
    other.list(providers, true);
    other.list("/config", true);
    other.getData("/config", true);
    for (const client of [one, other]) client.addWatch("/dubbo", recursive);
    await fixture.settle();
    for (const client of [one, other]) client.events();
    const same = await fixture.upgrade([one, other], { epoch: 2 });
    await same.clock.advance(patienceMs);
    assert.deepEqual([one.events(), other.events()], [[], []]);
    const elsewhere = sampleInstance({ service: "dubbo/fx.Greeter::", host: "10.0.0.9", address: "10.0.0.9" });
    same.door.serving?.(false);
    const standing = other.connection.stand?.();
    await fixture.directory.publish(elsewhere);
    await same.door[Symbol.asyncDispose]();
    const next = await same.restart({ epoch: 3 });
    assert.ok(standing !== undefined && other.goOn(next.door, standing));
    await next.clock.advance(patienceMs);
    const events = other.events();
    assert.deepEqual(events.slice(1), [`children ${providers}`]);
    assert.match(events[0] ?? "", /^created .*10\.0\.0\.9/);
    await next.clock.advance(patienceMs);
    assert.deepEqual(other.events(), [], "the watch of the list is gone, and nothing is told twice");
    const list = other.list(providers, true);
    await next.settle();
    assert.equal(other.children(list)?.length, 2);
  });

  it("are told of a list when the directory has told of it, and not before", async () => {
    const fixture = await DoorFixture.open();
    const [one, other] = [await fixture.client(), await fixture.client()];
    one.create(providerOf(1), ephemeral);
    other.list(providers, true);
    await fixture.settle();
    fixture.directory.answering = false;
    const next = await fixture.upgrade([one, other], { epoch: 2 });
    await next.clock.advance(10 * patienceMs);
    assert.deepEqual(other.events(), [], "an empty list is no news as long as nobody says so");
    const again = await next.upgrade([one, other], { epoch: 3 });
    again.directory.answering = true;
    await again.clock.advance(patienceMs);
    assert.deepEqual(other.events(), [], "it is as it was");
    fixture.directory.answering = false;
    const last = await again.upgrade([one, other], { epoch: 4 });
    const read = other.list(providers);
    await last.clock.advance(10 * patienceMs);
    assert.deepEqual(other.children(read), [], "nothing is known");
    last.directory.answering = true;
    await last.clock.advance(patienceMs);
    assert.deepEqual(other.events(), [`children ${providers}`]);
  });

  it("have what was begun answered once: a read by the next door, a write by the one that began it", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    fixture.directory.answering = false;
    const list = client.list(providers, true);
    const write = client.create("/config");
    await fixture.settle();
    assert.equal(client.error(write), undefined, "which waits for the answer before it");
    const next = await fixture.upgrade([client], { epoch: 2 });
    next.directory.answering = true;
    await next.clock.advance(patienceMs);
    assert.deepEqual([client.error(list), client.error(write)], [0, 0]);
    assert.equal(client.said.length, 2);
    assertOrder(client.said);
    assert.ok((client.reply(write)?.zxid ?? 0n) > 2n ** 33n);
  });

  it("are those of nobody when the next door does not know their session, and sessions wait while nobody can come", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client({ timeoutMs: 4_000 });
    const standing = client.connection.stand?.();
    assert.ok(standing !== undefined);
    const stranger = await DoorFixture.open();
    assert.equal(client.goOn(stranger.door, standing), false);
    const next = await fixture.restart();
    next.door.serving?.(false);
    await next.clock.advance(20_000);
    assert.equal(client.goOn(next.door, standing), true);
    next.door.serving?.(true);
    await next.clock.advance(3_000);
    assert.equal(client.goOn(next.door, standing), false, "it has a connection");
    await next.clock.advance(2_000);
    assert.deepEqual(next.door.sessions(), [], "its time runs again");
    assert.equal(client.closed, true);
  });

  it("read leniently what another version says of them", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    const session = client.connection.stand?.()?.state["session"];
    const next = await fixture.restart();
    const odd = { session, later: 1, watches: [["data", "/config"], ["odd", "/x"], 7], seen: "none", answers: [[1]] };
    assert.equal(client.goOn(next.door, { state: { session: 7 }, unread: [] }), false);
    assert.equal(client.goOn(next.door, { state: odd, unread: [] }), true);
    assert.deepEqual(next.door.sessions()[0]?.watches, ["/config"]);
    const xid = client.exists("/config");
    await next.settle();
    assert.equal(client.error(xid), -101);
  });
});

/** `rests` where everything comes to rest before the next request, so that two clients may be compared; else one asks all of them at once. */
async function same(body: fc.Arbitrary<RequestBody>, rests: boolean): Promise<void> {
  const by = rests ? fc.constantFrom(0, 1) : fc.constant(0);
  const cut = fc.record({ step: fc.nat(29), bytes: fc.nat(120) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ by, body }), { minLength: 1, maxLength: 30 }),
      fc.array(cut, { minLength: 1, maxLength: 3 }),
      fc.constantFrom("registry" as const, "sidecar" as const),
      async (random, cuts, place) => {
        const first = [create("/config"), list(providers, false)].map((one) => ({ by: 0, body: one }));
        const steps = [...first, ...random.map(withOwnNode)];
        const sorted = [...cuts].sort((one, other) => one.bytes - other.bytes);
        const without = await told(steps, [], { place, apart: !rests });
        const all = await told(steps, sorted, { place, rests });
        assert.deepEqual(all.texts, without.texts);
      },
    ),
    { numRuns: Number(process.env["RUNS"] ?? 150) },
  );
}

/** What somebody else registered is written by nobody: a door that has not read the list yet would not find it. */
function withOwnNode({ by, body }: Step): Step {
  const isWrite = body.op === "create" || body.op === "delete" || body.op === "setData";
  return isWrite && body.path.startsWith(`${providers}/`)
    ? { by, body: { ...body, path: providerOf(by + 1) } }
    : { by, body };
}
