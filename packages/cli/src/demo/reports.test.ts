import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { dotted, readReport } from "./reports.ts";

describe("a report of a service", () => {
  it("is read from its line", () => {
    assert.deepEqual(readReport('{"event":"ready"}'), { event: "ready" });
    assert.deepEqual(readReport('{"event":"ended","started":12}'), { event: "ended", started: 12 });
    const call = { at: 1, ms: 2, dialled: "127.0.0.1:20880", by: "price-1", error: "" };
    assert.deepEqual(readReport(JSON.stringify({ event: "calls", calls: [call] })), { event: "calls", calls: [call] });
  });

  it("shows loopback as people write it, though Dubbo clients are given its decimal form", () => {
    assert.equal(dotted("2130706433:20882"), "127.0.0.1:20882");
    assert.equal(dotted("10.0.0.7:20880"), "10.0.0.7:20880");
    assert.equal(dotted(""), "");
    const line = '{"event":"calls","calls":[{"at":1,"ms":2,"dialled":"2130706433:5","by":"","error":"x"}]}';
    const report = readReport(line);
    assert.equal(report?.event === "calls" && report.calls[0]?.dialled, "127.0.0.1:5");
  });

  it("is nothing that a library prints, and nothing half", () => {
    for (const line of [
      "2026-01-01 INFO started",
      "{",
      "null",
      "[]",
      '{"event":"ended"}',
      '{"event":"calls","calls":[{"at":1}]}',
      '{"event":"other"}',
    ]) {
      assert.equal(readReport(line), undefined);
    }
    fc.assert(fc.property(fc.json(), (text) => void readReport(text)));
  });
});
