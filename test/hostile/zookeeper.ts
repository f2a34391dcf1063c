/** The raw ZooKeeper client of the dialects' tests, over a socket. */
import type net from "node:net";
import type { Door } from "@dualmesh/dialects/door";
import { ZooKeeperTestClient } from "@dualmesh/dialects/testing/zookeeper-client";
import { encodeName } from "@dualmesh/dialects/zookeeper/provider-url";
import { juteCodec } from "@dualmesh/wire/jute/frame";
import { eventually } from "./world.ts";

export function zookeeperClient(socket: net.Socket): ZooKeeperTestClient {
  const door: Pick<Door, "connect"> = {
    connect(peer) {
      const view = juteCodec.view();
      let part = Buffer.alloc(0);
      socket.on("data", (bytes) => {
        part = Buffer.concat([part, bytes]);
        for (;;) {
          const size = juteCodec.decode(part, 0, part.length, view);
          if (size < 0) return;
          peer.send(part.subarray(0, size));
          part = part.subarray(size);
        }
      });
      return { receive: (bytes) => void socket.write(bytes), closed: () => void socket.destroy() };
    },
  };
  return new ZooKeeperTestClient(door as Door);
}

/** A client with a session. */
export async function openZooKeeper(socket: net.Socket, timeoutMs = 30_000): Promise<ZooKeeperTestClient> {
  const client = zookeeperClient(socket).open({ timeoutMs });
  await eventually("a session", () => client.connected !== undefined);
  return client;
}

/** The error of a reply, once it has come. */
export async function errorOf(client: ZooKeeperTestClient, xid: number): Promise<number> {
  await eventually("a reply", () => client.error(xid) !== undefined);
  return client.error(xid) as number;
}

export const ephemeral = 1;

export function dubboProviderPath(name: string, port: number, application = "app", more = ""): string {
  const url = `dubbo://127.0.0.1:${port}/${name}?application=${application}&interface=${name}&methods=echo&version=1.0${more}`;
  return `/dubbo/${name}/providers/${encodeName(url)}`;
}
