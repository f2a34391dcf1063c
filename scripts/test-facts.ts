/** A reporter that writes each skipped test as a line of JSON, for `scripts/test.ts`. */
import { relative } from "node:path";
import type { TestEvent } from "node:test/reporters";

export interface Fact {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

/** @public The runner loads it by its path. */
// biome-ignore lint/style/noDefaultExport: the runner takes a reporter as the default export
export default async function* facts(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    if (event.type !== "test:pass" && event.type !== "test:fail") continue;
    const { skip, file = "", name } = event.data;
    if (skip === undefined || skip === false) continue;
    const reason = typeof skip === "string" && skip !== "" ? skip : "no reason given";
    const fact: Fact = { file: relative(process.cwd(), file), name, reason };
    yield `${JSON.stringify(fact)}\n`;
  }
}
