/** The commands of crossings on the control socket. What stands behind them is loaded by the sidecars that use it. */
import type { ControlHandler } from "@dualmesh/base/state/control-socket";

export type CrossingCommands = Readonly<Record<(typeof names)[number], ControlHandler>>;

const names = ["open", "list", "provide", "consume", "close"] as const;

export function crossingCommands(
  loaded: () => Promise<{ readonly commands: CrossingCommands }>,
): ReadonlyMap<string, ControlHandler> {
  const handler =
    (name: (typeof names)[number]): ControlHandler =>
    async (given) =>
      (await loaded()).commands[name](given);
  return new Map(names.map((name) => [`crossing.${name}`, handler(name)]));
}
