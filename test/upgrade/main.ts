/**
 * `npm run upgrade:full [-- WORD…]`: a hundred upgrades in a row under load, every death, every trial and real Java applications, or those whose name holds a word. Prints a table; fails
 * when anything is not as it should be.
 */
import { messageOf } from "@dualmesh/base/errors";
import { crossingFrameworks, playCrossingUpgrades } from "../interop/crossing-upgrade.ts";
import { takeTurn } from "../interop/turn.ts";
import { allDeaths, nameOf, playDeath } from "./deaths.ts";
import { javaFrameworks, playJava, whyNoJava } from "./java.ts";
import { median, playRow, type RowUpgrade } from "./row.ts";
import { upgradeSeed } from "./seed.ts";
import { trials } from "./trials.ts";

const words = process.argv.slice(2);
const upgrades = Number(process.env["UPGRADES"] ?? 100);
const javaUpgrades = Number(process.env["JAVA_UPGRADES"] ?? 20);
const lineEvery = 10;
let failures = 0;

console.log(`UPGRADE_SEED=${upgradeSeed}`);
for (const supervised of [false, true]) {
  const name = `${upgrades} upgrades in a row, ${supervised ? "supervised" : "plain"}`;
  await play(name, undefined, async () => {
    const each = (index: number, upgrade: RowUpgrade): void => {
      if (index % lineEvery === 0) console.log(`     ${index}: ${lineOf(upgrade)}`);
    };
    const end = await playRow({ upgrades, supervised, seed: upgradeSeed, each });
    const middle = (name: keyof RowUpgrade): number => median(end.upgrades.map((one) => one[name]));
    const note = `${end.failed} of ${end.calls} failed, ${end.oneways} oneway, ${end.closed} closed of ${end.connections}, worst ${end.worstMs} ms; an upgrade takes ${middle("ms")} ms, connections stand still ${middle("stillMs")} ms, the loop is held ${middle("loopMs")} ms (medians)`;
    return { note, faults: end.faults };
  });
}
for (const { death, supervised } of allDeaths)
  await play(nameOf(death, supervised), undefined, async () => {
    const { backMs, failed, calls, closed, worstMs, faults } = await playDeath(death, supervised, upgradeSeed);
    return {
      note: `served after ${backMs} ms; ${failed} of ${calls} failed, ${closed} closed, worst ${worstMs} ms`,
      faults,
    };
  });
for (const { name, skip, run } of trials) await play(name, skip, () => run(upgradeSeed));
for (const framework of javaFrameworks)
  await playWithJava(
    `applications of ${framework} by the doors of their sidecars, ${javaUpgrades} upgrades of each`,
    () => playJava({ framework, upgrades: javaUpgrades, each: tellJava }),
  );
for (const framework of crossingFrameworks)
  await playWithJava(`applications of ${framework.fixture} through a crossing, ${javaUpgrades} upgrades`, async () => {
    const { calls, kept, ms } = await playCrossingUpgrades({ framework, upgrades: javaUpgrades, tell: tellJava });
    return {
      note: `0 of ${calls} calls failed, an upgrade takes ${median(ms)} ms, ${kept} connections kept`,
      faults: [],
    };
  });
console.log(failures === 0 ? "all is well" : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);

/** One at a time on a machine (interop/turn.ts). */
async function playWithJava(name: string, run: () => Promise<Played>): Promise<void> {
  if (!isWanted(name)) return;
  using _turn = await takeTurn();
  await play(name, whyNoJava(), run);
}

function tellJava(line: string): void {
  console.log(`     ${line}`);
}

interface Played {
  readonly note: string;
  readonly faults: readonly string[];
}

function isWanted(name: string): boolean {
  return words.length === 0 || words.some((word) => name.includes(word));
}

async function play(name: string, skip: string | undefined, run: () => Promise<Played>): Promise<void> {
  if (!isWanted(name)) return;
  if (skip !== undefined) return console.log(`skip ${name}: ${skip}`);
  const began = performance.now();
  let faults: readonly string[];
  let note = "";
  try {
    ({ note, faults } = await run());
  } catch (error) {
    faults = [messageOf(error)];
  }
  const seconds = ((performance.now() - began) / 1_000).toFixed(0).padStart(4);
  console.log(`${faults.length === 0 ? "ok  " : "FAIL"} ${seconds} s  ${name}: ${note}`);
  for (const fault of faults) console.log(`       ${fault}`);
  if (faults.length > 0) failures++;
}

function lineOf({ rssMib, pssMib, descriptors, ms, stillMs }: RowUpgrade): string {
  return `RSS ${rssMib} MiB, PSS ${pssMib} MiB, ${descriptors} descriptors, ${ms} ms, still ${stillMs} ms`;
}
