/**
 * Node can stand still for good while it exits: the end waits for V8's helper threads, and one that compiles may wait for a collection that only
 * the main thread can do (nodejs/node#54918). With the bundle's small heap, 2 of 60 sidecars that were ended right after their start
 * did so. A process that is about to exit therefore asks for no more compiled code, and lives on until what was asked for is there.
 */
import { setFlagsFromString } from "node:v8";
import { type Clock, sleep } from "@dualmesh/base/clock";

/** More than any compilation takes that a busy machine does not hold up for long. */
const compilationMs = 100;

export async function quietCompilers(clock: Clock): Promise<void> {
  for (const compiler of ["sparkplug", "maglev", "turbofan"]) setFlagsFromString(`--no-${compiler}`);
  await sleep(clock, compilationMs);
}
