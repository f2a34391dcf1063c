/** Offers `demo.Price` by Bolt, with sofa-rpc-node's server, and registers it with its ZooKeeper registry. */
import { setTimeout as wait } from "node:timers/promises";
import { sofa } from "./clients/sofa-rpc.ts";
import { onEnd, quietLogger } from "./lifetime.ts";
import { report, setting } from "./report.ts";
import { Traffic } from "./traffic.ts";

const logger = quietLogger;
const name = setting("NAME");
const workMs = Number(setting("WORK_MS"));
const traffic = new Traffic();
const registry = new sofa.registry.ZookeeperRegistry({ logger, address: setting("REGISTRY") });

const server = new sofa.server.RpcServer({
  appName: name,
  logger,
  registry,
  publishAddress: "127.0.0.1",
  port: Number(setting("PORT")),
});
server.on("error", (error) => console.error(error));
server.addService(
  { interfaceName: "demo.Price" },
  {
    // The library calls only what is declared `async`.
    async quote(item: number) {
      return await traffic.serve(async () => {
        await wait(workMs);
        return { by: name, item, price: (item * 7) % 100 };
      });
    },
  },
);

await server.start();
await server.publish();
report({ event: "ready" });

onEnd(async () => {
  await server.unPublish();
  await traffic.quiet();
  report({ event: "ended", started: 0 });
  await server.close();
  await registry.close();
});
