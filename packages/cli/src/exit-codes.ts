/** The exit codes of `dualmesh`, which scripts may rely on, and which error becomes which. */
import { isMeshError } from "@dualmesh/base/errors";

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  configuration: 3,
  locked: 4,
  portTaken: 5,
  state: 6,
  unreachable: 7,
  refused: 8,
} as const;

/** What each code says, in `--help`. */
export const exitCodeTexts: readonly (readonly [number, string])[] = [
  [exitCodes.ok, "it did what was asked, or was ended in order by a signal"],
  [exitCodes.failed, "it failed"],
  [exitCodes.usage, "the command line is wrong"],
  [exitCodes.configuration, "the configuration is wrong or cannot be read"],
  [exitCodes.locked, "another process uses the state directory"],
  [exitCodes.portTaken, "a port is taken or cannot be listened on"],
  [exitCodes.state, "the state directory cannot be used"],
  [exitCodes.unreachable, "nothing answers at the address or in the directory"],
  [exitCodes.refused, "a move was refused before anything was changed"],
];

export function exitCodeOf(error: unknown): number {
  if (!isMeshError(error)) return exitCodes.failed;
  if (error.code === "state.locked") return exitCodes.locked;
  const area = error.code.split(".")[0];
  if (area === "usage") return exitCodes.usage;
  if (area === "config") return exitCodes.configuration;
  if (area === "listen") return exitCodes.portTaken;
  if (area === "state") return exitCodes.state;
  return area === "control" ? exitCodes.unreachable : exitCodes.failed;
}
