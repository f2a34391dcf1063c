/**
 * Clients of doors while the sidecar is upgraded three times, after an upgrade whose new process dies: a client at the ZooKeeper door, and one whose connection goes through a crossing to an
 * ensemble. Neither sees its connection end; each request is answered and each change is told, once.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { ZooKeeperClient } from "@dualmesh/dialects/zookeeper/client/client";
import { encodeName } from "@dualmesh/dialects/zookeeper/provider-url";
import type { Crossing } from "@dualmesh/model/crossing";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { eventually, World } from "../hostile/world.ts";
import { SidecarProcess } from "./sidecar-process.ts";
import { Client, Ensemble, startSidecar } from "./zookeeper.ts";

const skip = whyNoHandles(process) ?? false;
const upgrades = 3;

test("a client at the ZooKeeper door goes on through three upgrades", { skip }, async () => {
  await using world = await World.open();
  const { sidecar, folder } = await startSidecar(
    (ports) => `registry: { address: "127.0.0.1:${world.registry.streamPort}" }
doors: { zookeeper: { port: ${ports.zookeeper} }, mesh: false, eureka: false, http: false }`,
  );
  world.defer(() => rmSync(folder, { recursive: true, force: true }));
  world.defer(() => sidecar.kill());
  const [writer, reader, idle] = [1, 2, 3].map(() => new Client(sidecar.ports.zookeeper)) as [Client, Client, Client];
  for (const client of [writer, reader, idle]) world.defer(() => client.close());
  await Promise.all([writer, reader, idle].map((client) => client.connected()));
  await writer.zookeeper.createWithParents("/load/first", Buffer.from("0"), "persistent");
  await reader.zookeeper.addRecursiveWatch("/load");
  const providers = "/dubbo/upgrade.Greeter/providers";
  await reader.zookeeper.children(providers, true);
  await idle.zookeeper.exists("/idle", true);
  const session = reader.zookeeper.session.id;
  const work = new Work(writer.zookeeper);
  await assert.rejects(sidecar.upgrade(SidecarProcess.program({ fault: true })));
  for (let upgrade = 0; upgrade < upgrades; upgrade += 1) {
    const before = work.done;
    await eventually("it works", () => work.done > before + 20, 20_000);
    const { movedOfDoors } = await sidecar.upgrade();
    assert.equal(movedOfDoors, 3);
  }
  const created = await work.end();
  // What was watched before is told after, and what came meanwhile was told once and in its order.
  await writer.zookeeper.create("/idle", Buffer.alloc(0), "ephemeral");
  const url = encodeName(
    "dubbo://127.0.0.1:20880/upgrade.Greeter?application=p&interface=upgrade.Greeter&side=provider",
  );
  await writer.zookeeper.create(`${providers}/${url}`, Buffer.alloc(0), "ephemeral");
  await eventually(
    "all is told",
    () => reader.events.filter((one) => one.startsWith("1 /load/n")).length >= created.length,
  );
  await eventually("the other watch is told", () => idle.events.length > 0);
  assert.deepEqual(idle.events, ["1 /idle"]);
  const heard = reader.events.filter((one) => one.startsWith("1 /load/n")).map((one) => one.slice(2));
  assert.deepEqual(heard, created);
  const owned = await writer.zookeeper.ephemerals();
  assert.deepEqual(new Set(owned), new Set([...created, "/idle", `${providers}/${url}`]));
  assert.equal(reader.zookeeper.session.id, session);
  for (const { zookeeper, disconnected } of [writer, reader, idle])
    assert.deepEqual([zookeeper.counts.connects, disconnected()], [1, 0]);
});

test("a client that goes through a crossing goes on through three upgrades", { skip }, async () => {
  await using world = await World.open();
  const ensemble = await Ensemble.listen();
  world.defer(() => ensemble.close());
  const { sidecar, folder } = await startSidecar(
    () => `directory: zookeeper
zookeeper: { addresses: ["127.0.0.1:${ensemble.port}"] }
doors: { zookeeper: false, mesh: false, eureka: false, http: false }`,
  );
  world.defer(() => rmSync(folder, { recursive: true, force: true }));
  world.defer(() => sidecar.kill());
  const tell = (word: string, words: object): Promise<unknown> =>
    callControl(controlPath(sidecar.state), `crossing.${word}`, { name: "shop", ...words }, { timeoutMs: 30_000 });
  const opened = (await tell("open", {
    servers: [`127.0.0.1:${ensemble.port}`],
    chroots: [],
    host: "127.0.0.1",
  })) as Crossing;
  const port = opened.doors[0]?.port ?? 0;
  const [writer, reader] = [new Client(port), new Client(port)];
  for (const client of [writer, reader]) world.defer(() => client.close());
  await Promise.all([writer.connected(), reader.connected()]);
  const before = ensemble.connections;
  await writer.zookeeper.createWithParents("/load/first", Buffer.from("0"), "persistent");
  await reader.zookeeper.addRecursiveWatch("/load");
  const work = new Work(writer.zookeeper);
  await assert.rejects(sidecar.upgrade(SidecarProcess.program({ fault: true })));
  for (let upgrade = 0; upgrade < upgrades; upgrade += 1) {
    const done = work.done;
    await eventually("it works", () => work.done > done + 20, 20_000);
    const { movedOfDoors } = await sidecar.upgrade();
    assert.equal(movedOfDoors, 2);
  }
  const created = await work.end();
  await eventually("all is told", () => reader.events.length >= created.length);
  const heard = reader.events.filter((one) => one.startsWith("1 /load/n")).map((one) => one.slice(2));
  assert.deepEqual(heard, created);
  for (const { zookeeper, disconnected } of [writer, reader])
    assert.deepEqual([zookeeper.counts.connects, disconnected()], [1, 0]);
  // Beside those of the two clients there is that of the sidecar's own directory, which each process makes anew.
  assert.ok(before >= 3);
  const ids = [writer, reader].map(({ zookeeper }) => zookeeper.session.id.toString(16));
  const list = (await tell("list", {})) as { readonly crossings: readonly Crossing[] };
  assert.deepEqual(new Set(list.crossings[0]?.sessions.map(({ id }) => id)), new Set(ids));
});

test("what is registered at the HTTP door stays, and its stream ends in order", { skip }, async () => {
  await using world = await World.open();
  const { sidecar, folder } = await startSidecar(
    (ports) => `registry: { address: "127.0.0.1:${world.registry.streamPort}" }
doors: { zookeeper: false, mesh: false, eureka: false, http: { port: ${ports.http} } }`,
  );
  world.defer(() => rmSync(folder, { recursive: true, force: true }));
  world.defer(() => sidecar.kill());
  const service = "bolt/upgrade.Greeter:1.0:";
  const door = `http://127.0.0.1:${sidecar.ports.http}/v1`;
  const register = async (resumes: string): Promise<Response> =>
    fetch(`${door}/instances?follow`, {
      method: "POST",
      headers: { "content-type": "application/json", "last-event-id": resumes },
      body: JSON.stringify({ service, host: "127.0.0.1", port: sidecar.ports.eureka }),
    });
  const known = async (): Promise<readonly unknown[]> => {
    const answer = (await (await fetch(`${door}/services/${service}`)).json()) as { instances?: readonly unknown[] };
    return answer.instances ?? [];
  };
  const first = await register("");
  await eventually("it is registered", async () => (await known()).length === 1);
  const before = await known();
  const told = first.text(); // rejects when the stream does not end in order
  await sidecar.upgrade();
  const id = /^id: (.+)$/m.exec(await told)?.[1] ?? "";
  assert.deepEqual(await known(), before);
  const again = await register(id);
  assert.equal(again.status, 200);
  assert.deepEqual(await known(), before, "it is the same, to whoever knows it");
  await again.body?.cancel();
});

/** Writes and reads without a pause, several requests at a time; every answer is what it has to be. */
class Work {
  readonly #client: ZooKeeperClient;
  readonly #created: string[] = [];
  readonly #running: Promise<void>;
  #over = false;
  done = 0;

  constructor(client: ZooKeeperClient) {
    this.#client = client;
    this.#running = this.#run();
    this.#running.catch(() => undefined); // told at the end
  }

  /** The nodes that it has made, in their order. Rejects with the first request that failed. */
  async end(): Promise<readonly string[]> {
    this.#over = true;
    await this.#running;
    return this.#created;
  }

  async #run(): Promise<void> {
    const client = this.#client;
    for (let number = 0; !this.#over; number += 1) {
      const path = `/load/n${number}`;
      const zxid = client.zxid;
      const [, data, children] = await Promise.all([
        client.create(path, Buffer.from(String(number)), "ephemeral"),
        client.data("/load/first"),
        client.children("/load"),
        client.exists("/nothing"),
      ]);
      assert.equal(data?.data?.toString(), "0");
      this.#created.push(path);
      assert.equal(children?.children.length, this.#created.length + 1);
      assert.ok(client.zxid >= zxid);
      this.done += 1;
    }
  }
}
