/** By what the two processes of an upgrade talk: with connections where they can be moved, and without them elsewhere. */
import { isMeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { openSystemCalls, type Packets } from "../transport/native.ts";
import { StreamPackets } from "../transport/stream-packets.ts";

/** `any` is `moving` where that is possible, and `draining` elsewhere, which the log says. Rejects with `upgrade.unavailable`. */
export async function openPackets(how: "any" | "moving" | "draining", log: Log): Promise<Packets> {
  if (how === "draining") return new StreamPackets();
  try {
    return await openSystemCalls();
  } catch (error) {
    if (how === "moving" || !isMeshError(error, "upgrade.unavailable")) throw error;
    log.warn({ why: error.message }, "connections cannot be moved here: they end in order, and callers connect again");
    return new StreamPackets();
  }
}
