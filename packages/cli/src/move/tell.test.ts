import assert from "node:assert/strict";
import { test } from "node:test";
import type { MoveEvent } from "@dualmesh/fleet/move/one-move";
import { type EndLine, openTeller, watchText } from "./tell.ts";

const events: readonly MoveEvent[] = [
  { event: "step", step: "cut", at: "begin" },
  { event: "step", step: "cut", at: "end", ms: 1_250 },
  { event: "note", text: "it is late" },
  { event: "undo", reason: "5 in a hundred calls fail" },
];
const figures = {
  service: "dubbo/fx.Greeter::",
  side: "provided",
  calls: 120,
  failed: 6,
  p50Ms: 1.25,
  p99Ms: 30,
} as const;
const end: EndLine = {
  name: "p4711-99",
  pid: 4711,
  state: "undone",
  ms: 9_300,
  failed: "5 in a hundred calls fail",
  watch: { before: [], since: [figures], unseen: ["no tcpdump"] },
};

function told(isJson: boolean): string {
  let text = "";
  const teller = openTeller(isJson, (piece) => {
    text += piece;
  });
  teller.checks([{ level: "warning", what: "peers", text: "it calls 10.0.0.7:80" }]);
  teller.begins("process 4711 into the mesh");
  for (const event of events) teller.event(event);
  teller.end(end);
  return text;
}

test("a program reads an object a line, the last of which says how it ended and how long each step took", () => {
  const lines = told(true)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["check", "step", "step", "note", "undo", "watch", "end"],
  );
  const { state, pid, steps, failed, ms, watch } = lines.at(-1);
  assert.deepEqual([state, pid, steps, ms], ["undone", 4711, [{ step: "cut", ms: 1_250 }], 9_300]);
  assert.deepEqual([failed, watch.since], ["5 in a hundred calls fail", [figures]]);
});

test("people read what was found, what is being done, how long it took, and what to do next", () => {
  assert.equal(
    told(false),
    `  warning  peers  it calls 10.0.0.7:80
process 4711 into the mesh
         …  cut           the sessions come back through the doors
     1.3 s  cut           the sessions come back through the doors
  note: it is late
  undone because 5 in a hundred calls fail
  provided dubbo/fx.Greeter::: before no calls; since 120 calls, 6 failed, 1.3 ms, of a hundred the slowest 30.0 ms
  not seen: no tcpdump
process 4711 is as it was before, after 9.3 s: 5 in a hundred calls fail
`,
  );
});

test("groups of one interface that were counted together are one line", () => {
  const since = ["dubbo/fx.Greeter::red", "dubbo/fx.Greeter::", "dubbo/fx.Other::"].map((service) => ({
    ...figures,
    service,
  }));
  assert.equal(
    watchText({ before: [], since, unseen: [] }),
    `  provided dubbo/fx.Greeter, 2 groups: before no calls; since 120 calls, 6 failed, 1.3 ms, of a hundred the slowest 30.0 ms
  provided dubbo/fx.Other::: before no calls; since 120 calls, 6 failed, 1.3 ms, of a hundred the slowest 30.0 ms
`,
  );
});
