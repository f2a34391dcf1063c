/**
 * The two ports by which a sidecar is known: inbound, where other machines call, and outbound, where its own applications do. The first
 * sidecar of a host takes the defaults; a further one takes the next free pair and keeps it, because addresses with these ports live on
 * in registries and in clients.
 */
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Journal } from "@dualmesh/base/state/journal";

export interface PortPair {
  readonly inbound: number;
  readonly outbound: number;
}

export interface ChoosePairOptions<Listening> {
  readonly journal: Journal;
  /** What the configuration says; a port that it names is never exchanged for another one. */
  readonly inbound?: number;
  readonly outbound?: number;
  /** Ports that belong to something else of this sidecar: admin, doors, the range of published ports. */
  readonly isReserved: (port: number) => boolean;
  /** Takes both ports. Rejects with `listen.port-taken` when one of them is in use; the next pair is tried then. */
  readonly listen: (pair: PortPair) => Promise<Listening>;
}

const defaultPair: PortPair = { inbound: 20_881, outbound: 20_882 };
/** Pairs stand so far apart, which leaves room for an admin port between them. */
export const pairStep = 4;
const maxPairs = 64;
const journalKey = "pair";

/** Rejects with `listen.port-taken` when no pair is free, or when a port that the configuration names is not. */
export async function choosePair<Listening>(
  options: ChoosePairOptions<Listening>,
): Promise<{ readonly pair: PortPair; readonly listening: Listening }> {
  let refusal: unknown = new MeshError("listen.port-taken", "no pair of ports may be used: every one is reserved");
  for (const pair of candidates(options)) {
    try {
      const listening = await options.listen(pair);
      // Port 0 is whatever is free at the time: there is nothing to keep.
      if (isPort(pair.inbound) && isPort(pair.outbound)) options.journal.put(journalKey, JSON.stringify(pair));
      return { pair, listening };
    } catch (error) {
      if (!isMeshError(error, "listen.port-taken")) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

function* candidates(options: ChoosePairOptions<unknown>): Generator<PortPair> {
  const { inbound, outbound, isReserved } = options;
  if (inbound !== undefined && outbound !== undefined) return yield { inbound, outbound };
  const given = (pair: PortPair): PortPair => ({
    inbound: inbound ?? pair.inbound,
    outbound: outbound ?? pair.outbound,
  });
  const kept = keptPair(options.journal);
  if (kept !== undefined) yield given(kept);
  for (let index = 0, tried = 0; tried < maxPairs; index += 1) {
    const next = { inbound: defaultPair.inbound + index * pairStep, outbound: defaultPair.outbound + index * pairStep };
    if (next.outbound > 65_535) return;
    const pair = given(next);
    if ((inbound === undefined && isReserved(pair.inbound)) || (outbound === undefined && isReserved(pair.outbound)))
      continue;
    if (pair.inbound === pair.outbound) continue;
    tried += 1;
    yield pair;
  }
}

function keptPair(journal: Journal): PortPair | undefined {
  try {
    const value: unknown = JSON.parse(journal.get(journalKey)?.toString("utf8") ?? "null");
    if (typeof value !== "object" || value === null) return undefined;
    const { inbound, outbound } = value as Partial<Record<keyof PortPair, unknown>>;
    return isPort(inbound) && isPort(outbound) ? { inbound, outbound } : undefined;
  } catch {
    return undefined; // what cannot be read is as good as nothing kept: a pair is chosen anew
  }
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= 65_535;
}
