/** What holds of the face whatever happens: found by random stories in simulated time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import type { Publication } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import fc from "fast-check";
import { CarriedProtocols } from "./carriage.ts";
import { Shown } from "./shown.ts";
import { dubbo, greeter, openWorld } from "./testing.ts";

const appPort = fc.integer({ min: 1, max: 4 });
const pauseMs = fc.constantFrom(0, 1, 100, 700, 3_000, 12_000, 40_000);

test("law: what is published is what is registered and accepts, once everything is quiet", async () => {
  const step = fc.record({
    kind: fc.constantFrom("publish", "withdraw", "update", "accept", "refuse"),
    appPort,
    weight: fc.integer({ min: 1, max: 9 }),
    pauseMs,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { clock, directory, face, accepting } = openWorld();
      const registered = new Map<number, { weight: number; publication: Promise<Publication | undefined> }>();
      for (const { kind, appPort, weight, pauseMs } of steps) {
        const known = registered.get(appPort);
        if (kind === "accept") accepting.add(`127.0.0.1:${appPort}`);
        if (kind === "refuse") accepting.delete(`127.0.0.1:${appPort}`);
        if (kind === "publish") {
          const publication = face.publish(dubbo({ appPort, weight })).catch(() => undefined);
          registered.set(appPort, { weight, publication });
        }
        if (kind === "update" && known !== undefined) {
          // A door updates what it has been given; before that it has nothing to update.
          const update = dubbo({ appPort, weight: known.weight });
          void known.publication
            .then((publication) => publication?.update(update))
            .catch((error: unknown) => assert.ok(isMeshError(error, "publish.superseded"), String(error)));
        }
        if (kind === "withdraw" && known !== undefined) {
          registered.delete(appPort);
          void known.publication.then((publication) => publication?.withdraw());
        }
        await clock.advance(pauseMs);
      }
      await clock.advance(20_000);
      const published = new Set(directory.instances().map((one) => one.appPort));
      for (const [port] of registered) {
        if (accepting.has(`127.0.0.1:${port}`)) assert.ok(published.has(port), `${port} accepts and is not published`);
      }
      for (const port of published) assert.ok(registered.has(port), `${port} is published and not registered`);
      const ports = directory.instances().map((one) => one.port);
      assert.equal(new Set(ports).size, ports.length, "each second provider has a port of its own");
      const inbound = face.inbound().flatMap((one) => one.services.map((service) => `${one.port} ${service.appPort}`));
      for (const { port, appPort } of directory.instances()) assert.ok(inbound.includes(`${port} ${appPort}`));
      face.close();
    }),
    { numRuns: 60 },
  );
});

test("law: a subscriber always has an address, and keeps one that still answers over every change", () => {
  const loopback = { host: "127.0.0.1", port: 20_882 };
  const instance = (host: string, carried: boolean): Instance =>
    dubbo({ host, mode: carried ? "mesh" : "sdk", port: 20_880, bypassed: carried ? "" : "a reason" });
  const step = fc.record({
    present: fc.array(fc.record({ host: fc.constantFrom("a", "b", "c"), carried: fc.boolean() }), { maxLength: 3 }),
    pauseMs,
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const shown = new Shown(greeter, loopback, new CarriedProtocols());
      let now = 0;
      let before: ReadonlySet<string> | undefined;
      for (const { present, pauseMs } of steps) {
        const instances = [...new Map(present.map((one) => [one.host, instance(one.host, one.carried)])).values()];
        shown.update({ service: greeter, instances, freshSince: 1 });
        const hosts = new Set(shown.view(now).instances.map((one) => one.address));
        assert.ok(hosts.size > 0);
        for (const one of instances) if (one.bypassed !== "") assert.ok(hosts.has(one.address));
        if (instances.some((one) => one.mode === "mesh") || instances.length === 0) assert.ok(hosts.has("127.0.0.1"));
        const alive = new Set([...instances.map((one) => one.address), "127.0.0.1"]);
        const kept = [...(before ?? [])].filter((host) => alive.has(host));
        if (before !== undefined && kept.length > 0) {
          assert.ok(
            kept.some((host) => hosts.has(host)),
            `${[...before]} became ${[...hosts]} in one step`,
          );
        }
        now += pauseMs;
        const later = shown.view(now);
        assert.ok(later.changesAt === undefined || later.changesAt > now, "time has come and nothing changed");
        before = new Set(later.instances.map((one) => one.address));
        if (pauseMs < 6_000) continue;
        const final = new Set(instances.filter((one) => one.bypassed !== "").map((one) => one.address));
        if (instances.some((one) => one.mode === "mesh") || instances.length === 0) final.add("127.0.0.1");
        assert.deepEqual(before, final, "what was former is gone after the overlap");
      }
    }),
  );
});
