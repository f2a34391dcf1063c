/** A connection has one name at both ends: by it a sidecar knows a caller that is itself. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net, { type Socket } from "node:net";
import { test } from "node:test";
import { listen } from "./listener.ts";
import { acceptedName, dialledName, type Transport, type TransportEvents } from "./transport.ts";

const quiet: TransportEvents = { onBytes() {}, onDrain() {}, onPeerEnd() {}, onClose() {} };

test("both ends of a connection give it one name, which none to another place has, though it may come from the same port", async () => {
  const accepted: Transport[] = [];
  const ports = await Promise.all(
    [0, 1].map(() =>
      listen({
        ...{ host: "127.0.0.1", port: 0, maxConnections: 10, dropped: () => {} },
        accept: (transport) => {
          accepted.push(transport);
          transport.open(quiet);
        },
      }),
    ),
  );
  const localPort = await unusedPort();
  const dialled: Socket[] = [];
  for (const { port } of ports) {
    const socket = net.connect({ host: "127.0.0.1", port, localAddress: "127.0.0.1", localPort });
    await once(socket, "connect");
    dialled.push(socket);
    while (accepted.length < dialled.length) await new Promise((resolve) => setImmediate(resolve));
  }
  const names = dialled.map((socket) => {
    const { localAddress = "", localPort = 0, remoteAddress = "", remotePort = 0 } = socket;
    return dialledName({ localAddress, localPort, remoteAddress, remotePort });
  });
  assert.deepEqual(accepted.map(acceptedName), names);
  assert.equal(dialled[0]?.localPort, dialled[1]?.localPort);
  assert.notEqual(names[0], names[1]);
  for (const socket of dialled) socket.destroy();
  for (const port of ports) await port.close();
});

async function unusedPort(): Promise<number> {
  const server = net.createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
