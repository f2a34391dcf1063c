/** The rights of this process that are in force, as the kernel names them. */
import { readFileSync } from "node:fs";

/** The numbers of the kernel. */
const numbers = { CAP_SETGID: 6, CAP_SETUID: 7, CAP_SETPCAP: 8, CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21 } as const;

/** A bit for each capability that is in force. */
export function effectiveCapabilities(): bigint {
  return capabilities(/^CapEff:\s*([0-9a-f]+)$/m);
}

/** A bit for each one that is, or could be put in force. */
export function permittedCapabilities(): bigint {
  return capabilities(/^CapPrm:\s*([0-9a-f]+)$/m);
}

function capabilities(line: RegExp): bigint {
  return BigInt(`0x${line.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0"}`);
}

export function hasCapability(name: keyof typeof numbers): boolean {
  return ((effectiveCapabilities() >> BigInt(numbers[name])) & 1n) === 1n;
}
