import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { CrossingFigures } from "@dualmesh/model/crossing";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import { maxRestarts } from "./feed.ts";
import { TestCaptures, TestConnection, type TestEnd } from "./testing.ts";
import { openWatch } from "./watch.ts";
import { defaultWatchBounds, type Watching, type WatchOptions, type WatchVerdict } from "./watching.ts";

const service = "dubbo/fx.Greeter:1.2:blue";
const direct = { host: "10.0.0.5", port: 20_880 };
const published = { host: "10.0.0.5", port: 20_881 };
const outbound = { host: "127.0.0.1", port: 20_882 };
const remote = { host: "10.0.0.7", port: 20_880 };
const caller = { host: "10.0.0.9", port: 41_000 };

const options: WatchOptions = {
  host: undefined,
  figures: async () => [],
  provided: [{ service, protocol: "dubbo", direct, published }],
  consumed: [],
  bounds: defaultWatchBounds,
};

interface World {
  readonly clock: FakeClock;
  readonly captures: TestCaptures;
  readonly watch: Watching;
  /** One call; its answer is shown when it is due. */
  call(
    connection: TestConnection,
    answer: { readonly ms: number; readonly status?: number; readonly path?: string },
  ): void;
  connect(from: TestEnd, to: TestEnd): TestConnection;
  /** Calls on `connection`, 50 a second for `ms`. */
  run(
    connection: TestConnection,
    ms: number,
    answer: (call: number) => { readonly ms: number; readonly status?: number },
  ): Promise<void>;
  /** What the watch has found, if anything. */
  verdict(): WatchVerdict | undefined;
}

function open(given: Partial<WatchOptions> = {}): World {
  const clock = new FakeClock();
  const captures = new TestCaptures();
  const watch = openWatch({ ...options, host: captures.host, ...given }, { clock, log: silentLog });
  let verdict: WatchVerdict | undefined;
  let id = 0;
  let sequence = 1_000;
  const world: World = {
    clock,
    captures,
    watch,
    verdict: () => verdict,
    call(connection, { ms, status = 20, path = "fx.Greeter" }) {
      const call = { path, version: "1.2", method: "sayHello", attachments: [] };
      const mine = ++id;
      captures.show([connection.request(dubboBytes(0xc2, 0, 0, mine, hessianCall(call)), clock.wall())]);
      const answer = (): void =>
        captures.show([connection.reply(dubboBytes(2, status, 0, mine, Buffer.from([0x91])), clock.wall())]);
      clock.after(ms, answer);
    },
    connect(from, to) {
      sequence += 100_000;
      const connection = new TestConnection(from, to, [sequence, sequence + 50_000]);
      captures.show(connection.handshake(clock.wall()));
      return connection;
    },
    async run(connection, ms, answer) {
      for (let call = 0; call < ms / 20; call++) {
        world.call(connection, answer(call));
        await clock.advance(20);
      }
    },
  };
  void watch.verdict.then((found) => {
    verdict = found;
  });
  return world;
}

/** Calls of before: 5 s of 2 ms each. */
async function measured(world: World, to = direct, from = caller): Promise<TestConnection> {
  const measuring = world.watch.measureBefore(5_000, new AbortController().signal);
  await world.clock.advance(0);
  const connection = world.connect(from, to);
  await world.run(connection, 5_000, () => ({ ms: 2 }));
  await measuring;
  return connection;
}

describe("a watch", () => {
  it("counts calls before and since, each once, and leaves those alone that are as before", async () => {
    const world = open();
    const before = await measured(world);
    world.watch.start();
    const since = world.connect(caller, published);
    // Behind each call the sidecar makes one of its own, from this host.
    const own = world.connect({ host: "10.0.0.5", port: 5_000 }, direct);
    for (let call = 0; call < 200; call++) {
      world.call(since, { ms: 8 });
      world.call(own, { ms: 5 });
      if (call < 50) world.call(before, { ms: 2 });
      await world.clock.advance(20);
    }
    await world.clock.advance(2_000);
    assert.equal(world.verdict(), undefined);
    const { before: first, since: second, unseen } = world.watch.summary();
    assert.deepEqual([first[0]?.calls, first[0]?.failed, second[0]?.calls, second[0]?.failed], [250, 0, 250, 0]);
    assert.ok((second[0]?.p50Ms ?? 0) > 7.9 && (second[0]?.p50Ms ?? 0) < 8.5);
    assert.deepEqual(unseen, []);
    await world.watch.close();
    assert.ok(world.captures.captures.every(({ isClosed }) => isClosed));
  });

  it("says within 3 s that calls fail, and with which figures", async () => {
    const world = open();
    await measured(world);
    world.watch.start();
    const random = seededRandom(Number(process.env["SEED"] ?? 5));
    await world.run(world.connect(caller, published), 10_000, () => ({ ms: 2, status: random.next() < 0.2 ? 80 : 20 }));
    assert.match(
      world.verdict()?.reason ?? "",
      /^dubbo\/fx\.Greeter:1\.2:blue, provided: \d+ of \d+ calls failed .*; before, 0 of 250$/,
    );
    await world.watch.close();
  });

  it("says so at five failures when nothing else is called", async () => {
    const world = open();
    await measured(world);
    world.watch.start();
    const connection = world.connect(caller, published);
    await world.run(connection, 80, () => ({ ms: 2, status: 80 }));
    await world.clock.advance(300);
    assert.equal(world.verdict(), undefined, "four prove nothing");
    await world.run(connection, 20, () => ({ ms: 2, status: 80 }));
    await world.clock.advance(300);
    assert.match(world.verdict()?.reason ?? "", /5 of 5 calls failed/);
    await world.watch.close();
  });

  it("says within 3 s that calls take longer, also when they have no answer at all", async () => {
    for (const ms of [210, 1_000_000]) {
      const world = open();
      await measured(world);
      world.watch.start();
      const connection = world.connect(caller, published);
      await world.run(connection, 1_000, () => ({ ms: 2 }));
      assert.equal(world.verdict(), undefined);
      await world.run(connection, 3_000, () => ({ ms }));
      assert.match(
        world.verdict()?.reason ?? "",
        /took 50 ms longer than .* of their kind before, or wait for their answers; the median of all was 2/,
      );
      await world.watch.close();
    }
  });

  it("judges what the application consumes at the sidecar's outbound address, by the name in each request", async () => {
    const other = "dubbo/fx.Other:1.2:";
    const consumed = [service, other].map((of) => ({ service: of, protocol: "dubbo", direct: [remote], outbound }));
    const world = open({ provided: [], consumed });
    const before = await measured(world, remote, { host: "10.0.0.5", port: 42_000 });
    world.call(before, { ms: 1, path: "fx.Other" });
    world.call(before, { ms: 1, path: "fx.Unwatched" });
    await world.clock.advance(100);
    world.watch.start();
    const since = world.connect({ host: "127.0.0.1", port: 43_000 }, outbound);
    for (let call = 0; call < 60; call++) {
      world.call(since, { ms: 2 });
      world.call(since, { ms: 2, path: "fx.Other", status: call % 3 === 0 ? 80 : 20 });
      await world.clock.advance(20);
    }
    await world.clock.advance(300);
    const { before: first, since: second } = world.watch.summary();
    assert.deepEqual(
      first.map(({ calls }) => calls),
      [250, 1],
    );
    assert.deepEqual(
      second.map(({ calls, failed }) => [calls, failed]),
      [
        [60, 0],
        [60, 20],
      ],
    );
    assert.match(world.verdict()?.reason ?? "", /^dubbo\/fx\.Other:1\.2:, consumed: /);
    await world.watch.close();
  });

  it("counts a call without a name for each service at its address", async () => {
    const provided = ["dubbo/fx.Greeter:1.2:blue", "dubbo/fx.Other::"].map((of) => ({
      service: of,
      protocol: "dubbo",
      direct,
      published,
    }));
    const world = open({ provided });
    const measuring = world.watch.measureBefore(1_000, new AbortController().signal);
    await world.clock.advance(0);
    const connection = world.connect(caller, direct);
    // Serialised in a way that hides the name.
    world.captures.show([connection.request(dubboBytes(0xc6, 0, 0, 1, Buffer.from("??")), world.clock.wall())]);
    world.captures.show([connection.reply(dubboBytes(6, 20, 0, 1, Buffer.from("??")), world.clock.wall())]);
    await world.clock.advance(1_000);
    await measuring;
    assert.deepEqual(
      world.watch.summary().before.map(({ calls }) => calls),
      [1, 1],
    );
    await world.watch.close();
  });

  it("without a capture says so, and believes the sidecar", async () => {
    let failed = 0;
    const figures = async (): Promise<readonly CrossingFigures[]> => [
      {
        direction: "inbound",
        source: "a",
        service,
        protocol: "dubbo",
        results: { ok: 100, timeout: failed },
        boundsMs: [10],
        counts: [100, failed],
        sumMs: 0,
      },
    ];
    const refusing = new TestCaptures();
    refusing.why = "tcpdump is not installed";
    for (const host of [undefined, refusing.host]) {
      failed = 0;
      const world = open({ host, figures });
      const measuring = world.watch.measureBefore(1_000, new AbortController().signal);
      await world.clock.advance(1_000);
      await measuring;
      world.watch.start();
      await world.clock.advance(2_000);
      assert.equal(world.verdict(), undefined);
      failed = 40;
      await world.clock.advance(1_000);
      assert.match(world.verdict()?.reason ?? "", /as its sidecar counts: 40 of 40 calls failed/);
      assert.equal(world.watch.summary().since[0]?.failed, 40);
      assert.match(
        world.watch.summary().unseen.join(),
        host === undefined ? /cannot be looked at/ : /tcpdump is not installed/,
      );
      await world.watch.close();
    }
  });

  it("tells in words that a sidecar was away, and once", async () => {
    const world = open({
      figures: async () => {
        throw new MeshError("control.unreachable", "nothing answers at /x/control.sock: connect ENOENT");
      },
    });
    await measured(world);
    await world.clock.advance(3_000);
    assert.deepEqual(world.watch.summary().unseen, [
      "the sidecar did not say what it counted: it was not there for a while",
    ]);
    await world.watch.close();
  });

  it("tells which services only the sidecar can judge, and what it could not read", async () => {
    const world = open({
      provided: [{ service: "tri/fx.Greeter::", protocol: "tri", direct, published }, ...options.provided],
      consumed: [{ service, protocol: "dubbo", direct: [{ host: "db.example", port: 1 }], outbound }],
      figures: async () => {
        throw new Error("no such socket");
      },
    });
    await measured(world);
    const strange = world.connect(caller, published);
    world.captures.show([strange.request(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), world.clock.wall())]);
    assert.deepEqual(world.watch.summary().unseen, [
      "calls of tri/fx.Greeter:: are judged by the sidecar's own figures alone (tri)",
      "calls to db.example are not seen: it is no IP address",
      "the sidecar did not say what it counted: no such socket",
      "what is sent to 10.0.0.5:20881 is neither Bolt nor Dubbo in the clear, and is not counted",
    ]);
    await world.watch.close();
  });

  it("begins a capture anew that ends by itself, three times, and takes nothing that it missed for a failure", async () => {
    const world = open();
    await measured(world);
    world.watch.start();
    for (let round = 0; round <= maxRestarts; round++) {
      const connection = world.connect({ host: "10.0.0.9", port: 44_000 + round }, published);
      for (let call = 0; call < 20; call++) world.call(connection, { ms: 100_000 });
      const last = world.captures.captures.at(-1);
      // The second one gives what is no capture.
      if (round === 1) last?.options.onBytes(Buffer.alloc(64, 0xff));
      else last?.options.onEnd("killed");
      last?.options.onEnd("once more");
      await world.clock.advance(1_000);
    }
    assert.equal(world.captures.captures.length, maxRestarts + 1);
    assert.ok(world.captures.captures.every(({ isClosed }) => isClosed));
    const { since, unseen } = world.watch.summary();
    assert.equal(since[0]?.failed, 0);
    assert.equal(unseen.filter((why) => /ended by itself \(killed\)/.test(why)).length, 2);
    assert.match(unseen.join(), /is no capture that can be read/);
    assert.match(unseen.join(), /and is not started anew/);
    assert.equal(world.verdict(), undefined);
    await world.watch.close();
  });

  it("ends its capture when it is closed, also while that begins, and when measuring is given up", async () => {
    const world = open();
    const giveUp = new AbortController();
    const measuring = world.watch.measureBefore(60_000, giveUp.signal);
    await world.clock.advance(10);
    giveUp.abort(new Error("never mind"));
    await assert.rejects(measuring, /never mind/);
    await world.watch.close();
    assert.ok(world.captures.captures.every(({ isClosed }) => isClosed));
    const early = open();
    early.watch.start();
    await early.watch.close();
    assert.ok(early.captures.captures.every(({ isClosed }) => isClosed));
  });

  it("does not wait for a capture that does not begin, or a sidecar that does not answer, when measuring is given up", async () => {
    const never = new Promise<never>(() => undefined);
    const stuck: readonly Partial<WatchOptions>[] = [
      { host: { ...new TestCaptures().host, capture: () => never } },
      { figures: () => never },
    ];
    for (const given of stuck) {
      const world = open(given);
      const giveUp = new AbortController();
      const measuring = world.watch.measureBefore(60_000, giveUp.signal);
      await world.clock.advance(10);
      giveUp.abort(new Error("never mind"));
      await assert.rejects(measuring, /never mind/);
    }
  });
});
