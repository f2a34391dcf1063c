/** What a service says to whoever started it: one JSON object a line on standard output. */

export interface Call {
  /** When the call was started, in milliseconds since the epoch. */
  readonly at: number;
  readonly ms: number;
  /** The address that the client library dialled, as the library has it; empty if it found none. */
  readonly dialled: string;
  /** The name of the instance that answered; empty if none did. */
  readonly by: string;
  /** Why the call failed; empty if it did not. */
  readonly error: string;
}

export type Report =
  | { readonly event: "ready" }
  | { readonly event: "calls"; readonly calls: readonly Call[] }
  | { readonly event: "ended"; readonly started: number };

export function report(line: Report): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** A setting that the service cannot do without. */
export function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new Error(`${name} is not set: see examples/services/README.md for what a service must be told`);
  }
  return value;
}
