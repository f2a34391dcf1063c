/**
 * A port that nobody configured: the usual one, or the next that is free, so that a second sidecar of a host runs without a word. What was
 * taken is kept on disk, because applications, scrapers and people remember it.
 */
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Journal } from "@dualmesh/base/state/journal";

export interface FreePortOptions<Listening> {
  readonly journal: Journal;
  /** The key of the configuration that sets it, under which it is kept as well. */
  readonly key: string;
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

/** Rejects with `listen.port-taken`, naming the key, when the configured port is in use, or when all that may be tried are. */
export async function listenAtFreePort<Listening>(options: FreePortOptions<Listening>): Promise<Listening> {
  const { journal, key, configured, usual, listen } = options;
  if (configured !== undefined) return listen(configured).catch((error: unknown) => fail(key, error));
  let refusal: unknown = new MeshError("listen.port-taken", "every port that may be tried is reserved");
  for (const port of candidates(options)) {
    try {
      const listening = await listen(port);
      // The usual one is what a sidecar begins with anyhow.
      if (port !== usual) journal.put(prefix + key, String(port));
      else if (journal.get(prefix + key) !== undefined) journal.delete(prefix + key);
      return listening;
    } catch (error) {
      if (!isMeshError(error, "listen.port-taken")) throw error;
      refusal = error;
    }
  }
  return fail(key, refusal);
}

function fail(key: string, error: unknown): never {
  if (!isMeshError(error, "listen.port-taken")) throw error;
  throw new MeshError(error.code, `${key}: ${error.message}`, error.details, { cause: error });
}

function* candidates({ journal, key, usual, step = 1, isReserved }: FreePortOptions<unknown>): Generator<number> {
  const kept = Number(journal.get(prefix + key)?.toString("utf8"));
  // What cannot be read is as good as nothing kept.
  if (Number.isInteger(kept) && kept > 0 && kept <= 65_535 && isReserved?.(kept) !== true) yield kept;
  for (let index = 0; index < maxTries; index += 1) {
    const port = usual + index * step;
    if (port > 65_535) return;
    if (port !== kept && isReserved?.(port) !== true) yield port;
  }
}
