/** `dualmesh sidecar upgrade`: has a running sidecar replaced by this program, while calls go on. */
import type { Command } from "../command.ts";

export const upgradeCommand: Command = {
  name: "sidecar upgrade",
  summary: "Replaces a running sidecar by this program, while calls go on; no connection is closed that can be moved.",
  flags: [
    {
      name: "state",
      value: "DIR",
      summary: "the state directory of the running sidecar",
      default: "found, when one runs here",
    },
    { name: "drain", summary: "move no connection: they end by their protocols' own means, and callers connect again" },
    { name: "json", summary: "JSON: what was moved, and how long it took" },
  ],
  example: "dualmesh sidecar upgrade --state /var/lib/dualmesh/sidecar",
  run: async (flags) => (await import("./upgrade.ts")).runUpgrade(flags),
};
