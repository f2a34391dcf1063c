/**
 * A world under load in which something will happen: who calls, since when, and what a span of it must have been like for the span to count as
 * unharmed.
 */
import { readFileSync } from "node:fs";
import { sleep, systemClock } from "@dualmesh/base/clock";
import type { Span } from "../calls.ts";
import { describeLost, lostBy, slack, startLoad, stopLoad } from "./load.ts";
import { type Application, World, type WorldOptions } from "./world.ts";

const steadyMs = 2_000;

export class Stage implements AsyncDisposable {
  readonly world: World;
  /** Wall time from which every call counts. */
  readonly from: number;
  readonly #began: ReadonlyMap<Application, string>;
  #stopped: readonly string[] | undefined;
  /** From then on nobody calls. */
  #stoppedAt = Number.POSITIVE_INFINITY;

  private constructor(world: World) {
    this.world = world;
    this.#began = new Map(world.applications.map((one) => [one, identityOf(one)]));
    this.from = systemClock.wall();
  }

  /** Resolves when the load has been steady for a while. */
  static async open(options: WorldOptions): Promise<Stage> {
    const world = await World.start(options);
    try {
      await startLoad(world.callers);
      const stage = new Stage(world);
      await sleep(systemClock, steadyMs);
      return stage;
    } catch (error) {
      const tails = world.tails();
      await world[Symbol.asyncDispose]();
      throw new Error(`the load does not start: ${(error as Error).message}\n${tails}`, { cause: error });
    }
  }

  /** Ends the load: what is still under way is waited for, so that it counts as well. */
  async stop(): Promise<void> {
    this.#stoppedAt = systemClock.wall();
    this.#stopped ??= await stopLoad(this.world.callers);
  }

  /** What harmed the span; nothing when every call was answered, no list was empty, and the applications are those that they were. */
  harm(span: Span): readonly string[] {
    return [...describeLost(lostBy(this.world.callers, span)), ...this.harmBesideCalls(span)];
  }

  harmBesideCalls(span: Span): readonly string[] {
    const { callers, recorder } = this.world;
    const emptied = recorder.emptied(span);
    return [
      ...slack(callers, { from: span.from, to: Math.min(span.to, this.#stoppedAt) }),
      ...(emptied.length > 0 ? [`a subscriber saw nobody in ${emptied.join(", ")}`] : []),
      ...recorder.troubles(),
      ...this.restarted(),
      ...(this.#stopped ?? []),
    ];
  }

  restarted(): readonly string[] {
    return [...this.#began].flatMap(([application, began]) => {
      const now = application.program.running ? identityOf(application) : "ended";
      return now === began ? [] : [`${application.name} is another process: ${began} before, ${now} now`];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

/** Process id and start time, which the kernel gives no other process. */
function identityOf({ program }: Application): string {
  const stat = readFileSync(`/proc/${program.pid}/stat`, "latin1");
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return `${program.pid} since ${started}`;
}
