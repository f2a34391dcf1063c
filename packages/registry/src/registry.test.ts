/** The registry behind real sockets: what polite and impolite clients get. */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { maxHelloFrameBytes, maxStreamFrameBytes } from "@dualmesh/wire/stream/limits";
import { type Register, type Registered, zeroRevision } from "@dualmesh/wire/stream/messages";
import { encodeInstance, encodeInstanceKey } from "@dualmesh/wire/stream/record";
import type { RunningRegistry } from "./registry.ts";
import { bindWarnings } from "./status.ts";
import { helloOf, instance, Peer, service, startTestRegistry } from "./testing/peer.ts";

function register(appPort: number, changes: Partial<Register> = {}, fields = {}): Register {
  const record = encodeInstance(instance(appPort, fields));
  return { type: "register", request: appPort, claim: true, held: zeroRevision, service, record, ...changes };
}

/** True when the port answers a new client. */
async function answers(registry: RunningRegistry): Promise<boolean> {
  const peer = new Peer(registry.streamPort);
  await peer.hello();
  peer.socket.destroy();
  return true;
}

describe("the registry behind its ports", { timeout: 60_000 }, () => {
  let registry: RunningRegistry;
  before(async () => {
    registry = await startTestRegistry();
  });
  after(() => registry.close());

  it("acknowledges a hello with a session, a token and its limits", async () => {
    const peer = new Peer(registry.streamPort);
    const ack = await peer.hello();
    assert.equal(ack.version, 1);
    assert.equal(ack.token.length, 32);
    assert.equal(ack.resumed, false);
    assert.equal(ack.session.epoch, registry.epoch);
    assert.equal(ack.limits.frameBytes, maxStreamFrameBytes);
    const again = new Peer(registry.streamPort);
    const resumed = await again.hello({ token: ack.token });
    assert.deepEqual([resumed.resumed, resumed.session, resumed.token.length], [true, ack.session, 0]);
    assert.equal((await peer.next("goodbye")).reason, "taken-over");
    await peer.end();
    const stranger = new Peer(registry.streamPort);
    assert.equal((await stranger.hello({ nodeId: "stranger", token: ack.token })).resumed, false, "not its node");
    again.socket.destroy();
    stranger.socket.destroy();
  });

  it("deletes nothing for a late delete of another session or incarnation", async () => {
    const [first, second] = [new Peer(registry.streamPort), new Peer(registry.streamPort)];
    const { session } = await first.hello({ nodeId: "first" });
    const other = await second.hello({ nodeId: "second" });
    first.send(register(1));
    await first.next("registered");
    first.send(register(1, {}, { incarnation: 2 }));
    await first.next("registered");
    const key = encodeInstanceKey(instance(1));
    const deletion = { type: "deregister", request: 9, service, key } as const;
    first.send({ ...deletion, session, incarnation: 1 });
    assert.equal((await first.next("deregistered")).removed, false, "an earlier incarnation");
    second.send({ ...deletion, session: other.session, incarnation: 2 });
    assert.equal((await second.next("deregistered")).removed, false, "a session that does not own it");
    second.send({ ...deletion, session, incarnation: 2 });
    assert.equal((await second.next("deregistered")).removed, false, "in the name of a session that lives");
    second.send(register(1, {}, { incarnation: 3 }));
    await second.next("registered");
    assert.equal((await first.next("superseded")).service, service);
    first.send({ ...deletion, session, incarnation: 2 });
    assert.equal((await first.next("deregistered")).removed, false, "late, after another owner");
    assert.deepEqual(
      registry.instances(service).map(({ incarnation }) => incarnation),
      [3],
    );
    second.send({ ...deletion, session: other.session, incarnation: 3 });
    assert.equal((await second.next("deregistered")).removed, true);
    first.socket.destroy();
    second.socket.destroy();
  });

  it("gives what a repeated register asks for only to who held the key last", async () => {
    const [first, second] = [new Peer(registry.streamPort), new Peer(registry.streamPort)];
    await first.hello({ nodeId: "first" });
    await second.hello({ nodeId: "second" });
    first.send(register(2));
    const old: Registered = await first.next("registered");
    second.send(register(2, {}, { port: 20_881 }));
    const { stamp } = await second.next("registered");
    await first.next("superseded");
    first.send(register(2, { claim: false, held: old.stamp, request: 77 }));
    const refusal = await first.next("superseded");
    assert.deepEqual([refusal.request, refusal.stamp], [77, stamp]);
    assert.equal(registry.instances(service)[0]?.port, 20_881);
    second.send({ type: "goodbye", reason: "orderly", text: "" });
    assert.equal((await second.next("goodbye")).reason, "orderly");
    await second.end();
    assert.equal(registry.instances(service).length, 0, "an orderly end removes at once");
    first.socket.destroy();
  });

  it("tells who sends garbage on the stream why, closes, and goes on", async () => {
    const http = new Peer(registry.streamPort);
    http.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert.equal((await http.next("error")).code, "malformed");
    await http.end();

    const early = new Peer(registry.streamPort);
    early.send({ type: "reported" });
    assert.equal((await early.next("error")).code, "unexpected");
    await early.end();

    const cut = new Peer(registry.streamPort);
    await cut.hello();
    cut.send(register(3, { record: Buffer.from("nonsense") }));
    assert.equal((await cut.next("error")).code, "malformed");
    await cut.end();

    const future = new Peer(registry.streamPort);
    future.send({ ...helloOf("future"), versions: [2, 9] });
    assert.equal((await future.next("error")).code, "version");
    await future.end();
    assert.ok(await answers(registry));
  });

  it("refuses a frame above the limit as soon as it is announced, a smaller one before the hello", async () => {
    const head = encodeMessage({ type: "reported" });
    head.writeUInt32BE(maxHelloFrameBytes, 4);
    const stranger = new Peer(registry.streamPort);
    stranger.socket.write(head);
    assert.match((await stranger.next("error")).text, /allowed here are 16384/);
    await stranger.end();

    const known = new Peer(registry.streamPort);
    await known.hello();
    head.writeUInt32BE(0xffff_fff0, 4);
    known.socket.write(head);
    assert.equal((await known.next("error")).code, "malformed");
    await known.end();
    assert.ok(await answers(registry));
  });

  it("cuts a client that is slow to say hello, and garbage and slow clients at the door", async () => {
    const silent = new Peer(registry.streamPort);
    const dripping = new Peer(registry.streamPort);
    const hello = encodeMessage(helloOf("dripping"));
    let sent = 0;
    const drip = setInterval(() => dripping.socket.write(hello.subarray(sent, ++sent)), 400);
    const garbage = net.connect({ port: registry.doors.zookeeper as number, host: "127.0.0.1" });
    const closed = new Promise<void>((resolve) => garbage.on("close", () => resolve()));
    garbage.on("error", () => {});
    garbage.resume();
    garbage.write(Buffer.alloc(64, 0xff));
    try {
      assert.equal((await silent.next("error")).code, "hello-timeout");
      assert.equal((await dripping.next("error")).code, "hello-timeout");
      await Promise.all([silent.end(), dripping.end(), closed]);
    } finally {
      clearInterval(drip);
    }
    assert.ok(await answers(registry));
  });

  it("lists sessions, services and doors, and counts", async () => {
    const peer = new Peer(registry.streamPort);
    await peer.hello({ nodeId: "listed" });
    peer.send(register(5));
    await peer.next("registered");
    const status = registry.status();
    assert.equal(status.sessions.find(({ node }) => node === "listed")?.instances, 1);
    assert.deepEqual(status.services, [{ service, applications: ["greeter"], instances: 1 }]);
    assert.equal(status.doors[0]?.dialect, "zookeeper");
    assert.match(registry.metrics(), /^dualmesh_registry_instances 1$/m);
    assert.match(registry.metrics(), /^dualmesh_registry_stream_events_total\{event="helloTimeouts"\} 2$/m);
    assert.doesNotMatch(JSON.stringify(status), /token/i);
    peer.send({ type: "goodbye", reason: "orderly", text: "" });
    await peer.end();
  });
});

describe("limits of the registry", { timeout: 60_000 }, () => {
  it("are told to a session that publishes too much, which may try again", async () => {
    const registry = await startTestRegistry({ limits: { sessionInstances: 2 } });
    const peer = new Peer(registry.streamPort);
    await peer.hello();
    for (const port of [1, 2, 3]) peer.send(register(port));
    const failure = await peer.next("error");
    assert.deepEqual([failure.request, failure.code], [3, "limit"]);
    assert.ok(failure.retryAfterMs > 0);
    peer.send(register(2, {}, { weight: 5 }));
    await peer.next("registered");
    peer.socket.destroy();
    await registry.close();
  });

  it("turn connections away beyond the configured number and go on serving the others", async () => {
    const registry = await startTestRegistry({ limits: { connections: 2 } });
    const peers = [new Peer(registry.streamPort), new Peer(registry.streamPort)];
    for (const peer of peers) await peer.hello();
    const third = new Peer(registry.streamPort);
    await third.end();
    peers[0]?.send(register(1));
    await peers[0]?.next("registered");
    for (const peer of peers) peer.socket.destroy();
    await registry.close();
  });

  it("cut a consumer that never reads, while others get everything", async () => {
    const registry = await startTestRegistry({ slowConsumerMs: 300, pingMs: 100 });
    const [provider, stuck, reader] = [0, 1, 2].map(() => new Peer(registry.streamPort)) as [Peer, Peer, Peer];
    for (const [index, peer] of [provider, stuck, reader].entries()) await peer.hello({ nodeId: `node${index}` });
    for (const peer of [stuck, reader])
      peer.send({ type: "subscribe", feed: "service", name: service, from: undefined });
    await stuck.next("snapshot");
    stuck.socket.pause();
    const text = "x".repeat(15_000);
    const pong = setInterval(() => {
      const subscriptions = 0;
      const summary = { high: 0, low: 0 };
      for (const peer of [provider, stuck, reader]) {
        peer.send({ type: "pong", sequence: 0, applied: zeroRevision, subscriptions, summary });
      }
    }, 50);
    try {
      for (let round = 0; registry.status().sessions.find(({ node }) => node === "node1")?.lostSince === 0; round++) {
        assert.ok(round < 2_000, "the consumer that never reads is still there");
        for (let port = 1; port <= 20; port++) {
          provider.send(register(port, {}, { weight: round % 10_000, registration: { dialect: "native", text } }));
        }
        for (let port = 1; port <= 20; port++) await provider.next("registered");
      }
      assert.match(registry.metrics(), /event="slowConsumers"\} 1$/m);
      assert.equal(reader.closed, false);
      provider.send(register(99));
      await provider.next("registered");
      while (!(await reader.next("delta")).added.some((record) => record.equals(encodeInstance(instance(99)))));
    } finally {
      clearInterval(pong);
      for (const peer of [provider, stuck, reader]) peer.socket.destroy();
      await registry.close();
    }
  });

  it("warn of a port that is open to others without authentication", () => {
    assert.deepEqual(["127.0.0.1", "127.9.9.9", "::1", "localhost"].flatMap(bindWarnings), []);
    assert.equal(bindWarnings("0.0.0.0").length, 1);
  });

  it("name the port that is taken", async () => {
    const registry = await startTestRegistry();
    await assert.rejects(startTestRegistry({ stream: { port: registry.streamPort } }), (error) =>
      isMeshError(error, "listen.port-taken"),
    );
    await registry.close();
  });
});
