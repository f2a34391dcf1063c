/** What a subscriber of the real ensemble saw while something moved: every change of every list, and whether one was ever empty. */
import type { Span } from "../calls.ts";
import type { Program } from "../program.ts";

export interface Change {
  readonly change: "created" | "deleted";
  readonly list: string;
  readonly group: string;
  /** Instances of the group that the list still has. */
  readonly left: number;
  readonly address: string;
  readonly at: number;
}

export class Recorder {
  readonly #program: Program;

  constructor(program: Program) {
    this.#program = program;
  }

  changes(): readonly Change[] {
    return this.#program.said
      .filter((line) => "change" in line)
      .map((line) => ({ ...line, address: addressOf(String(line["name"])) }) as unknown as Change);
  }

  /** Lists that were without an instance of a group, with the time of it. */
  emptied(span: Span): readonly string[] {
    return this.changes()
      .filter(({ left, at }) => left === 0 && at >= span.from && at < span.to)
      .map(({ list, group, at }) => `${list}${group === "" ? "" : ` (${group})`} at ${new Date(at).toISOString()}`);
  }

  /** What it could not see. */
  troubles(): readonly string[] {
    const told = this.#program.said.flatMap((line) => ("trouble" in line ? [String(line["trouble"])] : []));
    return this.#program.running ? told : [...told, "the recorder has ended"];
  }

  /** The addresses in a list now. */
  addresses(list: string): readonly string[] {
    const first = this.#program.said.find((line) => line["ready"] === true)?.["lists"] as
      | Readonly<Record<string, readonly string[]>>
      | undefined;
    const names = (first?.[list] ?? []).map(addressOf);
    const many = new Map<string, number>();
    for (const name of names) many.set(name, (many.get(name) ?? 0) + 1);
    for (const { change, list: of, address } of this.changes()) {
      if (of === list) many.set(address, (many.get(address) ?? 0) + (change === "created" ? 1 : -1));
    }
    return [...many].filter(([, count]) => count > 0).map(([address]) => address);
  }
}

function addressOf(name: string): string {
  return /\/\/([^/?]+)/.exec(decodeURIComponent(name))?.[1] ?? name;
}
