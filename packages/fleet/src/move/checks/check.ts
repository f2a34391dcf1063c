/** What is found out before anything is touched, line by line. */

export interface Check {
  /** `stops` lines must be mended before a move; `warning` lines should be read. */
  readonly level: "ok" | "warning" | "stops";
  /** What was looked at, in a word or two. */
  readonly what: string;
  readonly text: string;
}

/** The lines of an examination, in the order in which things were looked at. */
export class Checks {
  readonly #lines: Check[] = [];

  get lines(): readonly Check[] {
    return this.#lines;
  }

  get stops(): boolean {
    return this.#lines.some(({ level }) => level === "stops");
  }

  ok(what: string, text: string): void {
    this.#lines.push({ level: "ok", what, text });
  }

  warn(what: string, text: string): void {
    this.#lines.push({ level: "warning", what, text });
  }

  stop(what: string, text: string): void {
    this.#lines.push({ level: "stops", what, text });
  }
}

/** Some of a list, and how many more there are. */
export function someOf(all: readonly string[], most = 10): string {
  const rest = all.length - most;
  return rest > 0 ? `${all.slice(0, most).join(", ")} and ${rest} more` : all.join(", ");
}
