/** The registry as the command line runs it, without what reads its configuration. */
import { isLoopback, jsonReply, textReply } from "@dualmesh/base/admin/server";
import type { RegistryConfig } from "@dualmesh/registry/config";
import { startRegistry } from "@dualmesh/registry/registry";
import type { RunnablePart } from "./part.ts";

export const registryRunner: RunnablePart<RegistryConfig> = {
  name: "registry",
  async start(context) {
    const { config, shown } = context;
    const running = await startRegistry(context);
    return {
      running,
      warnings: isLoopback(config.listen)
        ? []
        : [`stream, doors and admin are open to other machines at ${config.listen}, without authentication`],
      admin: {
        host: config.listen,
        port: config.admin.port,
        routes: new Map([
          ["/healthz", () => textReply("ok\n")],
          // It listens only after it has loaded what it kept, so that a registry that answers is ready.
          ["/readyz", () => textReply("ready\n")],
          ["/metrics", () => ({ status: 200, contentType: "text/plain; version=0.0.4", body: running.metrics() })],
          ["/config", () => jsonReply(shown)],
          ["/instances", (query: URLSearchParams) => jsonReply(running.instances(query.get("service") ?? ""))],
        ]),
      },
    };
  },
};
