import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { type AppState, Apps, type Dial } from "./apps.ts";

type Outcome = Awaited<ReturnType<Dial>>;

function world() {
  const clock = new FakeClock();
  const answers = new Map<string, Outcome>();
  const dialled: { readonly at: number; readonly where: string }[] = [];
  const dial: Dial = async (host, port) => {
    dialled.push({ at: clock.now(), where: `${host}:${port}` });
    return answers.get(`${host}:${port}`) ?? "refused";
  };
  const apps = new Apps({ clock, random: seededRandom(7), log: silentLog, dial });
  const seen: { readonly at: number; readonly state: AppState; readonly host: string }[] = [];
  const watch = (host: string, port: number) =>
    apps.watch(host, port, (health) => seen.push({ at: clock.now(), state: health.state, host: health.host }));
  return { clock, answers, dialled, apps, seen, watch };
}

test("an application is up as soon as its port accepts on loopback", async () => {
  const { clock, answers, seen, watch } = world();
  const health = watch("192.0.2.2", 20880);
  await clock.advance(1_000);
  assert.equal(health.health.state, "starting");
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(331);
  assert.deepEqual(
    seen.map(({ state, host }) => `${state} ${host}`),
    ["up 127.0.0.1"],
  );
});

test("an application that binds only the address it registered is found there, and that is dialled first from then on", async () => {
  const { clock, answers, dialled, seen, watch } = world();
  watch("192.0.2.2", 20880);
  answers.set("192.0.2.2:20880", "accepted");
  await clock.advance(10);
  assert.equal(seen[0]?.host, "192.0.2.2");
  dialled.length = 0;
  await clock.advance(3_000);
  assert.deepEqual(new Set(dialled.map(({ where }) => where)), new Set(["192.0.2.2:20880"]));
});

test("three refusals within a second take an application out, and it returns when it accepts", async () => {
  const { clock, answers, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(5_000);
  answers.set("127.0.0.1:20880", "refused");
  const killedAt = clock.now();
  await clock.advance(1_000);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["up", "down"],
  );
  assert.ok((seen[1]?.at ?? 0) - killedAt < 1_000);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(331);
  assert.equal(seen.at(-1)?.state, "up");
});

test("two refusals and a success change nothing", async () => {
  const { clock, answers, dialled, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  answers.set("127.0.0.1:20880", "refused");
  const before = dialled.length;
  while (dialled.length < before + 2) await clock.advance(10);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(5_000);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["up"],
  );
});

test("timeouts never take an application out", async () => {
  const { clock, answers, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  answers.set("127.0.0.1:20880", "timeout");
  await clock.advance(60_000);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["up"],
  );
});

test("an application that never accepted is published after ten seconds, and is not taken out until it has accepted once", async () => {
  const { clock, answers, seen, watch } = world();
  watch("127.0.0.1", 20880);
  await clock.advance(9_999);
  assert.equal(seen.length, 0);
  await clock.advance(30_000);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["unproven"],
  );
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(400);
  answers.set("127.0.0.1:20880", "refused");
  await clock.advance(1_400);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["unproven", "up", "down"],
  );
});

test("an application that the data path was refused by is out within 200 ms of that sign", async () => {
  const { clock, answers, apps, seen, watch } = world();
  watch("192.0.2.2", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  for (const restMs of [0, 7, 100, 150, 290]) {
    answers.set("127.0.0.1:20880", "accepted");
    await clock.advance(5_000 + restMs);
    answers.set("127.0.0.1:20880", "refused");
    const from = clock.now();
    apps.suspect("127.0.0.1", 20880);
    await clock.advance(0);
    apps.suspect("192.0.2.2", 20880);
    await clock.advance(1_000);
    assert.equal(seen.at(-1)?.state, "down");
    assert.ok((seen.at(-1)?.at ?? 0) - from <= 200, `after ${(seen.at(-1)?.at ?? 0) - from} ms`);
  }
});

test("a suspected application that accepts stays, and is dialled as ever", async () => {
  const { clock, answers, apps, dialled, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  dialled.length = 0;
  apps.suspect("127.0.0.1", 20880);
  await clock.advance(60);
  assert.equal(dialled.length, 1);
  await clock.advance(3_000);
  assert.ok(dialled.length <= 13, `${dialled.length} dials in 3 s`);
  assert.equal(seen.length, 1);
});

test("two refusals and a success clear a suspected application", async () => {
  const { clock, answers, apps, dialled, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  answers.set("127.0.0.1:20880", "refused");
  dialled.length = 0;
  apps.suspect("127.0.0.1", 20880);
  while (dialled.length < 2) await clock.advance(1);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(5_000);
  assert.deepEqual(
    seen.map(({ state }) => state),
    ["up"],
  );
});

test("signs without end bring at most one dial in 50 ms", async () => {
  const { clock, answers, apps, dialled, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  dialled.length = 0;
  for (let count = 0; count < 1_000; count += 1) {
    apps.suspect("127.0.0.1", 20880);
    await clock.advance(1);
  }
  assert.ok(dialled.length <= 21, `${dialled.length} dials in 1 s`);
  assert.equal(seen.length, 1);
});

test("a suspected application whose dials time out stays, and the hurry ends", async () => {
  const { clock, answers, apps, dialled, seen, watch } = world();
  watch("127.0.0.1", 20880);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(1_000);
  answers.set("127.0.0.1:20880", "timeout");
  apps.suspect("127.0.0.1", 20880);
  await clock.advance(1_500);
  dialled.length = 0;
  await clock.advance(3_000);
  assert.ok(dialled.length <= 12, `${dialled.length} dials in 3 s`);
  assert.equal(seen.length, 1);
});

test("a sign of what is not watched, or is not up, does nothing", async () => {
  const { clock, answers, apps, dialled, watch } = world();
  watch("127.0.0.1", 20880);
  await clock.advance(1_000);
  dialled.length = 0;
  apps.suspect("127.0.0.1", 20880);
  apps.suspect("127.0.0.1", 1);
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(0);
  assert.deepEqual(dialled, []);
});

test("two services of one port share the dials, which end with the last of them", async () => {
  const { clock, answers, dialled, apps, watch } = world();
  answers.set("127.0.0.1:20880", "accepted");
  const first = watch("127.0.0.1", 20880);
  const second = watch("127.0.0.1", 20880);
  await clock.advance(3_000);
  assert.ok(dialled.length <= 12, `${dialled.length} dials in 3 s`);
  first.close();
  assert.equal(apps.status().length, 1);
  second.close();
  assert.equal(apps.status().length, 0);
  const before = dialled.length;
  await clock.advance(3_000);
  assert.equal(dialled.length, before);
});

test("applications are not dialled in step", async () => {
  const { clock, answers, dialled, watch } = world();
  for (let port = 1; port <= 20; port += 1) {
    answers.set(`127.0.0.1:${port}`, "accepted");
    watch("127.0.0.1", port);
  }
  await clock.advance(10_000);
  const late = dialled.filter(({ at }) => at > 9_000);
  assert.ok(new Set(late.map(({ at }) => Math.round(at))).size > late.length / 3);
});

test("one can wait until an application accepts, or give it up, and nothing is dialled any more afterwards", async () => {
  const { clock, answers, apps } = world();
  const giveUp = new AbortController();
  const refused = assert.rejects(apps.untilAccepting("127.0.0.1", 1, giveUp.signal), { name: "AbortError" });
  let accepted = false;
  const waiting = apps.untilAccepting("192.0.2.2", 2, new AbortController().signal).then(() => {
    accepted = true;
  });
  await clock.advance(20_000);
  assert.equal(accepted, false);
  answers.set("192.0.2.2:2", "accepted");
  await clock.advance(400);
  await waiting;
  giveUp.abort();
  await refused;
  assert.deepEqual(apps.status(), []);
});

test("one dial that ends otherwise than the last is told at once, before the application counts as down", async () => {
  const { clock, answers, apps } = world();
  const reached: boolean[] = [];
  const watch = apps.watch(
    "127.0.0.1",
    20880,
    () => {},
    (isAccepted) => reached.push(isAccepted),
  );
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(2_000);
  answers.set("127.0.0.1:20880", "refused");
  await clock.advance(340);
  assert.deepEqual([reached, watch.health.state], [[true, false], "up"]);
  answers.set("127.0.0.1:20880", "timeout");
  await clock.advance(2_000);
  assert.deepEqual(reached, [true, false], "what is not answered says nothing");
  answers.set("127.0.0.1:20880", "accepted");
  await clock.advance(2_000);
  assert.deepEqual(reached, [true, false, true]);
  apps.close();
});
