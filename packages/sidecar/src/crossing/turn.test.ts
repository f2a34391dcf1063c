import assert from "node:assert/strict";
import { test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { Turn } from "./turn.ts";

const overtaken = (error: unknown): boolean => isMeshError(error, "crossing.overtaken");

/** Work that ends when it is told to, or when its signal is aborted. */
function work(log: string[], name: string) {
  const end = Promise.withResolvers<void>();
  const run = async (signal: AbortSignal): Promise<void> => {
    log.push(`${name} begins`);
    const aborted = new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }),
    );
    await Promise.race([end.promise, aborted]).finally(() => log.push(`${name} ends`));
  };
  return { run, end: end.resolve };
}

test("the same command once more waits for the one that runs, and does nothing", async () => {
  const log: string[] = [];
  const turn = new Turn();
  const [one, other] = [work(log, "one"), work(log, "other")];
  const both = [turn.take("mesh", "", one.run), turn.take("mesh", "", other.run)];
  await Promise.resolve();
  one.end();
  await Promise.all(both);
  assert.deepEqual(log, ["one begins", "one ends"]);
});

test("the opposite ends what runs, and begins when that has ended", async () => {
  const log: string[] = [];
  const turn = new Turn();
  const [there, back] = [work(log, "there"), work(log, "back")];
  const moving = assert.rejects(turn.take("mesh", "", there.run), overtaken);
  await Promise.resolve();
  const undoing = turn.take("direct", "", back.run);
  back.end();
  await Promise.all([moving, undoing]);
  assert.deepEqual(log, ["there begins", "there ends", "back begins", "back ends"]);
});

test("the opposite ends all that it overtakes: what runs, and what waits, which never begins", async () => {
  const log: string[] = [];
  const turn = new Turn();
  const [all, some, back] = [work(log, "all"), work(log, "some"), work(log, "back")];
  const first = assert.rejects(turn.take("mesh", "", all.run), overtaken);
  await Promise.resolve();
  const second = assert.rejects(turn.take("mesh", "a,b", some.run), overtaken);
  const third = turn.take("direct", "", back.run);
  back.end();
  await Promise.all([first, second, third]);
  assert.deepEqual(log, ["all begins", "all ends", "back begins", "back ends"]);
});

test("one that failed is told to who asked for it, and keeps nobody up", async () => {
  const turn = new Turn();
  await assert.rejects(
    turn.take("mesh", "", async () => {
      throw new Error("no");
    }),
    /no/,
  );
  let done = false;
  await turn.take("mesh", "", async () => {
    done = true;
  });
  assert.equal(done, true);
});

test("the end of the crossing ends what runs", async () => {
  const log: string[] = [];
  const turn = new Turn();
  const ending = assert.rejects(turn.take("mesh", "", work(log, "it").run), (error) =>
    isMeshError(error, "crossing.closed"),
  );
  await Promise.resolve();
  turn.end();
  await ending;
});
