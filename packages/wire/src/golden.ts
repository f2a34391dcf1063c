/**
 * Why this exists: golden frames are recordings of real applications, one file for each, with a first line that says what made them.
 * Then one frame a line: `C` or `S` for who sent it (client, server) and its bytes in hexadecimal. Test support: no part of the
 * product imports it.
 */
import { readFileSync } from "node:fs";

export interface GoldenFrame {
  readonly from: "client" | "server";
  readonly bytes: Buffer;
}

/** The frames of a file, named by its URL. */
export function readGolden(file: URL): GoldenFrame[] {
  return readFileSync(file, "latin1")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({ from: line.startsWith("C ") ? "client" : "server", bytes: Buffer.from(line.slice(2), "hex") }));
}
