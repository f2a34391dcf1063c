/**
 * A port that nobody configured: the usual one, or the next that is free, so that a second sidecar of a host runs without a word. What was
 * taken is kept on disk, because applications, scrapers and people remember it.
 */
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Journal } from "@dualmesh/base/state/journal";

export interface FreePortOptions<Listening> {
  readonly journal: Journal;
  /** What the port is for: the name under which it is kept. */
  readonly name: string;
  /** What the configuration says; it is never exchanged for another one. */
  readonly configured: number | undefined;
  readonly usual: number;
  /** From one candidate to the next. */
  readonly step?: number;
  /** Ports that belong to something else of this sidecar. */
  readonly isReserved?: (port: number) => boolean;
  /** Takes the port. Rejects with `listen.port-taken` when it is in use; the next one is tried then. */
  readonly listen: (port: number) => Promise<Listening>;
}

const maxTries = 64;
const prefix = "listen/";

/** Rejects with `listen.port-taken` when the configured port is in use, or when all that may be tried are. */
export async function listenAtFreePort<Listening>(options: FreePortOptions<Listening>): Promise<Listening> {
  const { journal, name, configured, usual, listen } = options;
  if (configured !== undefined) return listen(configured);
  let refusal: unknown = new MeshError("listen.port-taken", `no port for ${name} may be used: every one is reserved`);
  for (const port of candidates(options)) {
    try {
      const listening = await listen(port);
      // The usual one is what a sidecar begins with anyhow.
      if (port !== usual) journal.put(prefix + name, String(port));
      else if (journal.get(prefix + name) !== undefined) journal.delete(prefix + name);
      return listening;
    } catch (error) {
      if (!isMeshError(error, "listen.port-taken")) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

function* candidates({ journal, name, usual, step = 1, isReserved }: FreePortOptions<unknown>): Generator<number> {
  const kept = Number(journal.get(prefix + name)?.toString("utf8"));
  // What cannot be read is as good as nothing kept.
  if (Number.isInteger(kept) && kept > 0 && kept <= 65_535 && isReserved?.(kept) !== true) yield kept;
  for (let index = 0; index < maxTries; index += 1) {
    const port = usual + index * step;
    if (port > 65_535) return;
    if (port !== kept && isReserved?.(port) !== true) yield port;
  }
}
