/** Where this sidecar's instances come from and go to, by the one key of the configuration that says it. */
import { hostname } from "node:os";
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type { StateDirectory } from "@dualmesh/base/state/state";
import { openRegistryDirectory, type Readiness, type RegistryDirectoryStatus } from "@dualmesh/client/directory";
import { dialTcp } from "@dualmesh/client/tcp";
import type { Directory } from "@dualmesh/model/directory";
import type { SidecarConfig } from "../config.ts";
import { registryAddresses, zooKeeperAddresses } from "../settings.ts";

/** A directory as the sidecar runs it, whichever kind it is. */
export interface SidecarDirectory extends Directory {
  readonly kind: SidecarConfig["directory"];
  /** Resolves when every subscription on disk is answered (`fresh`), or the source was out of reach and the disk is in force (`stale`). */
  ready(): Promise<"fresh" | "stale">;
  /** The same as it is now. */
  readonly readiness: Readiness;
  /** What a former process published has been published again, as far as its owners still are: the rest may go. */
  restored(): void;
  status(): RegistryDirectoryStatus;
  /** `orderly` takes back what is published; otherwise a successor with the same state continues it. */
  close(options: { readonly orderly: boolean }): Promise<void>;
}

export interface OpenDirectoryOptions {
  readonly state: Pick<StateDirectory, "journal" | "readDocument" | "writeDocument">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The version of this program, shown by the registry. */
  readonly agent?: string;
}

const journalName = "directory";
const documentName = "node";

export async function openDirectory(config: SidecarConfig, options: OpenDirectoryOptions): Promise<SidecarDirectory> {
  const { state, clock, random, log, agent } = options;
  if (config.directory === "zookeeper") return openZooKeeper(config, options);
  if (config.directory !== "registry") {
    throw new MeshError(
      "config.invalid",
      `directory: ${config.directory} comes in a later version; use registry or zookeeper`,
    );
  }
  const nodeId = config.nodeId ?? (await keptNodeId(state, random));
  const journal: Journal = await state.journal(journalName);
  const directory = openRegistryDirectory({
    addresses: registryAddresses(config),
    nodeId,
    kind: "sidecar",
    journal,
    clock,
    random,
    log,
    staleAfterMs: config.staleAfterMs,
    ...(agent === undefined ? {} : { agent }),
  });
  return Object.assign(directory, { kind: config.directory });
}

/** What is kept of one kind of directory says nothing to the other. */
const zooKeeperJournalName = "zookeeper-directory";

async function openZooKeeper(config: SidecarConfig, options: OpenDirectoryOptions): Promise<SidecarDirectory> {
  const { state, clock, random, log } = options;
  const { chroot, auth, sessionTimeoutMs, dubboRoot, sofaRoot } = config.zookeeper;
  // Loaded by those only who use it.
  const { openZooKeeperDirectory } = await import("@dualmesh/dialects/zookeeper/client/directory");
  const directory = openZooKeeperDirectory({
    addresses: zooKeeperAddresses(config),
    dial: dialTcp,
    journal: await state.journal(zooKeeperJournalName),
    clock,
    random,
    log,
    sessionTimeoutMs,
    dubboRoot,
    sofaRoot,
    staleAfterMs: config.staleAfterMs,
    ...(chroot === undefined ? {} : { chroot }),
    ...(auth === undefined ? {} : { credentials: [auth] }),
  });
  return Object.assign(directory, { kind: config.directory });
}

/** A name for good, made at the first start: the registry lets nobody else continue what is registered under it. */
async function keptNodeId(state: OpenDirectoryOptions["state"], random: Random): Promise<string> {
  const kept = (await state.readDocument(documentName)) as { readonly id?: unknown } | null | undefined;
  if (typeof kept?.id === "string" && kept.id !== "") return kept.id;
  const id = `${hostname().slice(0, 64)}-${random.bytes(6).toString("hex")}`;
  await state.writeDocument(documentName, { id });
  return id;
}
