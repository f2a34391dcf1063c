/**
 * `dualmesh demo`: what a newcomer sees. It starts a registry and nine small services, moves them into the mesh and one of each kind
 * back out while they call each other, and shows the calls live.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { systemRandom } from "@dualmesh/base/random";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { cast, type Language, roleOf } from "./cast.ts";
import { Company, type Parts } from "./company.ts";
import { languagesHere } from "./languages.ts";
import { Ledger } from "./ledger.ts";
import { callsTakenIn, startRegistry, startSidecar, upgradeSidecar } from "./parts.ts";
import { openScreen, type Screen, sizeOf } from "./screen.ts";
import { chapters, tellStory } from "./story.ts";
import { type Picture, renderPicture } from "./table.ts";

const product: Parts = { startRegistry, startSidecar, upgradeSidecar, callsTakenIn };

export const demoHelp = `Usage: dualmesh demo [--script] [--json]

Starts a registry and nine small services on Bolt, Dubbo and HTTP, moves them into the mesh while they call each other, upgrades sidecars
under their calls, moves one of each kind back out, and shows the calls as a table. The HTTP providers are written in Python where python3 is found, else for Node. It needs no Java and
nothing outside this machine, and leaves nothing behind.

  --script   tell the story once (under a minute) and end; otherwise it goes on running until Ctrl-C
  --json     write the result to standard output as one line of JSON, and everything else to standard error; implies --script
  --help     this text

Exit code: 0 if no call failed, 1 if one did or the story could not be told, 2 for a wrong argument, 130 after Ctrl-C within the story.
`;

interface Wishes {
  readonly script: boolean;
  readonly json: boolean;
}

/** Runs the demo and resolves to the exit code of the process. `parts` is another's only in tests. */
export async function runDemo(words: readonly string[], parts: Parts = product): Promise<number> {
  const unknown = words.find((word) => !["--script", "--json", "--help", "-h"].includes(word));
  if (unknown !== undefined) {
    process.stderr.write(`dualmesh demo does not know ${unknown}.\n\n${demoHelp}`);
    return 2;
  }
  if (words.includes("--help") || words.includes("-h")) {
    process.stdout.write(demoHelp);
    return 0;
  }
  const json = words.includes("--json");
  return await perform({ json, script: json || words.includes("--script") }, parts);
}

const drawEveryMs = 250;
const pauseMs = { script: 2000, people: 5000 } as const;
const maxNotes = 6;

async function perform(wishes: Wishes, parts: Parts): Promise<number> {
  const clock = systemClock;
  const abort = new AbortController();
  let problem: string | undefined;
  const company = await Company.plan({
    parts,
    languages: await languagesHere(),
    clock,
    random: systemRandom,
    signal: abort.signal,
    onUnexpectedEnd: (error) => abort.abort(error),
  });
  const ledger = new Ledger((address) => company.placeOf(address));
  const view = new View(wishes, ledger, clock, (name) => company.languageOf(name));
  const stopListening = listenForEnd(wishes, () => abort.abort(interrupted));
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-demo-"));
  let told = false;
  try {
    view.note("starting the registry and the services");
    await company.start(ledger, folder);
    await tellStory({
      stage: company,
      ledger,
      clock,
      signal: abort.signal,
      pauseMs: wishes.script ? pauseMs.script : pauseMs.people,
      onChapter: (index) => view.chapter(index),
      note: (text) => view.note(text),
      cannotUpgrade: whyNoHandles(process),
    });
    told = true;
    view.finish();
    if (!wishes.script) await untilAborted(abort.signal);
  } catch (error) {
    if (error !== interrupted) problem = messageOf(error);
  } finally {
    abort.abort(interrupted);
    view.note("ending everything that was started");
    try {
      await company.end();
    } finally {
      await rm(folder, { recursive: true, force: true });
      stopListening();
      view.end();
    }
  }
  return tellResult(wishes, ledger, { told, problem });
}

/** What the person wanted, and no failure. */
const interrupted = new MeshError("demo.interrupted", "ended from the terminal");

/** Draws the picture again and again, and keeps what it shows. */
class View {
  readonly #screen: Screen;
  readonly #output: NodeJS.WriteStream;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #begin: number;
  readonly #languageOf: (name: string) => Language;
  readonly #drawing: { cancel(): void };
  readonly #notes: string[] = [];
  #current = -1;
  #title = "services move into the mesh";
  #help = "Ctrl-C ends the demo and everything that it started.";

  constructor(wishes: Wishes, ledger: Ledger, clock: Clock, languageOf: (name: string) => Language) {
    this.#languageOf = languageOf;
    this.#output = wishes.json ? process.stderr : process.stdout;
    this.#screen = openScreen(this.#output);
    this.#ledger = ledger;
    this.#clock = clock;
    this.#begin = clock.now();
    this.#drawing = clock.every(drawEveryMs, () => this.#draw());
  }

  chapter(index: number): void {
    this.#printPicture();
    this.#current = index;
    this.#screen.print([`Step ${index + 1} of ${chapters.length}: ${chapters[index]?.title}`]);
    this.#draw();
  }

  note(text: string): void {
    this.#notes.push(text);
    if (this.#notes.length > maxNotes) this.#notes.shift();
    this.#screen.print([`  ${text}`]);
    this.#draw();
  }

  finish(): void {
    this.#current = chapters.length;
    this.#title = "the story is told, the calls go on";
    this.#help = "Press q or Ctrl-C to end the demo and everything that it started.";
    this.#printPicture();
    this.#draw();
  }

  end(): void {
    this.#drawing.cancel();
    this.#help = "Everything that was started has ended.";
    this.#draw();
    this.#screen.end();
  }

  #draw(): void {
    if (this.#screen.live) this.#screen.draw(this.#render());
  }

  #printPicture(): void {
    if (!this.#screen.live && this.#current >= 0) this.#screen.print(this.#render());
  }

  #render(): string[] {
    const picture: Picture = {
      elapsedMs: this.#clock.now() - this.#begin,
      title: this.#title,
      steps: chapters.map(({ title }) => title),
      current: this.#current,
      rows: this.#ledger.rows(this.#clock.wall()),
      protocolOf: (caller) => roleOf(caller).protocol,
      // Calls that reach nobody have no language.
      languageOf: (called) => (cast.some(({ name }) => name === called) ? this.#languageOf(called) : ""),
      totals: this.#ledger.totals(),
      notes: this.#screen.live ? this.#notes : [],
      help: this.#screen.live ? this.#help : "",
    };
    const color = this.#screen.live && process.env["NO_COLOR"] === undefined;
    return renderPicture(picture, { columns: sizeOf(this.#output).columns, color });
  }
}

/** Signals, and q on a terminal. Resolving the returned function's effect leaves the terminal as it was. */
function listenForEnd(wishes: Wishes, end: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, end);
  const keys = !wishes.script && process.stdin.isTTY ? process.stdin : undefined;
  const onKey = (bytes: Buffer): void => {
    if (bytes.includes("q") || bytes.includes(0x03)) end();
  };
  if (keys !== undefined) {
    keys.setRawMode(true);
    keys.on("data", onKey);
    keys.resume();
  }
  return () => {
    for (const signal of signals) process.off(signal, end);
    if (keys === undefined) return;
    keys.off("data", onKey);
    keys.setRawMode(false);
    keys.pause();
  };
}

/** Rejects with the reason: that the person wants to end, or that a part ended by itself. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

interface Outcome {
  readonly told: boolean;
  readonly problem: string | undefined;
}

/** The last words, for people or as one line of JSON, and the exit code. */
function tellResult(wishes: Wishes, ledger: Ledger, { told, problem }: Outcome): number {
  const { calls, failed, steps } = ledger.totals();
  const people = wishes.json ? process.stderr : process.stdout;
  const lines = [
    `${calls} calls were started, ${failed} failed${told ? "" : "; the story was not told to its end"}.`,
    ...steps.map((step) => `  ${step.name}: ${step.calls} calls, ${step.failed} failed`),
    ...ledger.reasons.map((reason) => `  failed: ${reason}`),
    ...(problem === undefined ? [] : [`The demo stopped: ${problem}`]),
  ];
  people.write(`${lines.join("\n")}\n`);
  if (wishes.json) {
    const result = { story: "migrate", calls, failed, steps, ...(problem === undefined ? {} : { problem }) };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  if (problem !== undefined || failed > 0) return 1;
  return told ? 0 : 130;
}
