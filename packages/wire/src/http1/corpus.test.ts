import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CorpusCase, requestCorpus, responseCorpus } from "./corpus.ts";
import { type Reading, readAll } from "./reading.ts";

function judge(one: CorpusCase, reading: Reading): void {
  const { verdict } = one;
  if (verdict.kind === "refuse") {
    assert.equal(reading.error?.status, verdict.status, reading.error?.reason ?? "was accepted");
    return;
  }
  assert.equal(reading.error, undefined);
  const [message] = reading.messages;
  assert.ok(message?.ended, "the message ends");
  if (verdict.target !== undefined) assert.equal(message.target, verdict.target);
  if (verdict.host !== undefined) assert.equal(message.host, verdict.host);
  if (verdict.body !== undefined) assert.equal(message.body, verdict.body);
  if (verdict.keepAlive !== undefined) assert.equal(message.keepAlive, verdict.keepAlive);
  assert.equal(reading.left, verdict.left ?? "");
}

for (const [from, corpus] of [
  ["client", requestCorpus],
  ["server", responseCorpus],
] as const) {
  describe(`the corpus of what a ${from} sends`, () => {
    for (const one of corpus) {
      it(`${one.verdict.kind}s ${one.name}`, () => {
        const common = { from, ...(one.to === undefined ? {} : { to: one.to }), maxMessages: 1, finish: true };
        judge(one, readAll(one.bytes, common));
        // The same verdict, with the same reason, when the bytes come one by one.
        const dripped = readAll(one.bytes, { ...common, cuts: [...one.bytes.keys()] });
        judge(one, dripped);
        assert.equal(dripped.error?.reason, readAll(one.bytes, common).error?.reason);
      });
    }
  });
}

describe("the corpus", () => {
  it("has at least 120 messages, each with a name of its own", () => {
    assert.ok(requestCorpus.length >= 120, `${requestCorpus.length}`);
    assert.equal(new Set(requestCorpus.map((one) => one.name)).size, requestCorpus.length);
  });
});
