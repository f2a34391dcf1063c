/** nginx in one process, for HTTP only: connections kept alive on both sides, bodies passed on as they come, nothing logged. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { accepting, freePort, proxyCore, start } from "./process.ts";
import type { StartProxy } from "./proxy.ts";
import { isInstalled, temporaryDirectory } from "./proxy.ts";

export const startNginx: StartProxy = async (scope, work, echoPort) => {
  if (work !== "http") return { unavailable: "it is measured with http only" };
  if (!isInstalled("nginx", "-v")) return { unavailable: "nginx is not installed (`apt-get install nginx-light`)" };
  const port = await freePort();
  const directory = temporaryDirectory(scope);
  const file = join(directory, "nginx.conf");
  writeFileSync(file, configuration(directory, port, echoPort));
  const started = start(scope, {
    core: proxyCore,
    command: "nginx",
    args: ["-p", directory, "-e", "stderr", "-c", file],
  });
  await accepting(started, port);
  return { port, pid: started.pid };
};

const always = "1000000000";

function configuration(directory: string, port: number, echoPort: number): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `  ${name}_temp_path ${join(directory, name)};`)
    .join("\n");
  return `daemon off;
master_process off;
worker_processes 1;
pid ${join(directory, "nginx.pid")};
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
${temporary}
  keepalive_requests ${always};
  keepalive_timeout 1h;
  client_max_body_size 0;
  upstream provider {
    server 127.0.0.1:${echoPort};
    keepalive 256;
    keepalive_requests ${always};
    keepalive_timeout 1h;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1:${echoPort};
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto http;
      proxy_set_header X-Forwarded-Host $http_host;
    }
  }
}
`;
}
