/** The sidecar as the command line runs it. */
import { isLoopback } from "@dualmesh/base/admin/server";
import { sidecarConfig } from "@dualmesh/sidecar/config";
import { startSidecar } from "@dualmesh/sidecar/sidecar";
import type { Part } from "./part.ts";

export const sidecarPart: Part<typeof sidecarConfig> = {
  name: "sidecar",
  schema: sidecarConfig,
  async start(context) {
    const { host, port } = context.config.admin;
    const running = await startSidecar(context);
    return {
      running,
      warnings: isLoopback(host) ? [] : [`the admin port is open to other machines at ${host}, without authentication`],
      admin: { host, port, routes: running.routes },
    };
  },
};
