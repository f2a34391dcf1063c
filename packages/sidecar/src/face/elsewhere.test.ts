import assert from "node:assert/strict";
import { test } from "node:test";
import { dubbo, greeter, openWorld } from "./testing.ts";

const host = "192.0.2.2";

test("an instance that its application publishes itself is carried, where the application accepts", async () => {
  const { face, clock, accepting, opened, directory } = openWorld();
  accepting.add(`${host}:20880`);
  const carried = face.carry(dubbo(), host);
  assert.deepEqual(carried.published, { host, port: 20_881 }, "known before it listens");
  const inForce = carried.inForce();
  await clock.advance(400);
  await inForce;
  assert.deepEqual(opened, [`${host}:20881`]);
  assert.deepEqual(
    face.inbound().flatMap(({ port, services }) => services.map((one) => [port, one.service, one.host, one.leaving])),
    [[20_881, greeter, host, false]],
  );
  assert.deepEqual(directory.instances(), [], "it is the application's own session that tells others");
});

test("its route stays while its application refuses: whether it is called is not for the sidecar to say", async () => {
  const { face, clock, accepting } = openWorld();
  accepting.add(`${host}:20880`);
  face.carry(dubbo(), host);
  await clock.advance(400);
  accepting.clear();
  await clock.advance(60_000);
  assert.equal(face.inbound()[0]?.services.length, 1);
});

test("a published port behind which every application refuses is shut as theirs are, at the first refusal, and opened when one accepts", async () => {
  const { face, clock, accepting, opened, shut, taken } = openWorld();
  accepting.add(`${host}:20880`).add(`${host}:20890`);
  const other = dubbo({ service: "dubbo/fx.Other::", appPort: 20_890, port: 20_890 });
  face.carry(dubbo(), host);
  face.carry(other, host);
  await clock.advance(400);
  assert.deepEqual([opened, shut], [[`${host}:20881`, `${host}:20881`], []], "two services share a port");
  accepting.delete(`${host}:20880`);
  await clock.advance(1_000);
  assert.deepEqual(shut, [], "one of them is still served there");
  accepting.clear();
  face.suspect(host, 20_890);
  await clock.advance(50);
  assert.deepEqual(shut, [`${host}:20881`]);
  taken.add(20_881);
  accepting.add(`${host}:20880`);
  await clock.advance(400);
  assert.equal(opened.length, 2, "another process has the port for a moment");
  taken.clear();
  await clock.advance(1_000);
  assert.deepEqual(opened.slice(2), [`${host}:20881`]);
  face.close();
});

test("an application that this sidecar publishes itself keeps its port open while it refuses: its callers are told otherwise", async () => {
  const { face, clock, accepting, shut } = openWorld();
  accepting.add(`${host}:20880`);
  const publishing = face.publish(dubbo());
  await clock.advance(400);
  await publishing;
  accepting.clear();
  await clock.advance(5_000);
  assert.deepEqual(shut, []);
});

test("it is served for a while after its release, and comes back within that time to the same port", async () => {
  const { face, clock, accepting } = openWorld();
  accepting.add(`${host}:20880`);
  const [one, same] = [face.carry(dubbo(), host), face.carry(dubbo(), host)];
  await clock.advance(400);
  one.release();
  await clock.advance(0);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, false, "somebody else has it carried still");
  same.release();
  await clock.advance(29_000);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, true);
  const again = face.carry(dubbo(), host);
  await clock.advance(30_000);
  assert.equal(face.inbound()[0]?.services[0]?.leaving, false);
  again.release();
  await clock.advance(30_000);
  assert.deepEqual(face.inbound(), []);
});

test("a second application with the same service has a published port of its own", async () => {
  const { face, clock } = openWorld();
  const ports = [20_880, 20_890].map((appPort) => face.carry(dubbo({ appPort, port: appPort }), host).published?.port);
  assert.deepEqual(ports, [20_881, 20_900]);
  await clock.advance(0);
});

test("what cannot be carried says why, and is tried again when that may have changed", async () => {
  const { face, clock, accepting, taken, opened } = openWorld();
  accepting.add(`${host}:20880`);
  assert.match(face.carry(dubbo({ service: "tri/fx.Greeter::" }), host).bypassed, /protocol tri/);
  assert.match(face.carry(dubbo({ appPort: 20_882 }), host).bypassed, /the sidecar's own/);
  taken.add(20_881);
  const carried = face.carry(dubbo(), host);
  await clock.advance(400);
  await carried.inForce();
  assert.match(carried.bypassed, /20881 is in use/);
  assert.equal(carried.published, undefined);
  taken.clear();
  const inForce = carried.inForce();
  await clock.advance(400);
  await inForce;
  assert.equal(carried.bypassed, "");
  assert.deepEqual(opened, [`${host}:20881`]);
});

test("a published port that another process has is exchanged for the next one", async () => {
  const { face, clock, taken } = openWorld();
  taken.add(20_900);
  face.carry(dubbo(), host);
  const carried = face.carry(dubbo({ appPort: 20_890, port: 20_890 }), host);
  assert.equal(carried.published?.port, 20_900);
  const inForce = carried.inForce();
  await clock.advance(2_500);
  await inForce;
  assert.equal(carried.published?.port, 20_901);
});
