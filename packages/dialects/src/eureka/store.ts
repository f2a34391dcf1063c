/** What the Eureka door keeps on disk: one entry for each registration. */

import { isMembers } from "./document.ts";
import { type EurekaRegistration, readRegistration } from "./layout.ts";

export interface StoredLease {
  readonly text: string;
  readonly override: string;
  readonly incarnation: number;
  readonly registeredAt: number;
  readonly remote: string;
}

export const storePrefix = "instance/";

export function storeKey(app: string, id: string): string {
  return `${storePrefix}${app}/${id}`;
}

/** Undefined when it cannot be read. */
export function storedLease(value: Buffer): (StoredLease & { readonly registration: EurekaRegistration }) | undefined {
  try {
    const { text, override, incarnation, registeredAt, remote } = JSON.parse(value.toString("utf8")) as StoredLease;
    if (typeof override !== "string" || typeof remote !== "string") return undefined;
    if (!Number.isSafeInteger(incarnation) || !Number.isSafeInteger(registeredAt)) return undefined;
    const posted: unknown = JSON.parse(text);
    if (!isMembers(posted)) return undefined;
    const registration = readRegistration(posted, String(posted["app"]));
    return { text, override, incarnation, registeredAt, remote, registration };
  } catch {
    return undefined; // the caller says so and goes on without it
  }
}
