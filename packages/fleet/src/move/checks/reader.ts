/** A short session of one's own at the registry. */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { dialTcp } from "@dualmesh/client/tcp";
import { ZooKeeperClient } from "@dualmesh/dialects/zookeeper/client/client";

export type Reader = Pick<ZooKeeperClient, "children" | "exists" | "data">;
export type Toucher = Pick<ZooKeeperClient, "create" | "delete">;

const connectMs = 10_000;
const lookMs = 20;
const sessionMs = 10_000;

/** Rejects with `move.no-registry` when none of the servers takes a session. */
export async function reading<Result>(
  addresses: readonly string[],
  clock: Clock,
  read: (reader: Reader & Toucher) => Promise<Result>,
): Promise<Result> {
  const client = new ZooKeeperClient({
    addresses,
    dial: dialTcp,
    clock,
    random: systemRandom,
    log: silentLog,
    sessionTimeoutMs: sessionMs,
    onConnected: () => undefined,
    onDisconnected: () => undefined,
    onExpired: () => undefined,
    onEvent: () => undefined,
    onProven: () => undefined,
  });
  client.start();
  try {
    const end = clock.now() + connectMs;
    while (!client.open) {
      if (clock.now() >= end) {
        throw new MeshError(
          "move.no-registry",
          `no session with ${addresses.join(", ")} within ${connectMs / 1_000} s: ${client.lastError || "no answer"}; is it ZooKeeper, and does it take connections from here?`,
          { addresses },
        );
      }
      await sleep(clock, lookMs);
    }
    return await read(client);
  } finally {
    await client.close();
  }
}
