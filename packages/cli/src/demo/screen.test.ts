import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openScreen, sizeOf } from "./screen.ts";

function fakeOutput(
  tty: boolean,
  rows = 24,
): { isTTY: boolean; columns: number; rows: number; writes: string[]; write(text: string): void } {
  const writes: string[] = [];
  return { isTTY: tty, columns: 80, rows, writes, write: (text) => void writes.push(text) };
}

describe("the screen of the demo", () => {
  it("draws a picture over the last one in one write, and gives the cursor back", () => {
    const output = fakeOutput(true);
    const screen = openScreen(output);
    screen.draw(["one", "two"]);
    screen.draw(["three"]);
    screen.end();
    screen.draw(["after the end"]);
    assert.equal(output.writes.length, 3);
    assert.ok(output.writes[0]?.includes("one\x1b[K\ntwo\x1b[K\n\x1b[J"));
    assert.ok(output.writes[1]?.includes("\x1b[2A\rthree\x1b[K\n\x1b[J"), "up two lines, and over them");
    assert.equal(output.writes[2], "\x1b[?25h");
  });

  it("does not scroll a terminal that is too low", () => {
    const output = fakeOutput(true, 3);
    openScreen(output).draw(["one", "two", "three", "four"]);
    assert.equal(output.writes[0]?.split("\n").length, 3);
    assert.doesNotMatch(output.writes[0] ?? "", /three/);
  });

  it("takes a terminal of size 0, or of none, for one of 80 by 24", () => {
    const output = fakeOutput(true, 0);
    openScreen(output).draw(Array.from({ length: 30 }, (_, at) => `line ${at}`));
    assert.equal(output.writes[0]?.split("\n").length, 24);
    assert.deepEqual(sizeOf({ columns: 0, rows: 0, write() {} }), { columns: 80, rows: 24 });
    assert.deepEqual(sizeOf({ write() {} }), { columns: 80, rows: 24 });
  });

  it("writes only plain lines where there is no terminal", () => {
    const output = fakeOutput(false);
    const screen = openScreen(output);
    screen.draw(["a picture"]);
    screen.print(["what happened"]);
    screen.end();
    assert.deepEqual(output.writes, ["what happened\n"]);
  });
});
