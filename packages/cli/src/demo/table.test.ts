import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Row } from "./ledger.ts";
import { type Picture, renderPicture } from "./table.ts";

const row: Row = {
  caller: "shop",
  called: "price-1",
  callerWay: "mesh",
  calledWay: "SDK",
  callsPerSecond: 20.4,
  failed: 0,
  p50Ms: 4.12,
  p99Ms: 9.87,
};

const picture: Picture = {
  elapsedMs: 65_400,
  title: "services move into the mesh",
  steps: ["everything by SDK", "consumers in", "providers in", "one back out"],
  current: 1,
  rows: [row, { ...row, called: "price-2", callerWay: "SDK", failed: 3, p50Ms: undefined, p99Ms: undefined }],
  protocolOf: () => "Bolt",
  languageOf: () => "Python",
  totals: { calls: 12_345, failed: 3, steps: [] },
  notes: ["shop runs behind its sidecar: 1.2 s, 0 calls lost"],
  help: "Ctrl-C ends the demo.",
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the escapes that a terminal does not show
const escapes = /\x1b\[[0-9;]*m/g;

describe("the picture of the demo", () => {
  it("shows who calls whom, by which way, how often, with what errors and latency", () => {
    const lines = renderPicture(picture, { columns: 80, color: false });
    assert.deepEqual(
      lines.filter((line) => line.startsWith("shop") || line.startsWith("CALLER")),
      [
        "CALLER SPEAKS WAY                CALLED   LANGUAGE CALLS/S FAILED P50 MS P99 MS",
        "shop   Bolt   mesh ======> SDK   price-1  Python        20      0    4.1    9.9",
        "shop   Bolt   SDK  ------> SDK   price-2  Python        20      3      -      -",
      ],
    );
    assert.match(lines[0] ?? "", /^dualmesh demo: services move into the mesh +1:05$/);
    assert.equal(lines[1], "[x] everything by SDK  [>] consumers in  [ ] providers in  [ ] one back out");
    assert.ok(lines.includes("12,345 calls, 3 failed"));
  });

  it("is never wider than the terminal, with or without colors", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.boolean(), fc.string(), (columns, color, note) => {
        const shown = { ...picture, notes: [note.replace(/[^ -~]/g, "?")] };
        for (const line of renderPicture(shown, { columns, color })) {
          assert.ok(line.replace(escapes, "").length <= columns);
        }
      }),
    );
  });

  it("fits 80 columns without being cut, and says the same in colors", () => {
    const plain = renderPicture(picture, { columns: 80, color: false });
    assert.deepEqual(plain, renderPicture(picture, { columns: 300, color: false }));
    const colored = renderPicture(picture, { columns: 80, color: true });
    assert.deepEqual(
      colored.map((line) => line.replace(escapes, "").trimEnd()),
      plain,
    );
    assert.ok(
      colored.some((line) => line.includes("\x1b[31m3 failed")),
      "failures stand out",
    );
  });
});
