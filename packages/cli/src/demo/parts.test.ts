import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemRandom } from "@dualmesh/base/random";
import { callsTakenIn, countInbound } from "./parts.ts";
import { freePorts } from "./ports.ts";

describe("the metrics page of a sidecar", () => {
  it("tells how many calls were taken in, of any service and result", () => {
    const page = `# TYPE dualmesh_request_duration_seconds histogram
dualmesh_request_duration_seconds_bucket{service="a",direction="inbound",result="ok",le="+Inf"} 900
dualmesh_request_duration_seconds_count{service="a",direction="inbound",result="ok"} 7
dualmesh_request_duration_seconds_count{service="b",direction="inbound",result="error"} 2
dualmesh_request_duration_seconds_count{service="a",direction="outbound",result="ok"} 40
`;
    assert.equal(countInbound(page), 9);
    assert.equal(countInbound(""), 0);
  });

  it("is no count while the sidecar does not answer, and no excuse for a mistake", async () => {
    const [admin = 0] = await freePorts(1, systemRandom);
    const { signal } = new AbortController();
    assert.equal(await callsTakenIn({ admin }, signal), undefined);
    assert.equal(await callsTakenIn({ admin }, AbortSignal.abort(new Error("the demo ends"))), undefined);
    await assert.rejects(callsTakenIn({ admin: 70_000 }, signal));
  });
});
