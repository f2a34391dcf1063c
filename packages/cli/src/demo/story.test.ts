import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { cast, consumers } from "./cast.ts";
import { Ledger, type Place } from "./ledger.ts";
import { type Stage, tellStory, type Upgraded } from "./story.ts";

/** A world without processes: every consumer calls each of its providers ten times a second, by the way that the moves have set. */
class PaperWorld implements Stage {
  readonly clock = new FakeClock();
  readonly ledger = new Ledger((address) => this.#placeOf(address));
  readonly moves: string[] = [];
  readonly notes: string[] = [];
  readonly chapters: number[] = [];
  readonly #inMesh = new Set<string>();
  readonly #stuck: string | undefined;
  #takenIn = 0;

  constructor(stuck?: string) {
    this.#stuck = stuck;
    this.clock.every(100, () => this.#beat());
  }

  async moveIn(name: string): Promise<void> {
    this.moves.push(`in ${name}`);
    if (name !== this.#stuck) this.#inMesh.add(name);
  }

  async moveOut(name: string): Promise<void> {
    this.moves.push(`out ${name}`);
    this.#inMesh.delete(name);
  }

  async upgrade(name: string): Promise<Upgraded> {
    this.moves.push(`upgrade ${name}`);
    return { moved: 2, ms: 900, stillMs: 3 };
  }

  /** Tells the story while time goes on; resolves to what it was rejected with, if it was. */
  async tell(cannotUpgrade?: string): Promise<unknown> {
    let done = false;
    let failure: unknown;
    const story = tellStory({
      stage: this,
      ledger: this.ledger,
      clock: this.clock,
      signal: new AbortController().signal,
      pauseMs: 1000,
      onChapter: (index) => this.chapters.push(index),
      note: (text) => this.notes.push(text),
      cannotUpgrade,
    }).then(
      () => {
        done = true;
      },
      (error: unknown) => {
        failure = error;
        done = true;
      },
    );
    for (let seconds = 0; !done && seconds < 300; seconds += 1) await this.clock.advance(1000);
    await story;
    return failure;
  }

  #beat(): void {
    const at = this.clock.wall();
    for (const { name, calls } of cast) {
      for (const by of calls) {
        const dialled = this.#inMesh.has(name)
          ? `outbound ${name}`
          : `${this.#inMesh.has(by) ? "inbound" : "app"} ${by}`;
        this.#takenIn += 1;
        if (this.#inMesh.has(by)) this.ledger.inbound(by, this.#takenIn, at);
        this.ledger.record(name, { at, ms: 1, dialled, by, error: "" });
      }
    }
  }

  #placeOf(address: string): Place {
    const [kind = "", owner = ""] = address.split(" ");
    return { kind: kind as Place["kind"], owner };
  }
}

describe("the story of the demo", () => {
  it("moves consumers first, then providers one instance at a time, upgrades sidecars, and moves one of each back out", async () => {
    const world = new PaperWorld();
    assert.equal(await world.tell(), undefined);
    assert.deepEqual(world.moves.slice(0, 3).sort(), consumers.map((name) => `in ${name}`).sort());
    assert.deepEqual(world.moves.slice(3, 6).sort(), ["in price-1", "in rating-1", "in stock-1"]);
    assert.deepEqual(world.moves.slice(6, 9).sort(), ["in price-2", "in rating-2", "in stock-2"]);
    assert.deepEqual(
      world.moves.slice(9, 12),
      consumers.map((name) => `upgrade ${name}`),
    );
    assert.deepEqual(world.moves.slice(12).sort(), ["out price-1", "out rating-1", "out stock-1"]);
    assert.deepEqual(world.chapters, [0, 1, 2, 3, 4]);
    const totals = world.ledger.totals();
    assert.deepEqual(
      totals.steps.map(({ name, failed }) => ({ name, failed })),
      ["consumer-in", "provider-in", "sidecar-upgrade", "provider-out"].map((name) => ({ name, failed: 0 })),
    );
    assert.ok(totals.steps.every(({ calls }) => calls > 0));
  });

  it("says why no sidecar is upgraded where connections cannot be moved, and goes on", async () => {
    const world = new PaperWorld();
    assert.equal(await world.tell("this is another platform"), undefined);
    assert.ok(!world.moves.some((move) => move.startsWith("upgrade")));
    assert.ok(world.notes.includes("no sidecar is upgraded here: this is another platform"));
    assert.deepEqual(world.chapters, [0, 1, 2, 3, 4]);
  });

  it("stops with the couple in question when the calls do not show the new way", async () => {
    const world = new PaperWorld("stock-1");
    const failure = await world.tell();
    assert.ok(isMeshError(failure, "demo.not-shown"), String(failure));
    assert.match(failure.message, /cart \(mesh\) to stock-1 \(mesh\)/);
    assert.ok(!world.moves.includes("in price-2"), "the next instance is not touched");
  });
});
