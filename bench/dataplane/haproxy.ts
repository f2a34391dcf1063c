/** haproxy as a plain TCP proxy with one thread: the floor that any proxy of this work stands on. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { accepting, freePort, proxyCore, start } from "./process.ts";
import type { StartProxy } from "./proxy.ts";
import { isInstalled, temporaryDirectory } from "./proxy.ts";

export const startHaproxy: StartProxy = async (scope, _work, echoPort) => {
  if (!isInstalled("haproxy", "-v")) return { unavailable: "haproxy is not installed (`apt-get install haproxy`)" };
  const port = await freePort();
  const file = join(temporaryDirectory(scope), "haproxy.cfg");
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 4096

defaults
  mode tcp
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
