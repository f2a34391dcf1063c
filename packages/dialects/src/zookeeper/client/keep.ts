/**
 * What a directory in ZooKeeper keeps on disk: its session, the nodes it has made, the services it watched and the last good names of
 * their lists. A sidecar that starts while no server answers goes by this.
 */
import type { Journal } from "@dualmesh/base/state/journal";
import type { Session } from "./client.ts";

const sessionKey = "session";
const ownPrefix = "own\0";
const feedPrefix = "feed\0";
const namePrefix = "name\0";

export class ZooKeeperKeep {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** The session that a former process left, and those before it whose nodes may still be there. */
  session(): { readonly session: Session; readonly former: readonly bigint[] } | undefined {
    const value = this.#journal.get(sessionKey);
    const match = /^([0-9a-f]{1,16}) ([A-Za-z0-9+/=]*)((?: [0-9a-f]{1,16})*)$/.exec(value?.toString() ?? "");
    if (match === null) return undefined;
    const [, id, password, former] = match as unknown as [string, string, string, string];
    return {
      session: { id: signed(BigInt(`0x${id}`)), password: Buffer.from(password, "base64") },
      former: former
        .split(" ")
        .filter((text) => text !== "")
        .map((text) => signed(BigInt(`0x${text}`))),
    };
  }

  putSession({ id, password }: Session, former: Iterable<bigint>): void {
    const others = [...former].map((one) => ` ${sessionText(one)}`).join("");
    this.#journal.put(sessionKey, `${sessionText(id)} ${password.toString("base64")}${others}`);
  }

  deleteSession(): void {
    this.#journal.delete(sessionKey);
  }

  ownPaths(): readonly string[] {
    return this.#below(ownPrefix);
  }

  putOwn(path: string): void {
    this.#journal.put(ownPrefix + path, "");
  }

  deleteOwn(path: string): void {
    this.#journal.delete(ownPrefix + path);
  }

  /** The services that were watched, with the wall time up to which each was proven. */
  feeds(): ReadonlyMap<string, number> {
    return new Map(this.#below(feedPrefix).map((name) => [name, Number(this.#journal.get(feedPrefix + name)) || 0]));
  }

  putFeed(service: string, freshSince: number): void {
    this.#journal.put(feedPrefix + service, String(Math.floor(freshSince)));
  }

  deleteFeed(service: string): void {
    this.#journal.delete(feedPrefix + service);
  }

  lists(): ReadonlyMap<string, ReadonlySet<string>> {
    const lists = new Map<string, Set<string>>();
    for (const text of this.#below(namePrefix)) {
      const end = text.indexOf("\0");
      const path = text.slice(0, end);
      lists.set(path, (lists.get(path) ?? new Set()).add(text.slice(end + 1)));
    }
    return lists;
  }

  putName(path: string, name: string): void {
    this.#journal.put(`${namePrefix}${path}\0${name}`, "");
  }

  deleteName(path: string, name: string): void {
    this.#journal.delete(`${namePrefix}${path}\0${name}`);
  }

  flushed(): Promise<void> {
    return this.#journal.flushed();
  }

  #below(prefix: string): string[] {
    const names: string[] = [];
    for (const [key] of this.#journal.entries()) if (key.startsWith(prefix)) names.push(key.slice(prefix.length));
    return names;
  }
}

/** A session's id as ZooKeeper's own tools write it. */
export function sessionText(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}

function signed(id: bigint): bigint {
  return BigInt.asIntN(64, id);
}
