/**
 * Whether sidecars answer. That somebody listens is the kernel's word, which costs nothing, and which it gives for a process that hangs as
 * well; so each one is also asked something every two seconds, and one that has left three questions in a row without an answer hangs.
 */
import { createConnection } from "node:net";
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";

export type Liveness = "answers" | "hangs" | "away";

const connectMs = 1_000;
const askEveryMs = 2_000;
const answerMs = 1_000;
const maxMisses = 3;
/** Sidecars that are known; beyond, what was known longest is forgotten, and found out again. */
const maxKnown = 1_000;

interface Known {
  askedAt: number;
  isAsked: boolean;
  misses: number;
}

export class Livenesses {
  readonly #clock: Clock;
  readonly #known = new Map<string, Known>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Of the sidecar with this state directory; as cheap as a connection. */
  async of(state: string): Promise<Liveness> {
    if (!(await listens(state, this.#clock))) {
      // Whoever listens there next is another process.
      this.#known.delete(state);
      return "away";
    }
    const known = this.#knownOf(state);
    if (!known.isAsked && this.#clock.now() - known.askedAt >= askEveryMs) void this.#ask(state, known);
    return known.misses >= maxMisses ? "hangs" : "answers";
  }

  #knownOf(state: string): Known {
    const before = this.#known.get(state);
    if (before !== undefined) return before;
    const [oldest] = this.#known.keys();
    if (this.#known.size >= maxKnown && oldest !== undefined) this.#known.delete(oldest);
    const known: Known = { askedAt: Number.NEGATIVE_INFINITY, isAsked: false, misses: 0 };
    this.#known.set(state, known);
    return known;
  }

  async #ask(state: string, known: Known): Promise<void> {
    known.askedAt = this.#clock.now();
    known.isAsked = true;
    try {
      await callControl(controlPath(state), "status", {}, { timeoutMs: answerMs, clock: this.#clock });
      known.misses = 0;
    } catch (error) {
      // Whatever else it says, it does not hang.
      const isMiss = isMeshError(error, "control.timeout") || isMeshError(error, "control.unreachable");
      known.misses = isMiss ? known.misses + 1 : 0;
    } finally {
      known.isAsked = false;
    }
  }
}

function listens(state: string, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(controlPath(state));
    const end = (is: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(is);
    };
    const timer = clock.after(connectMs, () => end(false), true);
    socket.on("connect", () => end(true));
    // Only these say that nobody listens; one whose connections wait for their turn does.
    socket.on("error", (error: NodeJS.ErrnoException) => end(!["ECONNREFUSED", "ENOENT"].includes(error.code ?? "")));
  });
}
