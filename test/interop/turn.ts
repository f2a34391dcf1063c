/**
 * One run at a time on a machine: the programs of the matrix take both cores, the build has one target directory, and `mesh://`
 * always dials the same port. A lock file holds the id of the process whose turn it is; that of a process that has gone is void.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { eventually } from "./program.ts";

// Not the folder for temporary files that this run was given: other runs have others.
const file = "/tmp/dualmesh-interop.lock";
const patienceMs = 900_000;

export async function takeTurn(): Promise<Disposable> {
  await eventually(`the turn of process ${holder()} is over`, patienceMs, () => {
    if (claim()) return true;
    const pid = holder();
    if (pid !== undefined && !lives(pid)) rmSync(file, { force: true });
    return false;
  });
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

function claim(): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function holder(): number | undefined {
  try {
    return Number(readFileSync(file, "utf8")) || undefined; // empty for the moment between creating and writing
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
