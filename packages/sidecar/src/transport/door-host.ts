/**
 * A port for a door: hands the door the bytes of each connection and sends what it answers. Only loopback callers are let in: a door at
 * a sidecar hands out loopback addresses, which mean nothing elsewhere.
 */
import type { Door } from "@dualmesh/dialects/door";
import { type Listener, listen } from "./listener.ts";
import type { Ports } from "./ports.ts";
import type { Transport } from "./transport.ts";

export interface DoorHostOptions {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly dropped: () => void;
  readonly ports?: Ports;
}

export interface DoorHost extends Omit<Listener, "adopt"> {
  readonly connections: number;
}

/** Opens the port. Rejects as `listen` does. */
export async function hostDoor(door: Pick<Door, "connect">, options: DoorHostOptions): Promise<DoorHost> {
  const open = new Set<Transport>();
  const accept = (transport: Transport): void => {
    open.add(transport);
    const connection = door.connect({
      remote: `${transport.remoteAddress}:${transport.remotePort}`,
      send: (bytes) => transport.write(bytes, 0, bytes.length),
      get queuedBytes() {
        return transport.queuedBytes;
      },
      close: () => transport.end(),
    });
    transport.open({
      onBytes: (bytes, size) => connection.receive(bytes.subarray(0, size)),
      onDrain() {},
      onPeerEnd() {},
      onClose() {
        open.delete(transport);
        connection.closed();
      },
    });
  };
  const listener = await listen({ ...options, accept, notFromLoopback: options.dropped });
  return {
    host: listener.host,
    port: listener.port,
    get connections() {
      return open.size;
    },
    async close() {
      await listener.close();
      for (const transport of open) transport.destroy("the sidecar stops");
    },
  };
}
