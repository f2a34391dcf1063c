import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeConnectReply, encodeEvent, encodeReply } from "@dualmesh/wire/jute/reply";
import {
  encodeConnectRequest,
  encodeRequest,
  openAcl,
  type Request,
  type RequestBody,
} from "@dualmesh/wire/jute/request";
import fc from "fast-check";
import { BeforeFixture, dubboName, type ModelConnection, providers } from "./testing.ts";

/** A client that keeps the bytes it is sent, and an ensemble that says what the test says. */
class Wire {
  readonly fixture: BeforeFixture;
  readonly sent: Buffer[] = [];
  readonly connection;
  closed = false;
  queuedBytes = 0;

  constructor(fixture = new BeforeFixture()) {
    this.fixture = fixture;
    fixture.ensemble.paused = true;
    const wire = this;
    this.connection = fixture.door.connect({
      remote: "127.0.0.1:9",
      get queuedBytes() {
        return wire.queuedBytes;
      },
      send: (bytes) => void this.sent.push(Buffer.from(bytes)),
      close: () => {
        this.closed = true;
      },
    });
  }

  get ensemble(): ModelConnection {
    return this.fixture.ensemble.newest;
  }

  say(bytes: Buffer): void {
    this.connection.receive(bytes);
  }

  async open(): Promise<this> {
    this.say(connect(0n, false));
    this.ensemble.run();
    await this.fixture.settle();
    this.sent.length = 0;
    this.ensemble.received.length = 0;
    return this;
  }
}

const connect = (sessionId: bigint, readOnly: boolean | undefined): Buffer =>
  encodeConnectRequest({
    protocolVersion: 0,
    lastZxid: 0x77n,
    timeoutMs: 61_234,
    sessionId,
    password: Buffer.alloc(16, 9),
    readOnly,
  });

describe("a connection through the door before an ensemble", () => {
  it("passes the connect request on byte for byte, and the answer once it is known what the session owns", async () => {
    for (const readOnly of [undefined, false, true]) {
      const wire = new Wire();
      const asked = connect(0x5n, readOnly);
      wire.say(asked.subarray(0, 7));
      wire.say(asked.subarray(7));
      assert.deepEqual(wire.ensemble.received, [asked]);
      const password = Buffer.alloc(16, 9);
      const answer = encodeConnectReply({ protocolVersion: 0, timeoutMs: 40_000, sessionId: 5n, password, readOnly });
      wire.ensemble.session = 5n;
      wire.ensemble.say(answer);
      await wire.fixture.settle();
      assert.deepEqual(wire.sent, []);
      const question = encodeRequest({ xid: 0x60000000, op: "getEphemerals", path: "/" });
      assert.deepEqual(wire.ensemble.received.slice(1), [question]);
      wire.ensemble.say(encodeReply({ xid: 0x60000000, zxid: 9n, error: 0 }, { kind: "children", children: [] }));
      await wire.fixture.settle();
      assert.deepEqual(wire.sent, [answer]);
    }
  });

  it("passes a refusal on untouched", async () => {
    const wire = new Wire();
    wire.say(connect(5n, false));
    const password = Buffer.alloc(16);
    const expired = encodeConnectReply({ protocolVersion: 0, timeoutMs: 0, sessionId: 0n, password, readOnly: false });
    wire.ensemble.say(expired);
    assert.deepEqual(wire.sent, [expired]);
    wire.ensemble.cut();
    assert.equal(wire.closed, true);
  });

  it("passes what it does not know through, both ways, as it came", async () => {
    const wire = await new Wire().open();
    const requests = [
      encodeRequest({ xid: 1, op: "unknown", code: 14, bytes: Buffer.from("a transaction of several") }),
      encodeRequest({ xid: 2, op: "unknown", code: 102, bytes: Buffer.from([0, 0, 0, 2, 1, 2]) }),
      encodeRequest({ xid: 3, op: "unknown", code: 104, bytes: Buffer.from([0, 0, 0, 1, 47]) }),
      encodeRequest({ xid: -4, op: "auth", kind: 0, scheme: "digest", credentials: Buffer.from("a:b") }),
      encodeRequest({ xid: -2, op: "ping" }),
      Buffer.from([0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 1, 99]), // a create that ends too early
    ];
    for (const request of requests) wire.say(request);
    assert.deepEqual(Buffer.concat(wire.ensemble.received), Buffer.concat(requests));
    const replies = [
      encodeReply({ xid: -2, zxid: 10n, error: 0 }),
      encodeReply({ xid: -4, zxid: 10n, error: -115 }),
      encodeReply({ xid: 1, zxid: 10n, error: 0 }, { kind: "path", path: "whatever" }),
      encodeEvent({ type: 3, state: 3, path: "/config/x" }),
      encodeEvent({ type: -1, state: 5, path: "" }),
      encodeReply({ xid: 2, zxid: 11n, error: -122 }),
      encodeReply({ xid: 3, zxid: 12n, error: 0 }, { kind: "error", code: 7 }),
      Buffer.from([0, 0, 0, 2, 1, 1]), // what no reply looks like
      encodeReply({ xid: 4, zxid: 13n, error: -5 }),
      encodeReply({ xid: 99, zxid: 13n, error: 0 }), // that nobody has asked for
    ];
    for (const reply of replies) wire.ensemble.say(reply);
    assert.deepEqual(Buffer.concat(wire.sent), Buffer.concat(replies));
  });

  it("passes words of four letters to the server and its answer back", () => {
    const wire = new Wire();
    wire.say(Buffer.from("ruok"));
    assert.deepEqual(wire.ensemble.received, [Buffer.from("ruok")]);
    wire.ensemble.say(Buffer.from("imok"));
    wire.ensemble.cut();
    assert.deepEqual(wire.sent, [Buffer.from("imok")]);
    assert.equal(wire.closed, true);
  });

  it("closes the one side when the other is gone, after what came before", async () => {
    const one = await new Wire().open();
    one.say(encodeRequest({ xid: 1, op: "sync", path: "/" }));
    one.ensemble.say(encodeReply({ xid: 1, zxid: 1n, error: 0 }, { kind: "path", path: "/" }));
    one.ensemble.cut();
    assert.equal(one.sent.length, 1);
    assert.equal(one.closed, true);
    const other = await new Wire().open();
    other.connection.closed();
    assert.equal(other.ensemble.closed, true);
  });

  it("closes when somebody does not read, when too much waits, and on what is no record", async () => {
    const slow = await new Wire(new BeforeFixture({ queuedBytes: 100 })).open();
    slow.queuedBytes = 101;
    slow.ensemble.say(encodeEvent({ type: 3, state: 3, path: "/x" }));
    assert.equal(slow.closed, true);
    const stuck = await new Wire(new BeforeFixture({ queuedBytes: 100 })).open();
    stuck.ensemble.queuedBytes = 101;
    stuck.say(encodeRequest({ xid: 1, op: "sync", path: "/" }));
    assert.equal(stuck.closed, true);
    const long = await new Wire(new BeforeFixture({ recordBytes: 100 })).open();
    long.say(Buffer.from([0, 0, 1, 0]));
    assert.equal(long.closed, true);
    const early = new Wire(new BeforeFixture({ waitingRequests: 3 }));
    early.say(connect(0n, false));
    for (let xid = 1; xid <= 4; xid += 1) early.say(encodeRequest({ xid, op: "sync", path: "/" }));
    assert.equal(early.closed, true);
    const silent = new Wire();
    await silent.fixture.clock.advance(10_000);
    assert.equal(silent.closed, true);
    const partial = await new Wire(new BeforeFixture({ partialBytes: 10 })).open();
    partial.say(Buffer.from([0, 0, 0, 90, ...Buffer.alloc(20)]));
    assert.equal(partial.closed, true);
    assert.equal(partial.fixture.logged.length, 1);
  });
});

const names = [dubboName("10.0.0.1", 20_880), dubboName("10.0.0.2", 20_880), dubboName("10.9.9.9", 15_002)];
const discovery = [
  providers,
  ...names.map((name) => `${providers}/${name}`),
  "/services/shop",
  "/services/shop/10.0.0.1:20880",
];
const plain = ["/locks", "/locks/a", "/config/x", "/dubbo/config/y", "/locks/sequence-"];
const path = (paths: readonly string[]) => fc.constantFrom(...paths);

function arbitraryBody(paths: readonly string[]): fc.Arbitrary<RequestBody> {
  const data = fc.constantFrom(Buffer.from("a"), Buffer.from("b"), undefined);
  const plainRecord = { noNullPrototype: true };
  return fc.oneof(
    fc.record(
      { op: fc.constantFrom("exists" as const, "getData" as const), path: path(paths), watch: fc.boolean() },
      plainRecord,
    ),
    fc.record(
      {
        op: fc.constant("getChildren" as const),
        code: fc.constantFrom(8 as const, 12 as const),
        path: path(paths),
        watch: fc.boolean(),
      },
      plainRecord,
    ),
    fc.record(
      {
        op: fc.constant("create" as const),
        code: fc.constantFrom(1 as const, 15 as const),
        path: path(paths),
        data,
        acl: fc.constant(openAcl),
        flags: fc.constantFrom(0, 1),
        ttl: fc.constant(0n),
      },
      plainRecord,
    ),
    fc.record({ op: fc.constant("delete" as const), path: path(paths), version: fc.constantFrom(-1, 0) }, plainRecord),
    fc.record({ op: fc.constant("setData" as const), path: path(paths), data, version: fc.constant(-1) }, plainRecord),
    fc.record({ op: fc.constantFrom("getAcl" as const, "sync" as const), path: path(paths) }, plainRecord),
    fc.record(
      {
        op: fc.constant("unknown" as const),
        code: fc.integer({ min: 200, max: 210 }),
        bytes: fc.constant(Buffer.from("zz")),
      },
      plainRecord,
    ),
  );
}

/** Cuts a stream into pieces of these sizes, over and over. */
function pieces(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const all: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] as number;
    all.push(bytes.subarray(at, at + size));
    at += size;
  }
  return all;
}

describe("laws of the door before an ensemble", () => {
  it("is the identity on what is no discovery, however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(arbitraryBody(plain), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 }),
        async (bodies, sizes) => {
          const wire = await new Wire().open();
          const requests = bodies.map((body, index) => encodeRequest({ xid: index + 1, ...body } as Request));
          for (const piece of pieces(Buffer.concat(requests), sizes)) wire.say(piece);
          assert.deepEqual(Buffer.concat(wire.ensemble.received), Buffer.concat(requests));
          const replies = requests.map((_, index) => encodeReply({ xid: index + 1, zxid: 5n, error: -101 }));
          for (const piece of pieces(Buffer.concat(replies), sizes)) wire.ensemble.say(piece);
          assert.deepEqual(Buffer.concat(wire.sent), Buffer.concat(replies));
          wire.connection.closed();
        },
      ),
      { numRuns: 150 },
    );
  });

  it("answers each request exactly once and in order, whatever is asked, moved and changed in between", async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: arbitraryBody([...discovery, ...plain]).map((body) => ({ kind: "ask" as const, body })) },
      { weight: 4, arbitrary: fc.integer({ min: 1, max: 3 }).map((most) => ({ kind: "run" as const, most })) },
      {
        weight: 1,
        arbitrary: fc
          .constantFrom("direct" as const, "both" as const, "mesh" as const)
          .map((state) => ({ kind: "consume" as const, state })),
      },
      {
        weight: 1,
        arbitrary: fc
          .constantFrom("both" as const, "mesh" as const, "direct" as const)
          .map((state) => ({ kind: "provide" as const, state })),
      },
      { weight: 1, arbitrary: fc.constantFrom(...names).map((name) => ({ kind: "other" as const, name })) },
      { weight: 1, arbitrary: fc.constant({ kind: "settle" as const }) },
      { weight: 1, arbitrary: fc.constant({ kind: "resume" as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const fixture = new BeforeFixture();
        const { ensemble, door } = fixture;
        ensemble.put(`${providers}/${names[1]}`);
        ensemble.put("/services/shop", 0n);
        const client = await fixture.client();
        const session = (client.connected?.sessionId ?? 0n).toString(16);
        client.create(`${providers}/${names[0]}`, 1);
        await fixture.settle();
        let now = client;
        let asked: number[] = [];
        client.said.length = 0;
        ensemble.paused = true;
        const commands: Promise<unknown>[] = [];
        const check = (): void => {
          const replied = now.said.flatMap((said) => ("reply" in said ? [said.reply.xid] : []));
          assert.deepEqual(replied, asked.slice(0, replied.length));
        };
        for (const one of steps) {
          if (one.kind === "ask") asked.push(now.send(one.body, kindFor(one.body)));
          else if (one.kind === "run") ensemble.newest.run(one.most);
          else if (one.kind === "consume") commands.push(door.consume(session, one.state).catch(() => undefined));
          else if (one.kind === "provide") {
            const registered = door.registrations()[0];
            if (registered !== undefined)
              commands.push(door.provide(registered.path, one.state).catch(() => undefined));
          } else if (one.kind === "other") {
            const at = `${providers}/${one.name}`;
            if (!ensemble.nodes.has(at)) ensemble.put(at);
            else if (ensemble.nodes.get(at)?.owner === 1n) ensemble.delete(at);
          } else if (one.kind === "settle") await fixture.settle();
          else {
            check();
            now.drop();
            ensemble.paused = false;
            now = await fixture.client(client.identity);
            ensemble.paused = true;
            asked = [];
          }
          check();
        }
        ensemble.paused = false;
        for (let turn = 0; turn < 20; turn += 1) {
          ensemble.newest.run();
          await fixture.clock.advance(100);
        }
        check();
        const replied = now.said.flatMap((said) => ("reply" in said ? [said.reply.xid] : []));
        assert.deepEqual(replied, asked);
        assert.equal(now.closed, false);
        await fixture.clock.advance(30_000);
        await Promise.all(commands);
      }),
      { numRuns: 150 },
    );
  });
});

function kindFor(body: RequestBody) {
  switch (body.op) {
    case "create":
      return body.code === 1 ? "path" : "created";
    case "exists":
    case "setData":
      return "stat";
    case "getData":
      return "data";
    case "getChildren":
      return body.code === 8 ? "children" : "children2";
    case "getAcl":
      return "acl";
    case "sync":
      return "path";
    default:
      return "none";
  }
}
