/** A supervised child that is upgraded: it asks its parent for another one, which is the parent's child from the moment that the first has ended. */
import type { ChildProcess } from "node:child_process";
import type { HandedOver, SuccessorStarted, SuccessorWish } from "./successor.ts";
import type { Heirs } from "./supervise-child.ts";

export interface Heir {
  readonly child: ChildProcess;
  /** It is the child now. */
  readonly becomes: () => void;
}

export function openHeirs(start: (wish: SuccessorWish) => Heir): Heirs {
  return {
    of(child) {
      let heir: Heir | undefined;
      let hasHandedOver = false;
      child.on("message", (message: unknown) => {
        if ((message as Partial<HandedOver>).ended === "handed over") hasHandedOver = true;
        const wish = message as Partial<SuccessorWish>;
        if (wish.wish !== "successor" || !Array.isArray(wish.program) || wish.program.length < 2) return;
        // One at a time: the child waits for the end of the one before.
        if (heir !== undefined && isAlive(heir.child)) heir.child.kill("SIGKILL");
        const next = start({ wish: "successor", program: wish.program, env: wish.env ?? {} });
        heir = next;
        const answer = (pid: number | undefined): void => {
          const started: SuccessorStarted = { started: "successor", pid };
          child.send(started, () => {}); // a child that is gone needs no answer
        };
        next.child.on("error", () => answer(undefined));
        if (next.child.pid !== undefined) answer(next.child.pid);
      });
      return () => {
        // One that has everything, and has died since, is a child that died and is started again.
        if (heir === undefined || !(hasHandedOver || isAlive(heir.child))) return undefined;
        heir.becomes();
        return heir.child;
      };
    },
  };
}

function isAlive({ pid, exitCode, signalCode }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null;
}
