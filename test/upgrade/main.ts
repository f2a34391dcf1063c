/**
 * `npm run upgrade:full [-- WORD…]`: a hundred upgrades in a row under load, every death and every trial, or those whose name holds a word. Prints a table; fails
 * when anything is not as it should be.
 */
import { messageOf } from "@dualmesh/base/errors";
import { allDeaths, nameOf, playDeath } from "./deaths.ts";
import { median, playRow, type RowUpgrade } from "./row.ts";
import { upgradeSeed } from "./seed.ts";
import { trials } from "./trials.ts";

const words = process.argv.slice(2);
const upgrades = Number(process.env["UPGRADES"] ?? 100);
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
console.log(failures === 0 ? "all is well" : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);

async function play(
  name: string,
  skip: string | undefined,
  run: () => Promise<{ readonly note: string; readonly faults: readonly string[] }>,
): Promise<void> {
  if (words.length > 0 && !words.some((word) => name.includes(word))) return;
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
