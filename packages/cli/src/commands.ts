/** The table of commands. A command's code is loaded when it runs, so that a sidecar has no demo in its memory. */
import type { Command, RawCommand } from "./command.ts";
import { moveCommands } from "./move/commands.ts";
import { partCommand } from "./run/part-command.ts";
import { statusCommand } from "./status/command.ts";
import { upgradeCommand } from "./upgrade/command.ts";

export const commands: readonly (Command | RawCommand)[] = [
  {
    name: "demo",
    summary: "Shows services moving into the mesh and out again while they call each other.",
    runRaw: async (words) => (await import("./demo/demo.ts")).runDemo(words),
  },
  partCommand({
    part: "registry",
    summary: "Runs a registry, which knows the instances of every service and tells who asks.",
    flags: [
      { name: "listen", value: "ADDRESS", summary: "where stream, doors and admin listen", key: ["listen"] },
      { name: "stream-port", value: "PORT", summary: "the port for sidecars", key: ["stream", "port"] },
      { name: "zookeeper-port", value: "PORT", summary: "the ZooKeeper door", key: ["doors", "zookeeper", "port"] },
      { name: "eureka-port", value: "PORT", summary: "the Eureka door", key: ["doors", "eureka", "port"] },
      { name: "http-port", value: "PORT", summary: "the HTTP/JSON door", key: ["doors", "http", "port"] },
      { name: "admin-port", value: "PORT", summary: "the admin port", key: ["admin", "port"] },
    ],
    example: "dualmesh registry run --listen 10.0.0.5 --zookeeper-port 2181",
    loadSchema: async () => (await import("./run/registry.ts")).registryPart,
    loadRunner: async () => (await import("./run/registry-runner.ts")).registryRunner,
  }),
  partCommand({
    part: "sidecar",
    summary: "Runs a sidecar, which carries the calls of the applications beside it.",
    flags: [
      {
        name: "registry",
        value: "ADDRESS",
        summary: "the stream port of the registry, HOST:PORT",
        key: ["registry", "address"],
      },
      { name: "directory", value: "KIND", summary: "where instances are: registry or zookeeper", key: ["directory"] },
      {
        name: "zookeeper",
        value: "ADDRESSES",
        summary: "the servers of the ZooKeeper that is already there, HOST:PORT,…",
        key: ["zookeeper", "addresses"],
      },
      {
        name: "advertise",
        value: "ADDRESS",
        summary: "the address that others reach this host by",
        key: ["advertise"],
      },
      { name: "inbound-port", value: "PORT", summary: "where calls from others come in", key: ["inbound", "port"] },
      {
        name: "outbound-port",
        value: "PORT",
        summary: "where the applications' own calls go out",
        key: ["outbound", "port"],
      },
      {
        name: "zookeeper-port",
        value: "PORT",
        summary: "the ZooKeeper door for the applications",
        key: ["doors", "zookeeper", "port"],
      },
      {
        name: "eureka-port",
        value: "PORT",
        summary: "the Eureka door for the applications",
        key: ["doors", "eureka", "port"],
      },
      {
        name: "http-port",
        value: "PORT",
        summary: "the HTTP/JSON door for the applications",
        key: ["doors", "http", "port"],
      },
      { name: "admin-port", value: "PORT", summary: "the admin port", key: ["admin", "port"] },
    ],
    example: "dualmesh sidecar run --registry 10.0.0.5:7710 --supervised",
    loadSchema: async () => (await import("./run/sidecar.ts")).sidecarPart,
    loadRunner: async () => (await import("./run/sidecar-runner.ts")).sidecarRunner,
  }),
  upgradeCommand,
  statusCommand,
  ...moveCommands,
];
