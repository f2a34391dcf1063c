/** The records of the moves that the operator names. */
import { MeshError } from "@dualmesh/base/errors";
import type { Privileged } from "@dualmesh/fleet/host/host";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import type { MoveRecords, UnreadableMove } from "@dualmesh/fleet/move/world";
import type { ProcessName } from "@dualmesh/fleet/process/facts";

export async function findRecord(
  named: ProcessName,
  records: Pick<MoveRecords, "list" | "unreadable">,
  privileged: Pick<Privileged, "facts">,
): Promise<MoveRecord> {
  const all = await records.list();
  const found = named.kind === "pid" ? ofProcess(all, named.pid) : await ofName(all, named, privileged);
  const [record, ...others] = found;
  const text = named.kind === "pid" ? `process ${named.pid}` : `${named.kind} ${named.name}`;
  if (record === undefined) {
    const unreadable = await records.unreadable();
    const damaged = named.kind === "pid" ? unreadable.find(({ pid }) => pid === named.pid) : unreadable[0];
    if (damaged !== undefined) throw new MeshError("move.damaged", unreadableText(damaged));
    throw new MeshError("move.none", `there is no move of ${text}: dualmesh move status shows those that there are`);
  }
  if (others.length > 0) {
    const pids = found.map(({ process }) => process.pid).join(", ");
    throw new MeshError(
      "move.several-processes",
      `there are several moves of ${text}: name one with --pid, of ${pids}`,
    );
  }
  return record;
}

/** All that the operator means who names a process, or none. Of a process that had the same number before, its move as well. */
export async function movesMeant(
  named: ProcessName | undefined,
  records: Pick<MoveRecords, "list" | "unreadable">,
  privileged: Pick<Privileged, "facts">,
): Promise<{ readonly found: readonly MoveRecord[]; readonly unreadable: readonly UnreadableMove[] }> {
  const [all, unreadable] = [await records.list(), await records.unreadable()];
  if (named === undefined) return { found: all, unreadable };
  if (named.kind === "pid") {
    const { pid } = named;
    return {
      found: all.filter(({ process }) => process.pid === pid),
      unreadable: unreadable.filter((one) => one.pid === pid),
    };
  }
  const pids = new Set((await privileged.facts(named).catch(() => [])).map(({ pid }) => pid));
  return {
    found: await ofName(all, named, privileged),
    unreadable: unreadable.filter(({ pid }) => pids.has(pid)),
  };
}

export function unreadableText({ name, pid, why }: UnreadableMove): string {
  return `the move ${name} of process ${pid} cannot be read, and nobody looks after it: ${why}`;
}

/** Of two processes that had this number the later. */
function ofProcess(all: readonly MoveRecord[], pid: number): readonly MoveRecord[] {
  return all
    .filter(({ process }) => process.pid === pid)
    .sort((one, other) => other.process.started - one.process.started)
    .slice(0, 1);
}

async function ofName(
  all: readonly MoveRecord[],
  named: ProcessName,
  privileged: Pick<Privileged, "facts">,
): Promise<readonly MoveRecord[]> {
  const there = await privileged.facts(named).catch(() => []); // what the records say is then all that is known
  const isThere = ({ process }: MoveRecord): boolean =>
    there.some(({ pid, started }) => pid === process.pid && started === process.started);
  return all.filter((record) => isThere(record) || JSON.stringify(record.named) === JSON.stringify(named));
}
