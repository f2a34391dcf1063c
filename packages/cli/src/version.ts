/** The version of the product, from the package that is installed. */
import { readFileSync } from "node:fs";

export function productVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return String((JSON.parse(text) as { version?: unknown }).version);
}
