/** Ctrl-C while a process is being moved: the first takes the move back, the second leaves that to the guard. */
import { MeshError } from "@dualmesh/base/errors";
import { exitCodes } from "../exit-codes.ts";

/** What the first one does with the move; nothing while somebody else has it, who is waited for. */
export type Interrupts = "undone" | "completed" | "not waited for";

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
  /** From now on they do something else. */
  become(does: Interrupts): void;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** `say` is for people, on standard error. */
export function listenForInterrupts(begins: Interrupts, say: (text: string) => void): Interrupt {
  const controller = new AbortController();
  let does = begins;
  let count = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    count++;
    const goesOn = does === "not waited for" ? "" : "; once more leaves that to the guard";
    if (count === 1) {
      say(`${name}: the move is ${does}${goesOn}`);
      controller.abort(new MeshError("move.interrupted", `it was interrupted by ${name}`));
      return;
    }
    if (goesOn !== "") say("left to the guard: dualmesh move status shows how it goes on");
    process.exit(exitCodes.failed);
  };
  for (const name of signals) process.on(name, onSignal);
  return {
    signal: controller.signal,
    become(other) {
      does = other;
    },
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, onSignal);
    },
  };
}
