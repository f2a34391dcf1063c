import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import type { InboundService } from "../face/inbound.ts";
import { listen } from "../transport/listener.ts";
import { SnapshotFeed } from "./feed.ts";
import { metadataServices } from "./metadata-service.ts";
import { Peer, TestPlane } from "./testing.ts";

const inboundPort = 20_881;
const metadata = "org.apache.dubbo.metadata.MetadataService";

function service(application: string, appPort: number, changes: Partial<InboundService> = {}): InboundService {
  const authority = `127.0.0.1:${appPort}`;
  const common = { application, host: "127.0.0.1", appPort, authority, timeoutMs: 0, leaving: false };
  return { service: `dubbo/fx.Of${application}:1.0:`, ...common, ...changes };
}

const said = (services: readonly InboundService[]): readonly string[] =>
  metadataServices(services).map(({ service, appPort }) => `${service} ${appPort}`);

test("each of several applications behind a port has a metadata service of its own", () => {
  assert.deepEqual(said([service("shop", 1), service("shop", 1, { service: "dubbo/fx.More::" }), service("bank", 2)]), [
    `dubbo/${metadata}:1.0.0:shop 1`,
    `dubbo/${metadata}:1.0.0:bank 2`,
  ]);
});

test("one application alone needs no name, and one with two ports of which nobody knows which is meant has none", () => {
  assert.deepEqual(said([service("shop", 1), service("shop", 1, { service: "dubbo/fx.More::" })]), []);
  assert.deepEqual(said([service("shop", 1), service("shop", 2), service("bank", 3)]), [
    `dubbo/${metadata}:1.0.0:bank 3`,
  ]);
  assert.deepEqual(said([service("shop", 1), service("bank", 2, { service: "bolt/fx.Bank:1.0:" })]), []);
});

test("a process of an application that is leaving does not stand in the way of its successor", () => {
  assert.deepEqual(said([service("shop", 1, { leaving: true }), service("shop", 2), service("bank", 3)]), [
    `dubbo/${metadata}:1.0.0:shop 2`,
    `dubbo/${metadata}:1.0.0:bank 3`,
  ]);
  assert.deepEqual(said([service("shop", 1, { leaving: true }), service("bank", 3)])[0]?.endsWith(":shop 1"), true);
});

test("a call goes to the application whose name is its group, and to nobody when there is none of that name", async () => {
  await using world = new TestPlane();
  const answers = (name: string) => (peer: Peer, frame: { readonly id: number }) =>
    peer.send(dubboBytes(0x02, 20, 0, frame.id, Buffer.from(`\x91\x05${name}`, "latin1")));
  const [shop, bank] = [
    await world.provider(answers("=shop"), "dubbo"),
    await world.provider(answers("=bank"), "dubbo"),
  ];
  const feed = new SnapshotFeed({ target: world.plane, defaultTimeoutMs: 5_000, isLoop: () => false });
  // Of the one whose port is not known no route may be the only one there is.
  const other = service("twice", bank.port + 1);
  const services = [service("shop", shop.port), service("bank", bank.port)];
  feed.inbound([{ host: "127.0.0.1", port: inboundPort, services }]);
  const accept = (transport: Parameters<typeof world.plane.accept>[0]): void =>
    world.plane.accept(transport, { inboundPort });
  const port = await listen({ host: "127.0.0.1", port: 0, maxConnections: 10, dropped: () => {}, accept });
  const socket = net.connect({ host: "127.0.0.1", port: port.port });
  try {
    await once(socket, "connect");
    const peer = new Peer(socket, "dubbo");
    const ask = async (id: number, group: string): Promise<string> => {
      const call = hessianCall({
        path: metadata,
        version: "1.0.0",
        method: "serviceName",
        attachments: [["group", group]],
      });
      peer.send(dubboBytes(0xc2, 0, 0, id, call));
      await peer.until(() => peer.frames.some((frame) => frame.id === id), `answer ${id}`);
      return peer.frames.find((frame) => frame.id === id)?.bytes.toString("latin1") ?? "";
    };
    assert.match(await ask(1, "bank"), /=bank$/);
    assert.match(await ask(2, "shop"), /=shop$/);
    assert.match(await ask(3, "other"), /is not provided here/);
    feed.inbound([{ host: "127.0.0.1", port: inboundPort, services: [...services, other, service("twice", 1)] }]);
    assert.match(await ask(4, "twice"), /is not provided here/);
    feed.inbound([
      { host: "127.0.0.1", port: inboundPort, services: [services[0] as InboundService, other, service("twice", 1)] },
    ]);
    assert.match(await ask(5, "twice"), /is not provided here/, "not even when one other application is all there is");
  } finally {
    socket.destroy();
    await port.close();
  }
});
