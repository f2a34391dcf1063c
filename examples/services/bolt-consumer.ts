/** Calls `demo.Price` by Bolt, with sofa-rpc-node and whatever addresses its ZooKeeper registry gives it. */
import { CallFailed, keepCalling } from "./caller.ts";
import { sofa } from "./clients/sofa-rpc.ts";
import { quietLogger } from "./lifetime.ts";
import { setting } from "./report.ts";

const logger = quietLogger;
const registry = new sofa.registry.ZookeeperRegistry({ logger, address: setting("REGISTRY") });
const rpc = new sofa.client.RpcClient({ logger, registry });
const price = rpc.createConsumer({ interfaceName: "demo.Price", responseTimeout: 3000 });
/** The address of each call under way, by its number, which is also its argument. */
const dialled = new Map<number, string>();

price.on("response", ({ req }) => dialled.set(req.args[0], req.meta.address?.host ?? ""));
rpc.on("error", (error) => console.error(error));
registry.on("error", (error) => console.error(error));

await price.ready();
await keepCalling(
  async (count) => {
    try {
      const reply = await price.invoke("quote", [count]);
      return { dialled: dialled.get(count) ?? "", by: reply.by };
    } catch (error) {
      throw new CallFailed(dialled.get(count) ?? "", error);
    } finally {
      dialled.delete(count);
    }
  },
  async () => {
    await rpc.close();
    await registry.close();
  },
);
