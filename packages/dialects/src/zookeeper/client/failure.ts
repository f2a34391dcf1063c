/** What a ZooKeeper server refuses, and what happens on the way to it, as errors that callers branch on. */
import { isMeshError, MeshError } from "@dualmesh/base/errors";

/** Codes of the protocol that a caller may want to tell apart; the rest is `zookeeper.error`. */
const codes: ReadonlyMap<number, string> = new Map([
  [-6, "zookeeper.unimplemented"],
  [-101, "zookeeper.no-node"],
  [-102, "zookeeper.no-permission"],
  [-103, "zookeeper.bad-version"],
  [-108, "zookeeper.parent-is-ephemeral"],
  [-110, "zookeeper.node-exists"],
  [-111, "zookeeper.not-empty"],
  [-112, "zookeeper.session-expired"],
  [-115, "zookeeper.not-authenticated"],
  [-118, "zookeeper.session-moved"],
]);

/** The error of an answer. `code` is the protocol's number, which is in the details too. */
export function zooKeeperError(code: number, operation: string, path: string): MeshError {
  const name = codes.get(code) ?? "zookeeper.error";
  const text = `ZooKeeper refuses to ${operation} ${path.slice(0, 300)}: ${name.slice(name.indexOf(".") + 1)} (${code})`;
  return new MeshError(name, text, { code, path });
}

/** Nobody can say whether the operation was done: the connection ended, or the answer did not come in time. */
export function isUndecided(error: unknown): boolean {
  return isMeshError(error, "zookeeper.connection-lost") || isMeshError(error, "zookeeper.timeout");
}

/** Over with this session: another one may do it. */
export function isSessionOver(error: unknown): boolean {
  return isMeshError(error, "zookeeper.session-expired") || isMeshError(error, "zookeeper.session-moved");
}
