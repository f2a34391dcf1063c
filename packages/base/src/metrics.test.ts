import assert from "node:assert/strict";
import { test } from "node:test";
import { MetricsPage } from "./metrics.ts";

test("counters, gauges and histograms are written in Prometheus' text format", () => {
  const page = new MetricsPage()
    .counter("calls_total", "Calls.", [[{ service: "a" }, 3]])
    .gauge("open", "Open now.", 2)
    .histogram("seconds", "Durations.", [{ labels: { service: "a" }, bounds: [0.1, 1], counts: [2, 1, 4], sum: 9.5 }]);
  assert.equal(
    page.toString(),
    [
      "# HELP calls_total Calls.",
      "# TYPE calls_total counter",
      'calls_total{service="a"} 3',
      "# HELP open Open now.",
      "# TYPE open gauge",
      "open 2",
      "# HELP seconds Durations.",
      "# TYPE seconds histogram",
      'seconds_bucket{service="a",le="0.1"} 2',
      'seconds_bucket{service="a",le="1"} 3',
      'seconds_bucket{service="a",le="+Inf"} 7',
      'seconds_sum{service="a"} 9.5',
      'seconds_count{service="a"} 7',
      "",
    ].join("\n"),
  );
});

test("hostile label values stay inside their quotes", () => {
  const page = new MetricsPage().counter("c", "a\nb", [[{ name: 'x"} 1\nevil 2 \\' }, 1]]).toString();
  assert.equal(page, '# HELP c a\\nb\n# TYPE c counter\nc{name="x\\"} 1\\nevil 2 \\\\"} 1\n');
});
