/**
 * One run at a time on a machine: the programs of the matrix take both cores, the build has one target directory, and `mesh://`
 * always dials the same port. The turn is the lock of a state directory: the kernel ends it with its process, and of those who find a dead
 * one only one follows.
 */
import { mkdirSync } from "node:fs";
import { isMeshError } from "@dualmesh/base/errors";
import { type Lock, takeLock } from "@dualmesh/base/state/lock";
import { eventually } from "./program.ts";

// Not the folder for temporary files that this run was given: other runs have others.
const machineWide = "/tmp/dualmesh-interop.turn";
const patienceMs = 900_000;

export async function takeTurn(directory = machineWide): Promise<Disposable> {
  mkdirSync(directory, { recursive: true });
  let lock: Lock | undefined;
  await eventually(`it is this run's turn in ${directory}`, patienceMs, async () => {
    lock = await tryLock(directory);
    return lock !== undefined;
  });
  return { [Symbol.dispose]: () => void lock?.release() };
}

/** Undefined while another run has it. */
async function tryLock(directory: string): Promise<Lock | undefined> {
  try {
    return await takeLock(directory);
  } catch (error) {
    if (isMeshError(error, "state.locked")) return undefined;
    throw error;
  }
}
