import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, it } from "node:test";
import { readGolden } from "../golden.ts";
import { type ReadMessage, readAll } from "./reading.ts";

const folder = new URL("golden/", import.meta.url);

/** By file, what each message is: start, target, framing and body; then what else it says. */
const expected: Readonly<
  Record<string, readonly (readonly [string, string, number, string, Partial<ReadMessage>?])[]>
> = {
  "curl-7.88.1.hex": [
    ["GET", "/a/b?x=1", 0, ""],
    ["POST", "/form", 1, "a=1&b=2"],
    ["PUT", "/up", 2, "hello\n", { expectContinue: true }],
    ["GET", "/ws", 0, "", { upgrade: true }],
  ],
  "python-3.11.7.hex": [
    ["GET", "/a", 0, "", { keepAlive: false }],
    ["POST", "/c", 2, "helloworld", { keepAlive: true }],
    ["404", "", 1, "<!DOCTYPE", { keepAlive: false }],
  ],
  "node-24.21.0.hex": [
    ["GET", "/f?q=%C3%A9", 0, "", { keepAlive: true }],
    ["POST", "/f", 1, '{"a":1}'],
    ["POST", "/s", 2, "hello"],
    ["PUT", "/t", 2, "hello", { trailers: [["X-Sum", "1"]] }],
    ["200", "", 2, "helloworld", { trailers: [["X-Sum", "1"]], keepAlive: false }],
    ["204", "", 0, ""],
  ],
  "go-1.26.8.hex": [
    ["GET", "/g", 0, ""],
    ["POST", "/g", 1, "{}"],
    ["POST", "/t", 2, "hello", { trailers: [["X-Sum", "1"]] }],
    ["200", "", 2, "helloworld", { keepAlive: false }],
  ],
  // The JDK's client offers HTTP/2 at each request on a fresh connection; a proxy that speaks none lets the offer fall.
  "java-17.0.15.hex": [
    ["GET", "/j", 1, "", { upgrade: true }],
    ["POST", "/j", 1, "hello", { upgrade: true }],
    ["GET", "/u", 0, "", { upgrade: false }],
    ["200", "", 2, "hello", { keepAlive: true }],
  ],
};

describe("recorded HTTP/1.1", () => {
  it("has an expectation for every file", () => {
    assert.deepEqual(readdirSync(folder).sort(), Object.keys(expected).sort());
  });

  for (const [file, messages] of Object.entries(expected)) {
    it(`of ${file} reads as what was sent`, () => {
      const frames = readGolden(new URL(file, folder));
      assert.equal(frames.length, messages.length);
      for (const [index, [start, target, framing, body, more]] of messages.entries()) {
        const frame = frames[index];
        assert.ok(frame);
        const { messages: read, error, left } = readAll(frame.bytes, { from: frame.from });
        assert.equal(error, undefined, error?.reason);
        assert.equal(left, "");
        const [message] = read;
        assert.ok(message?.ended && read.length === 1);
        assert.deepEqual([message.start, message.target, message.framing], [start, target, framing]);
        if (body.startsWith("<")) assert.ok(message.body.startsWith(body));
        else assert.equal(message.body, body);
        for (const [name, value] of Object.entries(more ?? {}))
          assert.deepEqual(message[name as keyof ReadMessage], value);
      }
    });
  }
});
