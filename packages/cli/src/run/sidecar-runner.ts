/** The sidecar as the command line runs it, without what reads its configuration. */
import { isLoopback } from "@dualmesh/base/admin/server";
import type { SidecarConfig } from "@dualmesh/sidecar/config";
import { startSidecar } from "@dualmesh/sidecar/sidecar";
import type { RunnablePart } from "./part.ts";

export const sidecarRunner: RunnablePart<SidecarConfig> = {
  name: "sidecar",
  async start(context) {
    const { host } = context.config.admin;
    const running = await startSidecar(context);
    return {
      running: { ...running, upgrade: running },
      warnings: [
        ...running.warnings,
        ...(isLoopback(host) ? [] : [`the admin port is open to other machines at ${host}, without authentication`]),
      ],
      admin: { host, port: running.openAdmin, routes: running.routes },
    };
  },
};
