import assert from "node:assert/strict";
import test from "node:test";
import type { Tally } from "./callers.ts";
import { goalLines, isSound, type Measured, makeRow } from "./row.ts";

test("a row has the worst of all upgrades, their median length, and every call", () => {
  const row = makeRow(measured);
  assert.deepEqual([row.connections, row.kept, row.upgrades, row.calls, row.failed], [100, 100, 3, 400, 0]);
  assert.deepEqual([row.worstMs, row.worstBeforeMs, row.p99DuringMs, row.p99BeforeMs], [40, 9, 7, 3]);
  assert.deepEqual([row.totalMs, row.stillMs, row.loopMs, row.oldGoneMs], [900, 12, 30, 300]);
  assert.deepEqual([row.rssOneMb, row.rssBothMb, row.rssRatio, row.pssRatio], [60, 130, 2.17, 2.1]);
});

test("a run in which nothing was lost is sound, whatever the goals say", () => {
  const row = makeRow(measured);
  assert.ok(isSound(row));
  const missed = goalLines(row).filter((line) => line.startsWith("MISSED"));
  assert.equal(missed.length, 1);
  assert.match(missed[0] ?? "", /2\.1 times the PSS/);
});

test("a failed call and a closed connection are no sound run", () => {
  const row = makeRow(measured);
  for (const broken of [
    { ...row, failed: 1 },
    { ...row, kept: row.connections - 1 },
  ]) {
    assert.ok(!isSound(broken));
    assert.equal(goalLines(broken).filter((line) => line.startsWith("MISSED")).length, 2);
  }
});

test("goals that are missed are told", () => {
  const slow = { ...makeRow(measured), worstMs: 60, oldGoneMs: 5_001, loopMs: 1_000 };
  assert.equal(goalLines(slow).filter((line) => line.startsWith("MISSED")).length, 4);
  const many = goalLines({ ...slow, connections: 5_000, kept: 5_000 });
  assert.equal(many.filter((line) => line.startsWith("MISSED")).length, 3);
});

const quiet: Tally = {
  seconds: 1,
  calls: 100,
  failed: 0,
  lost: 0,
  p50Ms: 1,
  p99Ms: 3,
  worstMs: 9,
  worstAtMs: 0,
  lateMs: 1,
};

function upgradeOf(times: { readonly totalMs: number; readonly stillMs: number; readonly loopMs: number }) {
  return {
    ...times,
    ...{ moved: 100, oldGoneMs: times.totalMs / 3, stayed: {}, cut: {}, steps: [] },
    rssMb: { one: 60, both: times.totalMs === 900 ? 130 : 110 },
    pssMb: { one: 40, both: times.totalMs === 900 ? 84 : 72 },
  };
}

const measured: Measured = {
  options: {
    ...{ connections: 100, upgrades: 3, rate: 100, works: ["bolt", "http"], seconds: 1, pauseSeconds: 1, json: false },
  },
  seen: [
    upgradeOf({ totalMs: 900, stillMs: 5, loopMs: 30 }),
    upgradeOf({ totalMs: 600, stillMs: 12, loopMs: 20 }),
    upgradeOf({ totalMs: 900, stillMs: 3, loopMs: 10 }),
  ],
  busyBefore: 0.25,
  end: {
    connections: 100,
    kept: 100,
    totals: new Map([
      ["warm-up", { ...quiet, worstMs: 500 }],
      ["before", quiet],
      ["during", { ...quiet, p99Ms: 7, worstMs: 20 }],
      ["between", { ...quiet, worstMs: 40 }],
    ]),
  },
};
