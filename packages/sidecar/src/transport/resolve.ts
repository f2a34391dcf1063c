/** The addresses of a host name, as the system knows them. */
import { lookup } from "node:dns/promises";

/** Rejects when it has none. */
export async function resolveHost(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
