/**
 * A process is moved in and out by somebody who is not the machine's root, and nothing of the product has a right then but who holds the privileges: the
 * mover, the guard and the sidecar are looked at while they work.
 */
import { basename } from "node:path";
import { systemClock } from "@dualmesh/base/clock";
import { processSeen, type SeenProcess } from "@dualmesh/fleet/process/testing";
import { Mover, move } from "./mover.ts";
import type { Operator } from "./operators.ts";
import { ended, type Outcome } from "./outcome.ts";
import type { Framework } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried, noneCarried } from "./way.ts";
import type { World } from "./world.ts";

/** Without CAP_NET_RAW nobody may look at calls: the move goes on, and says so. */
const blind: readonly Operator[] = ["bare-root", "container-user"];
const unseen = /calls cannot be seen as they pass .*CAP_NET_RAW/;

/** Where there is one container for both and one user, nothing tells the sidecar's connections from the application's. */
const notApart = /in no control group of its own.*; the sidecar runs as the user of the process/;

export async function playOperator(framework: Framework, operator: Operator): Promise<Outcome> {
  const began = systemClock.now();
  await using stage = await Stage.open({ framework, operator });
  const { world } = stage;
  const refused = operator === "container-user" ? await wrongRefusal(world) : [];
  const mover = new Mover(world, "in", world.moved);
  const [moving, entered] = await Promise.all([mover.reaches("provide").then(() => rightsIn(world)), mover.end()]);
  const warned = mover.program.said.filter(({ level }) => level === "warning").map(({ text }) => String(text));
  const inside = await allCarried(world, world.moved);
  const later = rightsIn(world);
  const left = entered.state === "in" ? await move(world, "out", world.moved) : undefined;
  const outside = await noneCarried(world, world.moved);
  await stage.stop();
  const wrong = [
    ...refused,
    ...ended(entered, "in"),
    ...wrongRights(moving, operator, ["move in", "move guard", guardsParent, holder, "sidecar run"]),
    ...inside.wrong,
    ...wrongRights(later, operator, ["move guard", guardsParent, holder, "sidecar run"]),
    ...(left === undefined ? [] : ended(left, "out")),
    ...outside.wrong,
    ...(warned.some((text) => unseen.test(text)) === blind.includes(operator)
      ? []
      : [`of what passes was said: ${warned.join("; ")}`]),
    ...stage.harm({ from: stage.from, to: systemClock.wall() }),
  ];
  const ways = `in ${entered.seconds.toFixed(1)} s, out ${left?.seconds.toFixed(1)} s`;
  const heads = warned.map((text) => text.split(/[:(]/)[0]?.trim());
  const measured = [
    ways,
    inside.told,
    `warned: ${heads.join(", ") || "of nothing"}`,
    later.map(textOf).join(", "),
  ].join("; ");
  return { wrong, measured, seconds: (systemClock.now() - began) / 1_000, logs: world.tails() };
}

async function wrongRefusal(world: World): Promise<readonly string[]> {
  const words = ["move", "in", "--pid", String(world.moved.pid), "--dry-run", "--json"];
  const asked = world.dualmesh("refused", words, "same-user");
  const ended = await asked.ended;
  const last = asked.said.find(({ event }) => event === "end");
  const isRight = ended === "exit code 8" && last?.["state"] === "refused" && notApart.test(String(last["failed"]));
  return isRight ? [] : [`the application's own user is told: ${ended}, ${JSON.stringify(last)} ${asked.tail()}`];
}

interface Part extends SeenProcess {
  /** As in `move guard`. */
  readonly what: string;
}

/** They are to have the rights: who does with them what it is asked for, and who has a guard back and reads nothing. */
const holder = "move host";
const guardsParent = "the parent of move guard";

/** What of the product runs on the application's host. */
function rightsIn(world: World): readonly Part[] {
  const parts = world.moved.host.processes().flatMap(partOf);
  // An ordinary user's mover is a child of who holds the rights, which goes by the same words.
  const isHolder = ({ pid, what, rights }: Part): boolean =>
    rights !== 0n && what.startsWith("move ") && parts.some((other) => other.parent === pid && other.what === what);
  return parts.map((part) => (isHolder(part) ? { ...part, what: holder } : part));
}

function partOf(pid: number): readonly Part[] {
  const seen = processSeen(pid);
  if (seen === undefined) return [];
  const [program = "", ...words] = seen.words;
  const at = words.findIndex((word) => /\/(?:main\.ts|dualmesh\.mjs)$/.test(word));
  if (basename(program) !== "node" || at < 0) return [];
  const what = words.slice(at + 1, at + 3).join(" ");
  return [{ ...seen, what: what === "move guard" && words.includes("--supervised") ? guardsParent : what }];
}

function wrongRights(parts: readonly Part[], operator: Operator, wanted: readonly string[]): readonly string[] {
  const missing = wanted.filter((what) => !parts.some((part) => part.what === what));
  // Who cannot become anybody else has it in all of them, as was said with --user.
  const mayHave = ({ what, uid }: Part): boolean =>
    what === holder || what === guardsParent || (operator === "bare-root" && uid === 0);
  const privileged = parts.filter((part) => part.rights !== 0n && !mayHave(part));
  const all = parts.map(textOf).join(", ");
  return [
    ...(missing.length === 0 ? [] : [`of the product ${all} runs, and no ${missing.join(", ")}`]),
    ...privileged.map((part) => `${textOf(part)} has rights`),
  ];
}

function textOf({ what, uid, rights }: Part): string {
  return `${what} as ${uid} with ${rights === 0n ? "none" : rights.toString(16)}`;
}
