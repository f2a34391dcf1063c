/**
 * Running, unmodified applications are moved into the mesh and back through a real sidecar, whose directory is their own ZooKeeper: no call
 * is lost, no subscriber of the ensemble sees an empty list, and a sidecar that is killed meanwhile goes on where it was. One framework for each
 * commit (`move/seed.ts`).
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import { CrossingWorld } from "./crossing-world.ts";
import { buildFixtures } from "./fixtures.ts";
import { moveSeed, sampleOf } from "./move/seed.ts";
import { machineAddress } from "./product.ts";
import { eventually, type Program } from "./program.ts";
import { Recorder } from "./recorder.ts";
import { takeTurn } from "./turn.ts";
import { freePort } from "./world.ts";

interface Framework {
  readonly fixture: "dubbo27" | "dubbo3" | "sofarpc";
  readonly service: string;
  readonly root: string;
  /** What the consumer that is moved provides as well. Its own service a Dubbo process would call within itself. */
  readonly provides?: string;
}

const frameworks: readonly Framework[] = [
  { fixture: "dubbo27", service: "interop.ledger.Dubbo27Sdk", root: "dubbo" },
  {
    fixture: "dubbo3",
    service: "interop.ledger.Dubbo3Sdk",
    root: "dubbo",
    provides: "interop.ledger.Dubbo3Mesh",
  },
  { fixture: "sofarpc", service: "interop.ledger.SofaRpcSdk", root: "sofa-rpc" },
];

/** How long after the sidecar is back the SDKs take at most to connect again, by timers of their own. */
const recoveryMs = { dubbo27: 3_000, dubbo3: 7_000, sofarpc: 13_000 } as const;
const ratePerSecond = 50;

interface Call {
  readonly at: number;
  readonly error: string | undefined;
}

const callsOf = (program: Program): readonly Call[] =>
  program.said.flatMap((line) =>
    typeof line["call"] === "number" ? [{ at: line["call"], error: line["error"] as string | undefined }] : [],
  );

/** Calls that failed, of those that began in a span of wall time. */
const failed = (programs: readonly Program[], from: number, to = Number.POSITIVE_INFINITY): readonly string[] =>
  programs.flatMap((program) =>
    callsOf(program).flatMap(({ at, error }) =>
      error === undefined || at < from || at > to ? [] : [`${program.name} ${at} ${error}`],
    ),
  );

const succeeded = (program: Program): number => callsOf(program).filter(({ error }) => error === undefined).length;

/** What was called meanwhile, by whom, and what of it the sidecar carried. */
async function meanwhile(world: CrossingWorld, programs: readonly Program[], ms: number) {
  const before = { carried: await world.carried(), calls: programs.map(succeeded) };
  await sleep(systemClock, ms);
  const after = { carried: await world.carried(), calls: programs.map(succeeded) };
  const grown = (key: string): number => (after.carried[key] ?? 0) - (before.carried[key] ?? 0);
  return {
    outbound: grown("outbound ok"),
    inbound: grown("inbound ok"),
    calls: after.calls.map((count, index) => count - (before.calls[index] ?? 0)),
  };
}

for (const { fixture, service, root, provides } of sampleOf(frameworks, 1)) {
  test(`a running provider and consumer of ${fixture} go into the mesh and back, over the death of their sidecar`, async (t) => {
    t.diagnostic(`MOVE_SEED=${moveSeed}`);
    using _turn = await takeTurn();
    const missing = buildFixtures();
    if (missing !== undefined) return t.skip(missing);
    const began = systemClock.now();
    await using world = new CrossingWorld();
    await world.startEnsemble();
    const [appPort, otherPort] = [await freePort(), await freePort()];
    const registered = provides === undefined ? 3 : 6;
    const [sidecar, provider] = await Promise.all([
      world.startSidecar(),
      world.startBehindPasser("provider", fixture, "Provider", { provider: "one", service, port: String(appPort) }),
    ]);
    const [moved, observer] = await Promise.all([
      provides === undefined
        ? world.startBehindPasser("consumer", fixture, "Consumer")
        : world.startBehindPasser("consumer", fixture, "Both", {
            provider: "two",
            service: provides,
            port: String(otherPort),
          }),
      world.startApplication("observer", fixture, "Consumer"),
    ]);
    const consumers = [moved, observer];
    try {
      for (const consumer of consumers) assert.equal((await consumer.ask(`pump ${service} ${ratePerSecond}`)).ok, true);
      await eventually("calls go through", 30_000, () => consumers.every((one) => succeeded(one) > ratePerSecond));
      const start = systemClock.wall();
      const list = `/${root}/${service}/providers`;
      using recorder = await Recorder.start(world.ensemble, list);
      await recorder.sees(appPort);
      const note = (what: string): void => t.diagnostic(`${what} after ${Math.round(systemClock.now() - began)} ms`);
      note("ready");

      await Promise.all([world.enter("provider"), world.enter("consumer")]);
      await eventually("the sessions are resumed through the sidecar", 30_000, async () => {
        const [of, by] = [await world.crossing("provider"), await world.crossing("consumer")];
        // Dubbo 3 reads its lists again only when something has changed.
        const read = fixture === "dubbo3" || by.sessions.some(({ lists }) => lists.includes(list));
        const all = of.registrations.length + by.registrations.length === registered;
        return all && by.sessions.some(({ connected }) => connected) && read;
      });
      assert.deepEqual(recorder.hear().history, [], "nothing was written again");
      note("resumed");
      const [provided, consumed, own] = await Promise.all([
        world.control("provide", { name: "provider", to: "mesh" }),
        world.control("consume", { name: "consumer", to: "mesh" }),
        world.control("provide", { name: "consumer", to: "mesh" }),
      ]);
      note("in");
      assert.deepEqual(
        [...provided.registrations, ...own.registrations].map(({ state, bypassed, published }) => [
          state,
          bypassed,
          published,
        ]),
        Array(registered).fill(["mesh", "", `${machineAddress()}:${world.inbound}`]),
      );
      assert.ok(consumed.sessions.some(({ consumes }) => consumes === "mesh"));
      await recorder.sees(world.inbound);
      t.diagnostic(`in the mesh: ${await carriedAll(world, consumers)}`);
      assert.deepEqual(failed(consumers, start), [], "no call failed on the way in");
      if (fixture === "dubbo3") {
        for (const name of ["provider", "consumer"])
          assert.equal(await metadataOf(name, world.inbound), name, "each application answers for itself");
        assert.match(await metadataOf("nobody", world.inbound), /is not provided here/);
      }

      const killed = systemClock.wall();
      await sidecar.end();
      await world.startSidecar();
      note("restarted");
      await eventually("the sessions come through the new process", 20_000, async () =>
        (await Promise.all(["provider", "consumer"].map((name) => world.crossing(name)))).every(
          ({ provides, consumes, sessions, name }) =>
            (name === "provider" ? provides : consumes) === "mesh" && sessions.some(({ connected }) => connected),
        ),
      );
      const back = systemClock.wall();
      await sleep(systemClock, recoveryMs[fixture]);
      const last = Math.max(
        back,
        ...consumers.flatMap((one) => callsOf(one).flatMap(({ at, error }) => (error ? [at] : []))),
      );
      t.diagnostic(`the last call failed ${last - back} ms after the sidecar was back`);
      const restarted = systemClock.wall();
      t.diagnostic(`after the restart: ${await carriedAll(world, consumers)}`);
      const states = (await world.crossing("provider")).registrations.map(({ state }) => state);
      assert.deepEqual(states, ["mesh", "mesh", "mesh"]);

      await Promise.all([
        world.control("consume", { name: "consumer", to: "direct" }),
        world.control("provide", { name: "provider", to: "direct" }),
        world.control("provide", { name: "consumer", to: "direct" }),
      ]);
      note("out");
      await recorder.sees(appPort);
      await Promise.all([world.leave("provider"), world.leave("consumer")]);
      await eventually("nobody calls through the sidecar any more", 20_000, async () => {
        const { outbound, inbound } = await meanwhile(world, consumers, 500);
        return outbound + inbound === 0;
      });
      note("left");
      await sleep(systemClock, 2_000);
      for (const consumer of consumers) assert.equal((await consumer.ask("stop")).ok, true);
      t.diagnostic(`calls: ${consumers.map((one) => callsOf(one).length).join(" and ")}`);
      t.diagnostic(`failed around the kill: ${failed(consumers, killed - 3_000, restarted).length}`);
      t.diagnostic(`list: ${recorder.hear().history.join(", ")}`);
      assert.equal(recorder.emptied, 0, "no subscriber saw a service without a provider");
      assert.deepEqual(failed(consumers, start, killed - 3_000), []);
      assert.deepEqual(failed(consumers, restarted), [], "once it is back, no call fails, and none on the way out");
      assert.equal(provider.running, true);
    } catch (error) {
      t.diagnostic(world.tails());
      t.diagnostic(failed(consumers, 0).slice(0, 10).join("\n"));
      throw error;
    }
  });
}

/** Asks at a published port what application answers as Dubbo's metadata service of a group. */
async function metadataOf(application: string, port: number): Promise<string> {
  const name = "org.apache.dubbo.metadata.MetadataService";
  const attachments = Object.entries({ path: name, interface: name, version: "1.0.0", group: application });
  const call = hessianCall({ path: name, version: "1.0.0", method: "serviceName", attachments });
  const socket = connect({ host: machineAddress(), port });
  try {
    socket.write(dubboBytes(requestWithHessian, 0, 0, 1, call));
    const [answer] = (await once(socket, "data")) as [Buffer];
    // Behind the head a number says what follows; a text has its length before it.
    const [, length = 0] = answer.subarray(headBytes);
    return answer.subarray(headBytes + 2).toString("latin1", 0, answer[3] === ok ? length : undefined);
  } finally {
    socket.destroy();
  }
}

const headBytes = 16;
const ok = 20;
/** A request that wants an answer, in Hessian 2. */
const requestWithHessian = 0xc2;

/**
 * Resolves, with what was counted, once both consumers are called for by the provider's published port, and the one that was moved calls at
 * the outbound port. Dubbo 3 takes a second change of a list some 5 s late.
 */
async function carriedAll(world: CrossingWorld, consumers: readonly Program[]): Promise<string> {
  let counted = "";
  await eventually("all calls pass the sidecar", 20_000, async () => {
    const { outbound, inbound, calls } = await meanwhile(world, consumers, 1_500);
    const [moved = 0, observer = 0] = calls;
    counted = `${outbound} outbound of ${moved}, ${inbound} inbound of ${moved + observer}`;
    return isAbout(outbound, moved) && isAbout(inbound, moved + observer);
  }).catch((error: Error) => {
    throw new Error(`${error.message}: ${counted}`);
  });
  return counted;
}

const isAbout = (figure: number, calls: number): boolean => calls > 0 && Math.abs(figure - calls) < 0.1 * calls;
