/** What the upgrades of doors are tried with: a sidecar with the doors that a test asks for, an application's client of ZooKeeper, and a small ensemble behind a port. */
import { mkdtempSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { dialTcp } from "@dualmesh/client/tcp";
import { ZooKeeperServers } from "@dualmesh/dialects/testing/zookeeper-servers";
import { ZooKeeperClient } from "@dualmesh/dialects/zookeeper/client/client";
import { type SidecarPorts, SidecarProcess } from "./sidecar-process.ts";

/** Longer than this machine may be busy with something else: a session that ends takes what it owns with it. */
const sessionTimeoutMs = 30_000;

export async function startSidecar(
  yaml: (ports: SidecarPorts) => string,
  { lingerMs = 0 } = {},
): Promise<{
  readonly sidecar: SidecarProcess;
  readonly folder: string;
}> {
  const folder = mkdtempSync(join(tmpdir(), "upgrade-doors-"));
  const sidecar = await SidecarProcess.start({
    folder,
    supervised: false,
    fault: "new:said ready:kill",
    yaml: (ports) => `${yaml(ports)}
outbound: { port: ${ports.outbound} }
inbound: { host: 127.0.0.1, port: ${ports.inbound} }
admin: { port: ${ports.admin} }
drain: { idleMs: 0, lingerMs: ${lingerMs}, maxMs: 500 }`,
  });
  return { sidecar, folder };
}

/** An application's client. */
export class Client {
  readonly zookeeper: ZooKeeperClient;
  /** As `TYPE PATH`, in their order. */
  readonly events: string[] = [];
  #disconnected = 0;
  readonly #connected = Promise.withResolvers<void>();

  constructor(port: number) {
    this.zookeeper = new ZooKeeperClient({
      addresses: [`127.0.0.1:${port}`],
      ...{ dial: dialTcp, clock: systemClock, random: systemRandom, log: silentLog, sessionTimeoutMs },
      onConnected: () => this.#connected.resolve(),
      onDisconnected: () => void this.#disconnected++,
      onExpired: () => {},
      onEvent: ({ type, path }) => void this.events.push(`${type} ${path}`),
      onProven: () => {},
    });
    this.zookeeper.start();
  }

  connected(): Promise<void> {
    return this.#connected.promise;
  }

  readonly disconnected = (): number => this.#disconnected;

  async close(): Promise<void> {
    await this.zookeeper.close();
  }
}

/** A small ensemble behind a port. */
export class Ensemble {
  readonly #servers = new ZooKeeperServers(systemClock);
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  connections = 0;

  private constructor(server: net.Server) {
    this.#server = server;
    server.on("connection", (socket) => this.#serve(socket));
  }

  static async listen(): Promise<Ensemble> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Ensemble(server);
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: net.Socket): void {
    this.connections += 1;
    this.#sockets.add(socket);
    const channel = this.#servers.dial("ensemble", {
      opened: () => {},
      received: (bytes) => void socket.write(bytes),
      drained: () => {},
      closed: () => void socket.destroy(),
    });
    socket.on("data", (bytes: Buffer) => channel.send(bytes));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      channel.destroy();
    });
  }
}
