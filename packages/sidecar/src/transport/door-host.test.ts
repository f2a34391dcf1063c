import assert from "node:assert/strict";
import net from "node:net";
import { describe, test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import type { DoorPeer, Standing } from "@dualmesh/dialects/door";
import { type DoorHost, type HostedDoor, hostDoor } from "./door-host.ts";
import { StillConnections } from "./still-connections.ts";

const host = "127.0.0.1";

describe("connections of a door that is laid down", () => {
  test("go on at the next one of its key, with what was read and what came meanwhile", async () => {
    await using world = new Doors();
    const one = await world.open("a");
    const client = await world.client(one.port);
    await client.says("one\ntw", "one\n");
    world.still.hold();
    await one.close();
    assert.equal(one.connections, 0);
    client.socket.write("o\nthree\nfo");
    const next = await world.open("a");
    await client.hears("one\ntwo\nthree\n");
    assert.equal(next.connections, 1);
    world.still.settle();
    await client.says("ur\n", "one\ntwo\nthree\nfour\n");
    assert.deepEqual(world.serving, [true, false, true]);
    client.socket.end();
    await client.closed;
    assert.equal(client.error, undefined);
    assert.equal(world.lost, 0);
  });

  test("are closed when nobody takes them, and counted", async () => {
    await using world = new Doors();
    const one = await world.open("a");
    const client = await world.client(one.port);
    await client.says("one\n", "one\n");
    world.still.hold();
    await one.close();
    await world.open("b");
    world.still.settle();
    await client.closed;
    assert.equal(world.lost, 1);
  });

  test("are closed when the next door does not know what is said of them", async () => {
    await using world = new Doors();
    const one = await world.open("a");
    const client = await world.client(one.port);
    await client.says("one\n", "one\n");
    world.still.hold();
    await one.close();
    world.knows = false;
    await world.open("a");
    await client.closed;
    assert.equal(world.lost, 1);
  });

  test("are closed when they do not stand still in time: what was begun is not over, or what was sent has not left", async () => {
    await using world = new Doors();
    const one = await world.open("a");
    const [busy, deaf, quiet] = [
      await world.client(one.port),
      await world.client(one.port),
      await world.client(one.port),
    ];
    busy.socket.write("busy\n");
    deaf.socket.pause();
    for (let times = 0; times < 40; times += 1) deaf.socket.write(`${"x".repeat(500_000)}\n`);
    await quiet.says("one\n", "one\n");
    await world.until(() => world.queued > 0);
    world.still.hold();
    const began = systemClock.now();
    await one.close();
    assert.ok(systemClock.now() - began < 2_000);
    assert.equal(world.still.all.length, 1);
    await busy.closed;
    await world.open("a");
    await quiet.says("two\n", "one\ntwo\n");
    deaf.socket.destroy();
  });

  test("end with it when it is not laid down for another one", async () => {
    await using world = new Doors();
    const one = await world.open("a");
    const client = await world.client(one.port);
    await client.says("one\n", "one\n");
    await one.close();
    await client.closed;
    assert.deepEqual(world.still.all, []);
  });
});

/** Doors that say whole lines again; one that has heard `busy` has begun something that is never over. */
class Doors implements AsyncDisposable {
  lost = 0;
  knows = true;
  readonly serving: boolean[] = [];
  readonly still = new StillConnections({ log: silentLog, lost: () => void this.lost++ });
  readonly #hosts: DoorHost[] = [];
  readonly #clients: Client[] = [];
  readonly #peers: DoorPeer[] = [];

  get queued(): number {
    return Math.max(...this.#peers.map(({ queuedBytes }) => queuedBytes));
  }

  async open(key: string): Promise<DoorHost> {
    const door: HostedDoor = {
      connect: (peer) => this.#connect(peer),
      adopt: (peer: DoorPeer, { state }: Standing) =>
        this.knows && state["lines"] === "again" ? this.#connect(peer) : undefined,
      serving: (isServing) => void this.serving.push(isServing),
    };
    const stays = { still: this.still, key, clock: systemClock };
    const opened = await hostDoor(door, { host, port: 0, maxConnections: 9, dropped: () => {}, stays });
    this.#hosts.push(opened);
    return opened;
  }

  async client(port: number): Promise<Client> {
    const client = new Client(net.connect({ host, port }));
    this.#clients.push(client);
    await client.connected;
    return client;
  }

  async until(holds: () => boolean): Promise<void> {
    const end = systemClock.now() + 5_000;
    while (!holds()) {
      assert.ok(systemClock.now() < end, "it does not come");
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy();
    for (const opened of this.#hosts) await opened.close();
  }

  #connect(peer: DoorPeer) {
    this.#peers.push(peer);
    let part = Buffer.alloc(0);
    let isBusy = false;
    return {
      receive: (bytes: Buffer) => {
        part = Buffer.concat([part, bytes]);
        const end = part.lastIndexOf("\n") + 1;
        isBusy ||= part.subarray(0, end).includes("busy");
        if (end > 0) peer.send(part.subarray(0, end));
        part = part.subarray(end);
      },
      closed: () => {},
      stand: () => (isBusy ? undefined : { state: { lines: "again" }, unread: [part] }),
    };
  }
}

class Client {
  readonly socket: net.Socket;
  readonly connected: Promise<unknown>;
  readonly closed: Promise<unknown>;
  error: Error | undefined;
  #heard = "";
  #listener: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.connected = new Promise((resolve) => socket.once("connect", resolve));
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", (error) => {
      this.error = error;
    });
    socket.on("data", (bytes) => {
      this.#heard += bytes.toString();
      this.#listener();
    });
  }

  async says(text: string, heard: string): Promise<void> {
    this.socket.write(text);
    await this.hears(heard);
  }

  hears(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#listener = () => {
        if (this.#heard.length < text.length) return;
        assert.equal(this.#heard, text);
        resolve();
      };
      this.#listener();
    });
  }
}
