/** Ctrl-C while a process is being moved: the first takes the move back, the second leaves that to the guard. */
import { MeshError } from "@dualmesh/base/errors";
import { exitCodes } from "../exit-codes.ts";

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** `say` is for people, on standard error. */
export function listenForInterrupts(what: "undone" | "completed", say: (text: string) => void): Interrupt {
  const controller = new AbortController();
  let count = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    count++;
    if (count === 1) {
      say(`${name}: the move is ${what}; once more leaves that to the guard`);
      controller.abort(new MeshError("move.interrupted", `it was interrupted by ${name}`));
      return;
    }
    say("left to the guard: dualmesh move status shows how it goes on");
    process.exit(exitCodes.failed);
  };
  for (const name of signals) process.on(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, onSignal);
    },
  };
}
