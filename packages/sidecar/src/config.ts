/**
 * The sidecar's configuration: its keys, their defaults and their bounds. An empty file is a whole configuration. Where the state is kept
 * and how much is logged belongs to every part and is added by the command line.
 */

import { resolve } from "node:path";
import { secretText } from "@dualmesh/base/config/schema";
import { isIpAddress } from "@dualmesh/base/http/host-name";
import { z } from "zod";
import { type OwnProtocol, usualPorts } from "./settings.ts";

const port = z.int().min(0).max(65_535);
const realPort = z.int().min(1).max(65_535);
const hostName = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;
const host = z
  .string()
  .min(1)
  .max(253)
  .refine(
    (text) => isIpAddress(text) || hostName.test(text),
    "expected an IP address or the name of a host, without a port",
  );
/** Where others call, which is one address and not all of them. */
const calledHost = host.refine(
  (text) => text !== "0.0.0.0" && text !== "::",
  "nobody can call all addresses: give the one that others reach",
);
const name = z.string().min(1).max(255);
const milliseconds = (least: number, most: number): z.ZodInt => z.int().min(least).max(most);
const count = (least: number, most: number): z.ZodInt => z.int().min(least).max(most);

const usual = (usualPort: number): string => `default: ${usualPort}, or the next free one, which is kept on disk`;

const kibibyte = 1_024;
const mebibyte = 1_024 * kibibyte;
const gibibyte = 1_024 * mebibyte;
const hour = 3_600_000;

const directories = ["registry", "zookeeper", "xds"] as const;
const laterDirectories: Readonly<Record<string, string>> = {
  xds: "a control plane as directory comes in a later version; use registry or zookeeper",
};

const directory = z.enum(directories).superRefine((value, context) => {
  const later = laterDirectories[value];
  if (later !== undefined) context.addIssue({ code: "custom", message: later });
});

/** What is wrong with a text that should be `host:port` or `[v6]:port`; undefined when nothing is. */
function wrongAddress(text: string, of: string, example: string): string | undefined {
  const [, portText = ""] = /^(?:\[[0-9a-fA-F:.%]+\]|[^\s:[\]/,]{1,253}):(\d{1,5})$/.exec(text) ?? [];
  if (portText === "") return `expected HOST:PORT of ${of}, as in ${example}`;
  if (Number(portText) >= 1 && Number(portText) <= 65_535) return undefined;
  return `expected a port from 1 to 65535 after the colon, as in ${example}`;
}

const address = z.string().superRefine((text, context) => {
  const wrong = wrongAddress(text, "the registry's stream", "10.0.0.5:7710");
  if (wrong !== undefined) context.addIssue({ code: "custom", message: wrong });
});

const servers = z
  .string()
  .max(4_096)
  .superRefine((text, context) => {
    const wrong = text.split(",").map((one) => wrongAddress(one, "a ZooKeeper server", "10.0.0.5:2181"));
    const [first] = wrong.filter((one) => one !== undefined);
    if (first !== undefined) context.addIssue({ code: "custom", message: first });
  });

const nodePath = z
  .string()
  .max(1_000)
  .regex(/^(?:\/[^/\s]+)+$/, "expected the path of a node, as in /dubbo");

const zookeeper = z
  .strictObject({
    addresses: z
      .union([servers, z.array(servers).min(1).max(16)])
      .optional()
      .describe("host:port of a server, or a list of those of the ensemble"),
    chroot: nodePath.optional().describe("the node below which everything is, as in /production"),
    auth: z
      .strictObject({
        scheme: z.literal("digest").default("digest").describe("the only one there is"),
        credentials: secretText()
          .regex(/^[^:]+:.+$/, "expected USER:PASSWORD")
          .describe(
            "USER:PASSWORD, as the applications on this ensemble have it; what is written then belongs to them",
          ),
      })
      .optional()
      .describe("what is said to each server"),
    sessionTimeoutMs: milliseconds(1_000, hour)
      .default(40_000)
      .describe(
        "what is published stays so long after the sidecar was last heard; the servers may bring it to their bounds",
      ),
    dubboRoot: nodePath.default("/dubbo").describe("the root node of Dubbo (`group` of its registry)"),
    sofaRoot: nodePath.default("/sofa-rpc").describe("the root node of SOFA-RPC"),
  })
  .prefault({});

const registry = z
  .strictObject({
    address: z
      .union([address, z.array(address).min(1).max(16)])
      .default("127.0.0.1:7710")
      .describe("host:port of the registry's stream, or a list of several ways to it"),
  })
  .prefault({});

const inbound = z
  .strictObject({
    host: host
      .optional()
      .describe(
        "where other machines' calls arrive; default: the advertised address, else the one each application registers",
      ),
    port: port.optional().describe("default: 20881, or that of the next free pair, which is kept on disk"),
  })
  .prefault({});

const outbound = z
  .strictObject({
    host: host.default("127.0.0.1").describe("where this host's applications call; an address of 127.0.0.0/8"),
    port: port.optional().describe("default: 20882, or that of the next free pair, which is kept on disk"),
    addresses: z
      .string()
      .regex(/^127\.(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4])\.0\.0\/16$/, "a range is 127.N.0.0/16, N from 1 to 254")
      .optional()
      .describe("where HTTP services have an address each; default: by the port, 127.16.0.0/16 for 20882"),
  })
  .prefault({});

const publishedPorts = z
  .strictObject({
    from: realPort.default(20_900).describe("the first"),
    to: realPort.default(20_999).describe("the last"),
  })
  .refine(({ from, to }) => from <= to, { message: "the first port is after the last one", path: ["to"] })
  .prefault({})
  .describe(
    "ports of their own for each HTTP or tcp port of an application, and for second providers of one service on this host",
  );

const zookeeperDoor = z
  .union([z.literal(false), z.strictObject({ port: port.optional().describe(usual(usualPorts.zookeeper)) })])
  .prefault({})
  .describe("the ZooKeeper door on 127.0.0.1, for Dubbo and SOFA-RPC; false keeps it shut");

const meshDoor = z
  .union([
    z.literal(false),
    z.strictObject({
      port: port.optional().describe(usual(usualPorts.mesh)),
      outboundPort: port
        .default(12_220)
        .describe(
          "SOFA-RPC always calls this port of 127.0.0.1, whatever it is told; one sidecar of a network namespace has it",
        ),
    }),
  ])
  .optional()
  .describe(
    "the door for SOFA-RPC's mesh:// registry on 127.0.0.1; false keeps it shut; default: open unless another sidecar has port 12220",
  );

const eurekaDoor = z
  .union([z.literal(false), z.strictObject({ port: port.optional().describe(usual(usualPorts.eureka)) })])
  .prefault({})
  .describe("the Eureka door on 127.0.0.1, for Spring Cloud; false keeps it shut");

const httpDoor = z
  .union([z.literal(false), z.strictObject({ port: port.optional().describe(usual(usualPorts.http)) })])
  .prefault({})
  .describe("the HTTP/JSON door on 127.0.0.1, for any language; false keeps it shut");

const app = z.strictObject({
  name: name.describe("the application, as it names itself"),
  boltPort: realPort.default(12_200).describe("where it listens for Bolt; the mesh:// registry does not say it"),
});

const tcpService = z.strictObject({
  service: z
    .string()
    .regex(/^[^\s/:*%]{1,200}$/, "expected a name without blanks, slashes, colons, stars and percent signs")
    .describe("the name; consumers call tcp/NAME"),
  port: realPort.describe("where the application listens on this host"),
  application: name.optional().describe("the application; default: the name of the service"),
  host: calledHost
    .optional()
    .describe("the application's host as others know it; default: the advertised address, else this machine's"),
});

const tcpServices = z
  .array(tcpService)
  .max(1_000)
  .superRefine((services, context) => {
    const seen = new Set<string>();
    for (const [index, { service }] of services.entries()) {
      if (seen.has(service))
        context.addIssue({
          code: "custom",
          path: [index, "service"],
          message: `${service} is given twice; remove one`,
        });
      seen.add(service);
    }
  })
  .default([])
  .describe(
    "services that pass bytes, of applications that register nowhere; each is published while its port accepts",
  );

const protocols = z
  .array(
    z.strictObject({
      module: z
        .string()
        .regex(/\.[mc]?[jt]s$/, "expected the file of a module: .ts, .js or .mjs")
        .describe("the file, absolute or relative to this one"),
    }),
  )
  .max(16)
  .default([])
  .describe("protocols of one's own: modules that export a codec; they run inside the sidecar");

const timeouts = z
  .strictObject({
    defaultMs: milliseconds(1, hour).default(60_000).describe("the deadline of a call for which nobody states one"),
    maxMs: milliseconds(1, 24 * hour)
      .default(hour)
      .describe("no deadline is longer, whoever states it"),
    connectMs: milliseconds(10, 60_000).default(1_000).describe("to connect to an endpoint"),
    frameMs: milliseconds(100, 600_000).default(60_000).describe("from the first byte of a frame to its last"),
    idleMs: milliseconds(1_000, 24 * hour)
      .default(900_000)
      .describe("a caller's connection without a byte in either direction is closed"),
    heartbeatMs: milliseconds(1_000, hour).default(15_000).describe("an endpoint that was silent for so long is asked"),
    deadMs: milliseconds(1_000, hour)
      .default(45_000)
      .describe("an endpoint that was silent for so long, although asked, is given up"),
    httpHeadMs: milliseconds(100, 600_000)
      .default(10_000)
      .describe("from the first byte of an HTTP request's head to its last"),
    httpBodyMs: milliseconds(100, hour)
      .default(30_000)
      .describe("without a byte of a request's body, or of a response taken, its connection is closed"),
    httpKeepAliveMs: milliseconds(1_000, 24 * hour)
      .default(75_000)
      .describe("a caller's HTTP connection is kept between two requests"),
    httpIdleMs: milliseconds(0, hour)
      .default(4_000)
      .describe("an HTTP connection to an application is kept between two requests; less than its server keeps it"),
    tcpIdleMs: milliseconds(1_000, 7 * 24 * hour)
      .default(hour)
      .describe("a tcp connection without a byte in either direction is closed"),
    readOnlyMs: milliseconds(0, hour).default(30_000).describe("an endpoint that said it is leaving is passed over"),
    waitMs: milliseconds(0, 60_000).default(1_000).describe("a call to a service of which nothing is known yet waits"),
  })
  .superRefine(({ defaultMs, maxMs }, context) => {
    if (defaultMs <= maxMs) return;
    const issue = (key: string, message: string): void => context.addIssue({ code: "custom", path: [key], message });
    issue("defaultMs", `${defaultMs} ms are more than timeouts.maxMs allows (${maxMs}); lower this or raise that`);
    issue("maxMs", `${maxMs} ms are less than timeouts.defaultMs asks for (${defaultMs}); raise this or lower that`);
  })
  .prefault({});

const limits = z
  .strictObject({
    connections: count(1, 1_000_000).default(20_000).describe("callers; beyond, accepting pauses"),
    doorConnections: count(1, 100_000).default(1_000).describe("of each door; beyond, accepting pauses"),
    stageBytes: count(kibibyte, gibibyte)
      .default(mebibyte)
      .describe("replies that a caller may leave unread; beyond, it is closed"),
    stageReplies: count(1, 1_000_000).default(1_024).describe("the same, counted"),
    largeFrameBytes: count(kibibyte, 8 * mebibyte)
      .default(256 * kibibyte)
      .describe("larger frames take a connection of their own"),
    largeConnections: count(1, 1_000)
      .default(4)
      .describe("such connections of one endpoint; beyond, the call is refused"),
    partialFramesBytes: count(mebibyte, 16 * gibibyte)
      .default(64 * mebibyte)
      .describe("frames that are not whole, all together; beyond, their connection is closed"),
    heldBytes: count(mebibyte, 16 * gibibyte)
      .default(64 * mebibyte)
      .describe("calls that wait, all together; beyond, they are refused"),
    waitingCalls: count(0, 1_000_000)
      .default(1_000)
      .describe("calls that wait for a service; beyond, they are refused"),
    httpConnections: count(1, 100_000)
      .default(1_024)
      .describe("HTTP connections to one endpoint; beyond, calls are refused"),
    tcpConnections: count(1, 1_000_000)
      .default(4_096)
      .describe("tcp connections to one endpoint; beyond, callers are refused"),
    replayBytes: count(64 * kibibyte, gibibyte)
      .default(2 * mebibyte)
      .describe("the last requests, kept for another provider if theirs turns out to be gone"),
    inFlightPerConnection: count(1, 1_000_000).default(32_768).describe("beyond, calls are refused"),
    upstreamQueueBytes: count(kibibyte, gibibyte)
      .default(4 * mebibyte)
      .describe("bytes that an endpoint may leave unread; beyond, calls to it are refused"),
    labelValues: count(1, 1_000_000).default(5_000).describe("series of metrics; beyond, they are counted as other"),
  })
  .prefault({});

const drain = z
  .strictObject({
    lingerMs: milliseconds(0, hour)
      .default(30_000)
      .describe("a withdrawn application goes on being served for callers that have not heard of it; at least 21000"),
    idleMs: milliseconds(0, hour)
      .default(15_000)
      .describe("at the end: without a call for so long, the inbound port closes"),
    maxMs: milliseconds(0, 24 * hour)
      .default(60_000)
      .describe("at the end: closes all the same"),
  })
  .prefault({});

export const sidecarConfig = z
  .strictObject({
    directory: directory
      .default("registry")
      .describe("where instances come from and go to: the dualmesh registry, or a zookeeper that is already there"),
    registry: registry.describe("the dualmesh registry"),
    zookeeper: zookeeper.describe("the existing ensemble, for directory: zookeeper; Dubbo and SOFA-RPC only"),
    nodeId: name
      .optional()
      .describe("names this sidecar to the registry for good; default: made once and kept on disk"),
    advertise: calledHost
      .optional()
      .describe("this machine as others reach it; default: the address that each application registers"),
    inbound,
    outbound,
    publishedPorts,
    doors: z
      .strictObject({ zookeeper: zookeeperDoor, mesh: meshDoor, eureka: eurekaDoor, http: httpDoor })
      .prefault({}),
    admin: z
      .strictObject({
        host: host.default("127.0.0.1").describe("where it listens"),
        port: port.optional().describe(`${usual(usualPorts.admin)}; 0 takes any free port`),
      })
      .prefault({})
      .describe("metrics, health and status; only reads"),
    apps: z
      .array(app)
      .max(1_000)
      .refine((apps) => new Set(apps.map((one) => one.name)).size === apps.length, "an application is named twice")
      .default([])
      .describe("what must be said of applications because they do not say it"),
    tcp: tcpServices,
    protocols,
    timeouts,
    limits,
    drain,
    zone: z.string().max(255).default("").describe("of instances that do not say their own"),
    staleAfterMs: milliseconds(100, hour)
      .default(5_000)
      .describe(
        "how long the registry is waited for at the start before a sidecar that goes by its disk says it is ready",
      ),
  })
  .refine(({ outbound: { host } }) => isLoopback(host), {
    message: "applications are told this address as their own machine's: an address of 127.0.0.0/8",
    path: ["outbound", "host"],
  })
  .superRefine(({ directory, zookeeper: { addresses }, tcp }, context) => {
    if (directory !== "zookeeper") return;
    if (addresses === undefined)
      context.addIssue({
        code: "custom",
        path: ["zookeeper", "addresses"],
        message: "directory: zookeeper needs the addresses of its servers, as in 10.0.0.5:2181",
      });
    if (tcp.length > 0)
      context.addIssue({
        code: "custom",
        path: ["tcp"],
        message:
          "services that pass bytes cannot be in ZooKeeper, whose layouts are of Dubbo and SOFA-RPC; use directory: registry for them",
      });
  });

export type SidecarConfig = Omit<z.output<typeof sidecarConfig>, "protocols"> & {
  readonly protocols: readonly OwnProtocol[];
};

/** Makes the files of modules absolute, and keeps where each is named for what may be wrong with it. */
export function placeModules<Config extends SidecarConfig>(config: Config, { folder, whereOf }: ConfigPlaces): Config {
  const protocols = config.protocols.map(({ module }, index) => ({
    module: resolve(folder, module),
    where: whereOf(["protocols", index, "module"]),
  }));
  return { ...config, protocols };
}

export interface ConfigPlaces {
  /** The folder of the configuration file. */
  readonly folder: string;
  /** `file:line:column` of a key. */
  readonly whereOf: (path: readonly (string | number)[]) => string;
}

function isLoopback(host: string): boolean {
  return /^127(?:\.\d{1,3}){3}$/.test(host);
}
