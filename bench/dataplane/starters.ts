/** The kinds of proxy. A new one is a file and a line here. */
import type { ProxyName } from "../options.ts";
import { startDualmesh } from "./dualmesh.ts";
import { startEnvoy } from "./envoy.ts";
import { startHaproxy } from "./haproxy.ts";
import { startNginx } from "./nginx.ts";
import type { StartProxy } from "./proxy.ts";

export const starters: Readonly<Record<ProxyName, StartProxy>> = {
  direct: (_scope, _work, port) => Promise.resolve({ port, pid: undefined }),
  dualmesh: startDualmesh,
  "dualmesh-rules": () => Promise.resolve({ unavailable: "the product has no rules yet" }),
  haproxy: startHaproxy,
  envoy: startEnvoy,
  nginx: startNginx,
};
