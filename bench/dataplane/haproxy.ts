/** haproxy with one thread: a plain TCP proxy, the floor that any proxy of this work stands on; for HTTP in its HTTP mode. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Work } from "../options.ts";
import { accepting, freePort, proxyCore, start } from "./process.ts";
import type { StartProxy } from "./proxy.ts";
import { isInstalled, temporaryDirectory } from "./proxy.ts";

export const startHaproxy: StartProxy = async (scope, work, echoPort) => {
  if (!isInstalled("haproxy", "-v")) return { unavailable: "haproxy is not installed (`apt-get install haproxy`)" };
  const port = await freePort();
  const file = join(temporaryDirectory(scope), "haproxy.cfg");
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 4096

defaults
${defaults[work]}
  timeout connect 5s
  timeout client 1h
  timeout server 1h

frontend callers
  bind 127.0.0.1:${port}
  default_backend provider

backend provider
  server echo 127.0.0.1:${echoPort}
`,
  );
  const started = start(scope, { core: proxyCore, command: "haproxy", args: ["-db", "-f", file] });
  await accepting(started, port);
  return { port, pid: started.pid };
};

/** In HTTP both sides are kept alive, any idle connection is used again, and the caller is told in X-Forwarded-For, as dualmesh does. */
const http = `  mode http
  option forwardfor
  http-reuse always`;
const defaults: Readonly<Record<Work, string>> = { bolt: "  mode tcp", dubbo: "  mode tcp", http };
