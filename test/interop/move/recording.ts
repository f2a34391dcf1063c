/**
 * A subscriber of a real ZooKeeper, as a program of its own because it runs on a host of its own: `recording.ts SERVERS PATH…` says each change
 * of the lists below these paths as a JSON line, with how many instances of the same group are left.
 */
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { dialTcp } from "@dualmesh/client/tcp";
import { ZooKeeperClient } from "@dualmesh/dialects/zookeeper/client/client";

const [servers = "", ...paths] = process.argv.slice(2);
const lists = new Map(paths.map((path) => [path, new Set<string>()]));
let known = false;

const client = new ZooKeeperClient({
  addresses: servers.split(","),
  dial: dialTcp,
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  onConnected: () => {
    readAll().catch((error: Error) => say({ trouble: error.message }));
  },
  onDisconnected: () => say({ connected: false }),
  onExpired: () => say({ trouble: "the recorder's session has expired" }),
  onEvent: ({ type, path }) => {
    const list = path.slice(0, path.lastIndexOf("/"));
    const name = path.slice(list.length + 1);
    const names = lists.get(list);
    if (names === undefined || (type !== created && type !== deleted)) return;
    if (type === created) names.add(name);
    else names.delete(name);
    tell(type === created ? "created" : "deleted", list, name);
  },
  onProven: () => undefined,
});
const created = 1;
const deleted = 2;
client.start();
process.stdin.on("end", () => process.exit()).resume();

/** First the watch and then the list, so that no change is between the two; what a connection missed shows in the list. */
async function readAll(): Promise<void> {
  for (const [path, names] of lists) {
    await client.addRecursiveWatch(path);
    const { children = [] } = (await client.children(path)) ?? {};
    for (const name of children.filter((one) => !names.has(one))) {
      names.add(name);
      if (known) tell("created", path, name);
    }
    for (const name of [...names].filter((one) => !children.includes(one))) {
      names.delete(name);
      tell("deleted", path, name);
    }
  }
  say({ connected: true, server: client.address });
  if (!known) say({ ready: true, lists: Object.fromEntries([...lists].map(([path, names]) => [path, [...names]])) });
  known = true;
}

function tell(change: "created" | "deleted", list: string, name: string): void {
  const group = groupOf(name);
  const left = [...(lists.get(list) ?? [])].filter((one) => groupOf(one) === group).length;
  say({ change, list, group, left, name, at: systemClock.wall() });
}

/** Dubbo's group or SOFA-RPC's uniqueId; subscribers of one see nothing of the others. */
function groupOf(name: string): string {
  return /[?&](?:group|uniqueId)=(\w*)/.exec(decodeURIComponent(name))?.[1] ?? "";
}

function say(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
