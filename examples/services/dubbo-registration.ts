/** Registers a Dubbo provider in ZooKeeper, in Dubbo's own layout: an ephemeral node whose name is the provider's URL. */
import { type Client, type Failure, zookeeper } from "./clients/zookeeper.ts";

export interface Registration {
  withdraw(): Promise<void>;
  close(): void;
}

/** Resolves when the provider can be found. A session that is lost is followed by a new one, and the node is made again. */
export async function registerDubbo(registry: string, service: string, url: string): Promise<Registration> {
  const parent = `/dubbo/${service}/providers`;
  const node = `${parent}/${encodeURIComponent(url)}`;
  let wanted = true;
  let client = await connect();

  async function connect(): Promise<Client> {
    const next = zookeeper.createClient(registry, { sessionTimeout: 10_000 });
    const connected = new Promise<void>((resolve) => next.once("connected", resolve));
    next.connect();
    await connected;
    next.once("expired", () => {
      if (!wanted) return;
      connect().then(
        (fresh) => {
          client = fresh;
        },
        (error: unknown) => console.error(error),
      );
    });
    await settle((done) => next.mkdirp(parent, done));
    // A node that an earlier session of this very provider left behind would die with that session: it is replaced.
    await settle((done) => next.remove(node, -1, done), [zookeeper.Exception.NO_NODE]);
    await settle((done) => next.create(node, zookeeper.CreateMode.EPHEMERAL, done));
    return next;
  }

  return {
    async withdraw() {
      wanted = false;
      await settle((done) => client.remove(node, -1, done), [zookeeper.Exception.NO_NODE]);
    },
    close() {
      wanted = false;
      client.close();
    },
  };
}

/** A callback as a promise; the codes in `fine` are no failure. */
function settle(
  run: (done: (error: Error | Failure | null) => void) => void,
  fine: readonly number[] = [],
): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => {
      const isFine = error instanceof zookeeper.Exception && fine.includes(error.getCode());
      if (error && !isFine) reject(error);
      else resolve();
    });
  });
}
