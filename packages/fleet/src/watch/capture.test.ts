/** Calls that really pass: sockets on loopback, where the kernel shows each packet twice, and tcpdump. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { statSync } from "node:fs";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { boltBytes, headerMap } from "@dualmesh/wire/bolt/arbitrary";
import { boltCodec } from "@dualmesh/wire/bolt/codec";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import { dubboCodec } from "@dualmesh/wire/dubbo/codec";
import { hessianText } from "@dualmesh/wire/hessian/arbitrary";
import { frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { Host } from "../host/host.ts";
import { openLinux } from "../host/linux.ts";
import { until, whyNoNamespaces } from "../host/testing.ts";
import { Calls } from "./calls.ts";
import { PcapReader } from "./pcap.ts";
import { readSegment, Segment } from "./segments.ts";
import { Targets } from "./targets.ts";
import { pcapFile, TestCaptures, TestConnection, type TestPacket } from "./testing.ts";
import { openWatch } from "./watch.ts";
import { defaultWatchBounds, type WatchOptions } from "./watching.ts";

const loopback = "127.0.0.1";
const services = { dubbo: "dubbo/fx.Greeter:1.2:", bolt: "bolt/fx.Teller:1.0:blue" } as const;
type Protocol = keyof typeof services;
const codecs: Readonly<Record<Protocol, RpcCodec>> = { dubbo: dubboCodec, bolt: boltCodec };

function request(protocol: Protocol, id: number, bodyBytes: number): Buffer {
  if (protocol === "dubbo") {
    const call = { path: "fx.Greeter", version: "1.2", method: "sayHello", attachments: [] };
    return dubboBytes(0xc2, 0, 3, id, hessianCall(call, [hessianText("x".repeat(bodyBytes))]));
  }
  const header = headerMap([
    ["sofa_head_target_service", "fx.Teller:1.0:blue"],
    ["sofa_head_method_name", "tell"],
  ]);
  return boltBytes({ ...boltShape, type: 1, command: 1, id, header, content: Buffer.alloc(bodyBytes) });
}

function reply(protocol: Protocol, id: number, isGood: boolean, bodyBytes: number): Buffer {
  if (protocol === "dubbo") return dubboBytes(2, isGood ? 20 : 70, 3, id, Buffer.alloc(bodyBytes + 1, 0x91));
  const shape = { ...boltShape, type: 0, command: 2, id, timeout: isGood ? 0 : 4 };
  return boltBytes({ ...shape, header: Buffer.alloc(0), content: Buffer.alloc(bodyBytes) });
}

const boltShape = {
  version: 2,
  revision: 2,
  serialization: 1,
  switches: 1,
  timeout: 3_000,
  className: "SofaRequest",
} as const;

/** Hands on each whole frame that a socket reads. */
function onFrames(socket: Socket, protocol: Protocol, take: (frame: RpcFrame) => void): void {
  const codec = codecs[protocol];
  const frame = codec.view();
  let bytes: Buffer = Buffer.alloc(0);
  socket.on("data", (piece: Buffer) => {
    bytes = Buffer.concat([bytes, piece]);
    for (let size = codec.decode(bytes, 0, bytes.length, frame); size > 0 && bytes.length > 0; ) {
      take(frame);
      bytes = bytes.subarray(size);
      size = bytes.length === 0 ? 0 : codec.decode(bytes, 0, bytes.length, frame);
    }
  });
  socket.on("error", () => undefined);
}

interface Service {
  readonly port: number;
  /** Milliseconds that the next calls take, and whether they fail. */
  answer: (call: number) => { readonly ms: number; readonly isGood: boolean };
}

async function serve(context: TestContext, protocol: Protocol): Promise<Service> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    onFrames(socket, protocol, ({ kind, id }) => {
      if (kind !== frameKind.request) return;
      const { ms, isGood } = service.answer(id);
      systemClock.after(ms, () => socket.destroyed || socket.write(reply(protocol, id, isGood, 3_000)));
    });
  });
  server.listen(0, loopback);
  await once(server, "listening");
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const service: Service = { port: (server.address() as AddressInfo).port, answer: () => ({ ms: 0, isGood: true }) };
  return service;
}

/** A caller of a port: `call` resolves with its answer. */
async function dial(context: TestContext, protocol: Protocol, port: number): Promise<{ call(): Promise<void> }> {
  const socket = createConnection({ host: loopback, port, noDelay: true });
  await once(socket, "connect");
  context.after(() => socket.destroy());
  const waiting = new Map<number, () => void>();
  let id = 0;
  onFrames(socket, protocol, (frame) => {
    waiting.get(frame.id)?.();
    waiting.delete(frame.id);
  });
  return {
    call: () =>
      new Promise((resolve) => {
        id++;
        waiting.set(id, resolve);
        socket.write(request(protocol, id, id % 3 === 0 ? 70_000 : 400));
      }),
  };
}

describe("calls on loopback", { skip: whyNoNamespaces("tcpdump") }, () => {
  for (const protocol of ["dubbo", "bolt"] as const)
    it(`of ${protocol} are each counted once before and since, and found worse when some fail`, async (context) => {
      await using privileged = openLinux();
      const real = (await privileged.host(statSync("/proc/self/ns/net").ino)) as Host;
      const looks = Promise.withResolvers<void>();
      const host: Host = {
        ...new TestCaptures().host,
        whyNoCapture: () => real.whyNoCapture(),
        capture: (asked) => real.capture(asked).finally(looks.resolve),
      };
      const direct = await serve(context, protocol);
      const published = await serve(context, protocol);
      const service = services[protocol];
      const [at, then] = [direct, published].map(({ port }) => ({ host: loopback, port })) as [
        { host: string; port: number },
        { host: string; port: number },
      ];
      const options: WatchOptions = {
        host,
        figures: async () => [],
        provided: [{ service, protocol, direct: at, published: then }],
        consumed: [],
        bounds: defaultWatchBounds,
      };
      const watch = openWatch(options, { clock: systemClock, log: silentLog });
      try {
        const measuring = watch.measureBefore(1_000, new AbortController().signal);
        await looks.promise;
        direct.answer = (call) => ({ ms: call % 4 === 0 ? 30 : 2, isGood: true });
        // Six callers, each with two calls at a time; every third call is large.
        const callers = await Promise.all(Array.from({ length: 6 }, () => dial(context, protocol, direct.port)));
        for (let round = 0; round < 5; round++)
          await Promise.all(callers.flatMap((caller) => [caller.call(), caller.call()]));
        await measuring;
        const counted = (): unknown => watch.summary().before.map(({ calls, failed }) => [calls, failed]);
        await until("all calls of before are counted", () => watch.summary().before[0]?.calls === 60);
        assert.deepEqual(counted(), [[60, 0]]);
        assert.ok((watch.summary().before[0]?.p50Ms ?? 0) >= 2);

        watch.start();
        published.answer = (call) => ({ ms: 2, isGood: call % 5 !== 0 });
        const since = await dial(context, protocol, published.port);
        const beganMs = systemClock.now();
        for (let call = 0; call < 50; call++) await since.call();
        const { reason } = await watch.verdict;
        context.diagnostic(`${reason} (${Math.round(systemClock.now() - beganMs)} ms after the first call)`);
        await until("all calls since are counted", () => watch.summary().since[0]?.calls === 50);
        assert.equal(watch.summary().since[0]?.failed, 10);
        assert.match(reason, /calls failed since the move began; before, 0 of 60/);
        assert.deepEqual(watch.summary().unseen, []);
      } finally {
        await watch.close();
      }
    });
});

describe("the reading of calls", () => {
  it("costs little: 20,000 calls of 1 KiB, each packet twice, with its acknowledgements", (context) => {
    const server = { host: "10.0.0.5", port: 20_880 };
    const callsMade = 20_000;
    const connections = Array.from(
      { length: 20 },
      (_, index) => new TestConnection({ host: "10.0.0.9", port: 1_000 + index }, server),
    );
    const packets: TestPacket[] = connections.flatMap((connection) => connection.handshake(0));
    const twice = (packet: TestPacket): void => void packets.push(packet, packet);
    for (let id = 0; id < callsMade; id++) {
      const connection = connections[id % connections.length] as TestConnection;
      const atMs = id / 5; // 5,000 a second
      twice(connection.request(request("dubbo", id, 1_024), atMs));
      twice(connection.reply(Buffer.alloc(0), atMs));
      twice(connection.reply(reply("dubbo", id, true, 100), atMs + 1));
      twice(connection.request(Buffer.alloc(0), atMs + 1));
    }
    const file = pcapFile(packets);
    const provided = [
      { service: services.dubbo, protocol: "dubbo", direct: server, published: { ...server, port: 20_881 } },
    ];
    const targets = new Targets({
      host: undefined,
      figures: async () => [],
      provided,
      consumed: [],
      bounds: defaultWatchBounds,
    });
    const calls = new Calls(targets, targets.ends);
    const segment = new Segment();
    const reader = new PcapReader((packet) => {
      if (readSegment(packet, segment)) calls.read(segment);
    });
    const before = process.cpuUsage();
    for (let at = 0; at < file.length; at += 65_536) reader.read(file.subarray(at, at + 65_536));
    const { user, system } = process.cpuUsage(before);
    assert.equal(targets.all[0]?.before.calls, callsMade);
    const each = (user + system) / callsMade;
    context.diagnostic(
      `${each.toFixed(1)} us of CPU for each call, ${(file.length / callsMade).toFixed(0)} captured bytes`,
    );
    assert.ok(each < 200, `${each} us`);
  });
});
