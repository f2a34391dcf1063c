/**
 * The commands that the pages for operators (`docs/migrate/`) tell people to run, as those pages have them: played in their order on a process under
 * load. What stands for a process there is put in its place, and calls are looked at for seconds only.
 */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { systemClock } from "@dualmesh/base/clock";
import { repository } from "../product.ts";
import { dubbo3, type Framework, type SelectedBy, sofarpc } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried, noneCarried } from "./way.ts";
import type { World } from "./world.ts";

export interface Page {
  readonly name: string;
  readonly framework: Framework;
  readonly selectedBy: SelectedBy;
  /** Whose of its commands are played. */
  readonly caller: Caller;
}

/** How a page has each of them call `dualmesh`. */
const programs = { root: "sudo dualmesh ", "container-root": "docker exec -u 0 orders dualmesh " } as const;
type Caller = keyof typeof programs;

/** The page for SOFA-RPC names a unit, which is a control group of its own. */
export const pages: readonly Page[] = [
  { name: "dubbo-zookeeper.md", framework: dubbo3, selectedBy: "uid", caller: "root" },
  { name: "sofa-zookeeper.md", framework: sofarpc, selectedBy: "cgroup", caller: "root" },
  { name: "dubbo-zookeeper.md", framework: dubbo3, selectedBy: "uid", caller: "container-root" },
  { name: "sofa-zookeeper.md", framework: sofarpc, selectedBy: "uid", caller: "container-root" },
];

const blocks = /^```sh\n(.*?)^```$/gms;

/** The words after `dualmesh` of each command of a page that is this caller's. */
export function commandsOf(text: string, caller: Caller): readonly (readonly string[])[] {
  const lines = [...text.matchAll(blocks)].flatMap(([, block = ""]) => block.split("\n")).filter((line) => line !== "");
  const untested = lines.find((line) => !Object.values(programs).some((program) => line.startsWith(program)));
  if (untested !== undefined) throw new Error(`a page has a command that nobody tests: ${untested}`);
  const program = programs[caller];
  return lines.filter((line) => line.startsWith(program)).map((line) => line.slice(program.length).split(" "));
}

/** Resolves to what went wrong. */
export async function playPage({ name, framework, selectedBy, caller }: Page): Promise<readonly string[]> {
  const commands = commandsOf(readFileSync(join(repository, "docs/migrate", name), "utf8"), caller);
  await using stage = await Stage.open({ framework, selectedBy, operator: caller });
  const { world } = stage;
  const wrong: string[] = [];
  for (const words of commands) {
    const text = `dualmesh ${words.join(" ")}`;
    const code = await run(world, words);
    if (code !== "exit code 0") wrong.push(`${text}: ${code}`);
    wrong.push(...(await after(world, words)).map((what) => `after ${text}: ${what}`));
  }
  const ways = commands.map(([, way]) => way);
  for (const way of ["in", "out"]) if (!ways.includes(way)) wrong.push(`${name} does not say how to move ${way}`);
  await stage.stop();
  wrong.push(...stage.harm({ from: stage.from, to: systemClock.wall() }));
  return wrong.length === 0 ? [] : [...wrong, world.tails()];
}

async function run(world: World, words: readonly string[]): Promise<string> {
  const { program: moved, somebody } = world.moved;
  const unit = basename(somebody.cgroup ?? "none");
  const told = words.map((word) => (word === "4711" ? String(moved.pid) : word === "orders.service" ? unit : word));
  const looks = isWayIn(words) ? ["--before", "2s", "--watch", "2s"] : [];
  return world.dualmesh(`page-${words[1]}`, [...told, ...looks]).ended;
}

const isWayIn = (words: readonly string[]): boolean => words[1] === "in" && !words.includes("--dry-run");

async function after(world: World, words: readonly string[]): Promise<readonly string[]> {
  if (isWayIn(words)) return (await allCarried(world, world.moved)).wrong;
  if (words[1] === "out" || words.includes("--dry-run")) return (await noneCarried(world, world.moved)).wrong;
  return [];
}
