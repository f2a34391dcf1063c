/**
 * Where users who are not root find this checkout. One below a directory that is closed to them, as a build machine may have it, is shown to them
 * elsewhere, read-only, for as long as the harness runs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../product.ts";
import { guard, lastly } from "../program.ts";

const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;
const places = "/run";
const prefix = "dualmesh-checkout-";

let found: string | undefined;

/** The checkout's directory as everybody can read it. */
export function openCheckout(): string {
  found ??= isReadable(repository) ? repository : show();
  return found;
}

function show(): string {
  guard();
  for (const name of readdirSync(places)) {
    // A harness that was killed has left it.
    const pid = name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) hide(join(places, name));
  }
  const place = join(places, `${prefix}${process.pid}`);
  mkdirSync(place);
  const undo = (): void => {
    lastly.delete(undo); // a harness that is told to end comes by here twice
    hide(place);
  };
  lastly.add(undo);
  run("mount", "--bind", repository, place);
  run("mount", "-o", "remount,bind,ro", place);
  if (!isReadable(place))
    throw new Error(
      `${repository} cannot be read by other users, whom the applications run as: chmod -R o+rX ${repository}`,
    );
  return place;
}

/** Removes only a directory that is empty: nothing of the checkout can be harmed through it. */
function hide(place: string): void {
  spawnSync("umount", ["--lazy", place]);
  rmdirSync(place);
}

function isReadable(directory: string): boolean {
  const [command, ...words] = nobody;
  const files = ["packages/cli/src/main.ts", "test/interop/main.ts"].map((file) => join(directory, file));
  return files.every((file) => spawnSync(command, [...words, "test", "-r", file]).status === 0);
}

function run(command: string, ...words: readonly string[]): void {
  const { status, stderr } = spawnSync(command, words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${words.join(" ")}: ${stderr}`);
}
