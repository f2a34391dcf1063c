/**
 * A collection of the heap at a moment of this process's choosing. A new process's heap has just grown by all that carries the connections, and the
 * collector would look through it when they stand still, or when everybody's calls have come at once. Node offers it by a flag only.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
