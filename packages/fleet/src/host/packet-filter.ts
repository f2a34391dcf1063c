/** Puts tables of rules in force with nft, and lists them. */
import { MeshError } from "@dualmesh/base/errors";
import type { Namespace } from "./namespace.ts";
import { firstLine, type Ran, runProgram } from "./programs.ts";

/** All of `text` comes into force, or nothing of it. Rejects with `host.not-permitted` or `host.failed`. */
export async function applyRules(namespace: Namespace, text: string, what: string): Promise<void> {
  const ran = await nft(namespace, ["-f", "-"], text);
  if (ran.code !== 0) throw refused(ran, what);
}

/** Why the kernel would not take `text`, as nft says it; undefined when it would. Nothing comes into force. */
export async function whyRefused(namespace: Namespace, text: string): Promise<string | undefined> {
  const ran = await nft(namespace, ["-c", "-f", "-"], text);
  return ran.code === 0 ? undefined : firstLine(ran.said);
}

/** The names of the tables that may be ours. */
export async function listTables(namespace: Namespace): Promise<readonly string[]> {
  const ran = await nft(namespace, ["-j", "list", "tables", "inet"]);
  if (ran.code !== 0) throw refused(ran, "the list of tables");
  const { nftables } = JSON.parse(ran.output) as { nftables: readonly { table?: { family: string; name: string } }[] };
  return nftables.flatMap(({ table }) => (table?.family === "inet" ? [table.name] : []));
}

function nft(namespace: Namespace, words: readonly string[], input = ""): Promise<Ran> {
  return namespace.at((entrance) => runProgram({ program: "nft", words, input }, entrance));
}

function refused({ said }: Ran, what: string): MeshError {
  const why = firstLine(said);
  return /not permitted|must be root/i.test(said)
    ? new MeshError(
        "host.not-permitted",
        `nft may not change ${what}: ${why}; it needs root (or --sudo), or the capability CAP_NET_ADMIN in that network namespace`,
      )
    : new MeshError("host.failed", `nft refused ${what}: ${why}`);
}
