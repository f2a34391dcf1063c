import assert from "node:assert/strict";
import { test } from "node:test";
import { printable } from "./printable.ts";

test("control characters are shown and not obeyed; lines and other languages stay as they are", () => {
  assert.equal(printable("\u001b[31mEVIL\u0007\u009b1m\r\n 进程 é\n"), "\\x1b[31mEVIL\\x07\\x9b1m\\x0d\n 进程 é\n");
});
