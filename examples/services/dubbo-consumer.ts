/** Calls `demo.Stock` by Dubbo, with dubbo2.js and whatever addresses it finds in ZooKeeper. */
import { CallFailed, keepCalling } from "./caller.ts";
import { dubbo2, type Reply } from "./clients/dubbo2.ts";
import { setting } from "./report.ts";

const { Dubbo, setting: rules, java } = dubbo2;

interface StockService {
  count(item: number): Promise<Reply<{ by: string }>>;
}

const dubbo = Dubbo.from<{ stock: StockService }>({
  application: { name: setting("NAME") },
  register: setting("REGISTRY"),
  dubboInvokeTimeout: 3,
  dubboSetting: rules.match("demo.Stock", { version: "0.0.0" }),
  service: {
    stock: (from) =>
      from.proxyService<StockService>({
        dubboInterface: "demo.Stock",
        methods: { count: (item: number) => [java.Integer(item)] },
      }),
  },
});

// The library answers with an object of its own; the address that it dialled is put beside the answer.
dubbo.use(async (context, next) => {
  await next();
  context.body = { ...context.body, dialled: `${context.invokeHost ?? ""}:${context.invokePort ?? ""}` };
});

await dubbo.ready();
await keepCalling(
  async (count) => {
    const { res, err, dialled = "" } = await dubbo.service.stock.count(count);
    if (err !== null || res === null) throw new CallFailed(dialled, err ?? "an empty answer");
    return { dialled, by: res.by };
  },
  // The library has no way to be closed; the process ends, and its connections with it.
  async () => {},
);
