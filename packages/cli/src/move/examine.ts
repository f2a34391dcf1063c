/** The means by which a process is examined from where this program runs: the process's own network namespace. */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { isIpAddress } from "@dualmesh/base/http/host-name";
import { accountOf } from "@dualmesh/fleet/host/accounts";
import type { Means } from "@dualmesh/fleet/move/checks/examine";
import { reading } from "@dualmesh/fleet/move/checks/reader";
import { roomAt } from "@dualmesh/fleet/move/checks/room";
import { askServer } from "@dualmesh/fleet/move/checks/server";
import { childOf, movesOf, readOwnConfiguration } from "@dualmesh/fleet/move/own-sidecars";
import { controlOf } from "@dualmesh/fleet/move/real-world";
import { parseCgroup } from "@dualmesh/fleet/process/cgroups";
import { productAccount, type Setting } from "./privileges.ts";

/** Where names are slow, nothing of a check waits for them longer. */
const resolveMs = 3_000;

export async function meansOf({ privileged, records, world, moves, user }: Setting): Promise<Means> {
  const clock = systemClock;
  const account = await accountOf(productAccount);
  return {
    privileged,
    records,
    clock,
    self: world.self,
    moves,
    user,
    trusted: [0, user.uid, ...(account === undefined ? [] : [account.uid])],
    cgroup: parseCgroup(readFileSync("/proc/self/cgroup", "utf8")),
    askServer: (address) => askServer(address, clock),
    resolve: addressesOf,
    reading: (addresses, read) => reading(addresses, clock, read),
    list: (state) => controlOf(state, clock).list(),
    ownConfiguration: (state) => readOwnConfiguration(moves, state),
    movesOf,
    pidOf: async (state) => (await childOf(state))?.pid,
    room: () => roomAt(moves),
    surroundings: ({ pid }) => ({ addresses: ownAddresses(), pids: pidsOf(pid) }),
  };
}

export async function addressesOf(name: string): Promise<readonly string[]> {
  if (isIpAddress(name)) return [name];
  const late = sleep(systemClock, resolveMs).then((): never => {
    throw new Error(`no address within ${resolveMs} ms`);
  });
  const found = await Promise.race([lookup(name, { all: true }), late]);
  return found.map(({ address }) => address);
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
}

/** The ids of a process, also in the namespaces of process ids that it is in. Undefined where /proc hides them from this user, and when it is gone. */
function pidsOf(pid: number): readonly number[] | undefined {
  try {
    const [, ids = String(pid)] = /^NSpid:\s*(.+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return ids.split(/\s+/).map(Number);
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
