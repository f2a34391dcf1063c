/**
 * A host of the ZooKeeper door that stands before an ensemble, for tests: it takes connections on one port and at first passes their
 * bytes to the ensemble as a wire would; from `lead` on, new connections go through the door. Beside it what else a test of moving
 * needs: a raw client over a socket, and a passer that leads connections where a rule would.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import type { Door, DoorPeer } from "@dualmesh/dialects/door";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import { type ConnectOptions, ZooKeeperTestClient } from "@dualmesh/dialects/testing/zookeeper-client";
import { RecordCutter } from "@dualmesh/dialects/zookeeper/before/cutter";
import { type BeforeDoor, openBeforeDoor } from "@dualmesh/dialects/zookeeper/before/door";
import type { BeforeOwner, UpstreamEvents } from "@dualmesh/dialects/zookeeper/before/owner";
import { PartialBytes } from "@dualmesh/wire/stream/channel";
import { eventually } from "./program.ts";

/** `carried` and `wants` follow from these, where nothing has to be opened first. */
export type Policy = Omit<BeforeOwner, "open" | "carried" | "wants">;

export class BeforeHost implements AsyncDisposable {
  readonly door: BeforeDoor;
  readonly #ensemble: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #leads = false;

  private constructor(ensemble: number, policy: Policy) {
    this.#ensemble = ensemble;
    const owner: BeforeOwner = {
      ...policy,
      open: (_client, events) => upstream(ensemble, events),
      carried: async (instance) => policy.published(instance),
      wants: () => undefined,
    };
    this.door = openBeforeDoor({ owner, journal: new MemoryJournal(), clock: systemClock, log: silentLog });
    this.#server = createServer({ noDelay: true }, (socket) => this.#take(socket));
  }

  static async start(ensemble: number, policy: Policy): Promise<BeforeHost> {
    const host = new BeforeHost(ensemble, policy);
    await listen(host.#server, "127.0.0.1");
    return host;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Sends new connections through the door, or past it, and cuts those that stand. */
  lead(throughDoor: boolean): void {
    this.#leads = throughDoor;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.door[Symbol.asyncDispose]();
    for (const socket of this.#sockets) socket.destroy();
    await close(this.#server);
  }

  #take(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    if (!this.#leads) return join(socket, connect({ port: this.#ensemble, host: "127.0.0.1", noDelay: true }));
    const peer: DoorPeer = {
      remote: `${socket.remoteAddress}:${socket.remotePort}`,
      send: (bytes) => void socket.write(bytes),
      get queuedBytes() {
        return socket.writableLength;
      },
      close: () => void socket.end(() => socket.destroy()),
    };
    const connection = this.door.connect(peer);
    socket.on("data", (bytes) => connection.receive(bytes));
    socket.on("error", () => undefined); // `close` follows
    socket.once("close", () => connection.closed());
  }
}

function upstream(port: number, events: UpstreamEvents) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("data", (bytes) => events.received(bytes));
  socket.on("error", () => undefined); // `close` follows
  socket.once("close", () => events.closed());
  return {
    send: (bytes: Buffer) => void socket.write(bytes),
    get queuedBytes() {
      return socket.writableLength;
    },
    close: () => void socket.end(),
  };
}

/** A raw client whose frames go over a socket. */
export async function rawClient(port: number, options: ConnectOptions = {}): Promise<ZooKeeperTestClient> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const door = {
    connect: (peer: DoorPeer) => {
      const onFrame = (frame: Buffer): boolean => {
        peer.send(Buffer.from(frame));
        return true;
      };
      const cutter = new RecordCutter({ maxBytes: 2 ** 24, partial: new PartialBytes(2 ** 25), onFrame });
      socket.on("data", (bytes) => cutter.push(bytes));
      socket.on("error", () => undefined); // `close` follows
      socket.once("close", () => peer.close());
      return { receive: (bytes: Buffer) => void socket.write(bytes), closed: () => void socket.destroy() };
    },
  };
  const client = new ZooKeeperTestClient(door as Partial<Door> as Door).open(options);
  await eventually("a raw client is connected", 10_000, () => client.connected !== undefined);
  return client;
}

/** Passes connections on to the ensemble, or to a port that they are led to: what stands for a rule in the packet filter. */
export class Passer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #ensemble: number;
  #target: number;

  private constructor(ensemble: number) {
    this.#ensemble = ensemble;
    this.#target = ensemble;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      join(socket, connect({ port: this.#target, host: "127.0.0.1", noDelay: true }));
    });
  }

  static async start(ensemble: number): Promise<Passer> {
    const passer = new Passer(ensemble);
    await listen(passer.#server, "127.0.0.1");
    return passer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Sends new connections to a port, or to the ensemble, and cuts those that stand. */
  lead(port: number | undefined): void {
    this.#target = port ?? this.#ensemble;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await close(this.#server);
  }
}

function join(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on("data", (bytes) => void to.write(bytes));
    from.on("error", () => undefined); // `close` follows
    from.once("close", () => to.end());
    from.once("end", () => to.end());
  }
}

async function listen(server: Server, host: string): Promise<void> {
  server.listen({ port: 0, host });
  await once(server, "listening");
}

async function close(server: Server): Promise<void> {
  server.close();
  if (server.listening) await once(server, "close");
}
