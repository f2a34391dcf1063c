/** A client's subscriptions under an application that asks for more names than there can be. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type { FeedKind, StreamMessage } from "@dualmesh/wire/stream/messages";
import { Feeds } from "./feeds.ts";
import { Keep } from "./keep.ts";

const names = 20_000;
const limit = 10_000;

/** A disk on which nothing is found and whose size is known. */
class CountedJournal implements Journal {
  readonly keys = new Set<string>();
  entries = (): IterableIterator<[string, Buffer]> => new Map<string, Buffer>().entries();
  get = (): undefined => undefined;
  put = (key: string): void => void this.keys.add(key);
  delete = (key: string): void => void this.keys.delete(key);
  flushed = (): Promise<void> => Promise.resolve();
  [Symbol.asyncDispose] = (): Promise<void> => Promise.resolve();
}

/** Time stands still: nothing is forgotten for having been idle. */
const stillClock: Clock = {
  now: () => 0,
  wall: () => 0,
  after: () => ({ cancel() {} }),
  every: () => ({ cancel() {} }),
};

function opened(): { feeds: Feeds; sent: StreamMessage["type"][]; journal: CountedJournal } {
  const sent: StreamMessage["type"][] = [];
  const journal = new CountedJournal();
  const feeds = new Feeds({
    keep: new Keep(journal),
    clock: stillClock,
    random: seededRandom(1),
    log: silentLog,
    send: (message) => void sent.push(message.type),
    onAnswered: () => {},
  });
  return { feeds, sent, journal };
}

function nameOf(kind: FeedKind, at: number): string {
  return kind === "service" ? `dubbo/made.Up${at}::` : `dubbo/made.Up${at}:*:*`;
}

/** Counts the members of maps and sets that are looked at one by one from here on. */
function countSteps(test: TestContext): { steps: number } {
  const count = { steps: 0 };
  for (const [prototype, method] of [
    [Map.prototype, "values"],
    [Map.prototype, "entries"],
    [Set.prototype, "values"],
  ] as const) {
    const original = prototype[method as "values"] as () => IterableIterator<unknown>;
    const counted = function* (this: Map<unknown, unknown>): Generator<unknown> {
      for (const iterator = original.call(this); ; ) {
        const { done, value } = iterator.next();
        if (done === true) return;
        count.steps++;
        yield value;
      }
    };
    const names = method === "values" && prototype === Map.prototype ? ["values"] : [method, Symbol.iterator];
    for (const name of names) {
      const property = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor;
      Object.defineProperty(prototype, name, { ...property, value: counted });
      test.after(() => Object.defineProperty(prototype, name, property));
    }
  }
  return count;
}

describe(`${names} made-up names`, () => {
  for (const kind of ["service", "catalogue"] as const) {
    it(`of the ${kind} that stay watched: ${limit} are asked for, and the others are refused to who asks`, (test) => {
      const { feeds, sent, journal } = opened();
      const count = countSteps(test);
      let refused = 0;
      for (let at = 0; at < names; at++) {
        try {
          feeds.watch(kind, nameOf(kind, at), () => {});
        } catch (error) {
          assert.ok(isMeshError(error, "registry.limit"));
          refused++;
        }
      }
      assert.equal(refused, names - limit);
      assert.deepEqual([feeds.size, sent.length, journal.keys.size], [limit, limit, 0]);
      assert.ok(count.steps <= names, `${count.steps} feeds were looked at`);
      feeds.close();
    });

    it(`of the ${kind} that are let go again: each beyond ${limit} takes the place of the one idle for longest`, (test) => {
      const { feeds, sent } = opened();
      const watched: (() => void)[] = [];
      const count = countSteps(test);
      for (let at = 0; at < names; at++) {
        watched.push(feeds.watch(kind, nameOf(kind, at), () => {}));
        if (watched.length > limit / 2) watched.shift()?.();
      }
      assert.equal(feeds.size, limit);
      assert.equal(sent.filter((type) => type === "subscribe").length, names);
      assert.equal(sent.filter((type) => type === "unsubscribe").length, names - limit);
      assert.ok(count.steps <= 2 * names, `${count.steps} feeds were looked at`);
      assert.equal([...feeds.all][0]?.name, nameOf(kind, names - limit));
      feeds.close();
    });
  }
});
