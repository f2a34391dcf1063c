/**
 * The life of a consumer: it starts calls at a steady rate, whatever becomes of the earlier ones, and reports every one of them. When it is
 * asked to end it starts no more, waits for those under way, and says how many it started, so that none can be lost without being missed.
 */
import { setTimeout as wait } from "node:timers/promises";
import { onEnd } from "./lifetime.ts";
import { type Call, report, setting } from "./report.ts";

export interface Answer {
  readonly dialled: string;
  readonly by: string;
}

/** A call that failed, and the address that it was sent to. */
export class CallFailed extends Error {
  readonly dialled: string;

  constructor(dialled: string, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.dialled = dialled;
  }
}

const reportEveryMs = 100;
/** More calls under way than this and the service waits before it starts another one. */
const maxUnderWay = 256;

/** Calls until the process is asked to end. `call` must settle by itself, by a timeout of its client library. */
export async function keepCalling(call: (count: number) => Promise<Answer>, close: () => Promise<void>): Promise<void> {
  const periodMs = 1000 / Number(setting("RATE"));
  const underWay = new Set<Promise<void>>();
  let finished: Call[] = [];
  let started = 0;
  let ending = false;

  const flush = (): void => {
    if (finished.length === 0) return;
    report({ event: "calls", calls: finished });
    finished = [];
  };
  const one = async (count: number): Promise<boolean> => {
    const at = Date.now();
    const begin = performance.now();
    try {
      const { dialled, by } = await call(count);
      finished.push({ at, ms: performance.now() - begin, dialled, by, error: "" });
      return true;
    } catch (error) {
      const dialled = error instanceof CallFailed ? error.dialled : "";
      finished.push({ at, ms: performance.now() - begin, dialled, by: "", error: String(error) });
      return false;
    }
  };

  onEnd(async () => {
    ending = true;
    await Promise.all(underWay);
    clearInterval(flushing);
    flush();
    report({ event: "ended", started });
    await close();
  });
  const flushing = setInterval(flush, reportEveryMs);
  report({ event: "ready" });
  const begin = performance.now();
  for (let beat = 1; !ending; beat += 1) {
    if (underWay.size < maxUnderWay) {
      started += 1;
      const running: Promise<void> = one(started).then(() => void underWay.delete(running));
      underWay.add(running);
    }
    await wait(Math.max(0, begin + beat * periodMs - performance.now()));
  }
}
