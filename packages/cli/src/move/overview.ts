/** `dualmesh move` without a verb: what can be said after it. */
import { closest } from "@dualmesh/base/config/suggest";
import { MeshError } from "@dualmesh/base/errors";
import { type Command, columns } from "../command.ts";
import { exitCodes, exitCodeTexts } from "../exit-codes.ts";

/** The others are started by these. */
const verbsForPeople: readonly string[] = ["move in", "move out", "move status", "move recover"];

export interface OverviewOptions {
  readonly commands: readonly Command[];
  readonly words: readonly string[];
  /** For who asked for it, and for who did not. */
  readonly write: (text: string, to: "stdout" | "stderr") => void;
}

/** Returns the exit code; throws `usage.wrong` for a verb that there is not. */
export function sayOverview({ commands, words, write }: OverviewOptions): number {
  const [first] = words;
  if (first === undefined || first === "--help" || first === "-h") {
    write(overviewText(commands), first === undefined ? "stderr" : "stdout");
    return first === undefined ? exitCodes.usage : exitCodes.ok;
  }
  const verbs = verbsForPeople.map((name) => name.slice("move ".length));
  const meant = closest(first, verbs);
  const hint =
    meant === undefined
      ? `there are ${verbs.map((verb) => `move ${verb}`).join(", ")}`
      : `did you mean "move ${meant}"?`;
  const wrong = first.startsWith("-") ? `${first} stands before the verb` : `"move ${first}" is no command`;
  throw new MeshError("usage.wrong", `${wrong}; ${hint}`);
}

function overviewText(commands: readonly Command[]): string {
  const people = commands.filter(({ name }) => verbsForPeople.includes(name));
  const inner = commands.filter(({ name }) => !verbsForPeople.includes(name)).map(({ name }) => name);
  return `Moves a running process into the mesh and out of it, without a restart.

Usage: dualmesh move VERB [FLAGS]

Verbs:
${columns(people.map(({ name, summary }) => [name, summary]))}

Examples:
${columns(people.map(({ example }) => [example, ""])).replace(/ +$/gm, "")}

Exit codes:
${columns(exitCodeTexts.map(([code, text]) => [String(code), text]))}

  dualmesh move VERB --help   flags and an example
  ${inner.join(" and ")} are started by these.
`;
}
