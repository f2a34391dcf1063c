/**
 * The ZooKeeper door: applications that use Dubbo or SOFA-RPC over ZooKeeper find here what they know, with nothing changed but the
 * address. Connection and session layer stand before a tree that answers from the directory.
 */
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Door, DoorConnection, DoorContext, DoorPeer, DoorSession, Standing } from "../door.ts";
import { DiscoveryTree } from "./discovery-tree.ts";
import { dubboLayout } from "./dubbo-layout.ts";
import { Layouts } from "./layout.ts";
import { defaultLimits, type ZooKeeperLimits } from "./limits.ts";
import { Sessions } from "./session.ts";
import { sofaLayout } from "./sofa-layout.ts";

export interface ZooKeeperDoorOptions {
  readonly limits?: Partial<ZooKeeperLimits>;
  /** The root nodes that Dubbo (`group` of its registry) and SOFA-RPC use; `dubbo` and `sofa-rpc` when not given. */
  readonly dubboRoots?: readonly string[];
  readonly sofaRoots?: readonly string[];
}

export async function openZooKeeperDoor(context: DoorContext, options: ZooKeeperDoorOptions = {}): Promise<Door> {
  const limits = { ...defaultLimits, ...options.limits };
  const told = new ThrottledLog(context);
  const sessions = new Sessions({ ...context, limits, told });
  const layouts = new Layouts([
    ...(options.dubboRoots ?? ["dubbo"]).map((root) => dubboLayout(root)),
    ...(options.sofaRoots ?? ["sofa-rpc"]).map((root) => sofaLayout(root)),
  ]);
  const tree = new DiscoveryTree({ context, layouts, limits, listener: sessions, told });
  sessions.serve(tree);
  tree.restore(sessions.restore());
  await context.journal.flushed();
  return {
    dialect: "zookeeper",
    connect: (peer: DoorPeer): DoorConnection => sessions.connect(peer),
    adopt: (peer: DoorPeer, standing: Standing): DoorConnection | undefined => sessions.adopt(peer, standing),
    serving: (isServing: boolean): void => sessions.serving(isServing),
    sessions: (): readonly DoorSession[] =>
      sessions.list().map((session) => ({
        id: session.id.toString(16),
        remote: session.remote,
        application: session.application,
        watches: sessions.watchedPaths(session),
        ...tree.describe(session),
      })),
    async [Symbol.asyncDispose](): Promise<void> {
      sessions.close();
      tree.close();
      await context.journal.flushed();
    },
  };
}
