/** The guard of a moves directory, as a test has it end that did not start it by itself. */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { seeGuard } from "@dualmesh/fleet/move/guard-post";
import { processesSeen, type SeenProcess } from "@dualmesh/fleet/process/testing";

const endMs = 20_000;

/** The processes that are there for a moves directory. */
export function processesOf(moves: string): readonly SeenProcess[] {
  return processesSeen().filter(({ words }) => words[words.indexOf("--moves") + 1] === moves);
}

/** Resolves to the guard that is at work and another one than `besides`. */
export async function atWork(moves: string, besides = 0): Promise<number> {
  const end = systemClock.now() + endMs;
  for (;;) {
    const seen = await seeGuard(moves, systemClock);
    if (seen.kind === "at work" && seen.pid !== besides) return seen.pid;
    if (systemClock.now() > end) throw new Error(`no guard is at work but ${besides}: ${JSON.stringify(seen)}`);
    await sleep(systemClock, 5);
  }
}

export async function nobodyLeft(moves: string): Promise<void> {
  const end = systemClock.now() + endMs;
  while (processesOf(moves).length > 0) {
    const left = processesOf(moves).map(({ words }) => words.join(" "));
    if (systemClock.now() > end) throw new Error(left.join("; "));
    await sleep(systemClock, 20);
  }
}

/** Of the guard that a command has started. */
export async function endGuard(moves: string): Promise<void> {
  process.kill(await atWork(moves), "SIGTERM");
  await nobodyLeft(moves);
}
