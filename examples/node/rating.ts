/**
 * Offers `rating` over HTTP, as `examples/python/rating.py` does, for a machine without Python: `node:http`, and the Node SDK to register.
 * `REGISTRY` is the registry's stream, `registry:HOST:PORT`, or its sidecar's HTTP door, `http://HOST:PORT`.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { connect } from "@dualmesh/client/sdk";
import { onEnd } from "../services/lifetime.ts";
import { report, setting } from "../services/report.ts";
import { Traffic } from "../services/traffic.ts";

const registry = setting("REGISTRY");
const stream = "registry:";
const host = "127.0.0.1";
const mesh = connect({
  ...(registry.startsWith(stream) ? { registry: registry.slice(stream.length) } : { sidecar: registry }),
  host,
});
const name = setting("NAME");
const workMs = Number(setting("WORK_MS"));
const port = Number(setting("PORT"));
const traffic = new Traffic();
let leaving = false;

const server = createServer((request, response) => {
  void traffic.serve(async () => {
    await wait(workMs);
    const item = request.url?.split("/").at(-1) ?? "";
    if (leaving) response.setHeader("connection", "close"); // the next call goes to another instance
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ by: name, item, stars: (item.length % 5) + 1 }));
  });
});

server.listen(port, host);
await once(server, "listening");
const offered = mesh.register({ service: "rating", port, application: name });
await offered.inForce;
report({ event: "ready" });

onEnd(async () => {
  await offered.withdraw();
  leaving = true;
  await traffic.quiet();
  report({ event: "ended", started: 0 });
  await mesh.close();
  server.closeAllConnections();
  server.close();
});
