/**
 * A port for a door: hands the door the bytes of each connection and sends what it answers. Only loopback callers are let in: a door at
 * a sidecar hands out loopback addresses, which mean nothing elsewhere. A host that is laid down may leave its connections to the next one.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import type { DoorConnection, DoorPeer, Standing } from "@dualmesh/dialects/door";
import { type Listener, listen } from "./listener.ts";
import type { Ports } from "./ports.ts";
import type { StillConnection, StillConnections } from "./still-connections.ts";
import type { Transport } from "./transport.ts";

/** A door as its host needs it. */
export interface HostedDoor {
  connect(peer: DoorPeer): DoorConnection;
  /** `beside` are the connections that the door had opened for this client's. */
  adopt?(peer: DoorPeer, standing: Standing, beside: readonly Transport[]): DoorConnection | undefined;
  /** Those that it has opened for a client's connection, which stand still when that does. */
  beside?(peer: DoorPeer): readonly Transport[];
  serving?(isServing: boolean): void;
}

export interface DoorHostOptions {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly dropped: () => void;
  readonly ports?: Ports;
  /** Where its connections stay when it is laid down, under the key of the door. */
  readonly stays?: { readonly still: StillConnections; readonly key: string; readonly clock: Clock };
}

export interface DoorHost extends Omit<Listener, "adopt"> {
  readonly connections: number;
}

interface Hosted {
  readonly peer: DoorPeer;
  readonly connection: DoorConnection;
}

/** What was begun may take so long until its connection stands still; then that is closed, and its client comes back. */
const standMs = 500;
const lookMs = 2;
/** Calls go on meanwhile. */
const sliceMs = 2;

/** Opens the port. Rejects as `listen` does. */
export async function hostDoor(door: HostedDoor, options: DoorHostOptions): Promise<DoorHost> {
  const { stays } = options;
  const open = new Map<Transport, Hosted>();
  let isServing = false;
  const began = (): void => {
    isServing = true;
    door.serving?.(true);
  };
  const accept = (transport: Transport): void => {
    const peer = peerOf(transport);
    receive(open, transport, { peer, connection: door.connect(peer) });
  };
  const take = ({ transports: [transport, ...beside], standing }: StillConnection): boolean => {
    if (transport === undefined) return false;
    const peer = peerOf(transport);
    const connection = door.adopt?.(peer, standing, beside);
    if (connection === undefined) return false;
    goOn(transport, () => receive(open, transport, { peer, connection }));
    const [unread] = standing.unread;
    if (unread !== undefined && unread.length > 0) connection.receive(unread);
    return true;
  };
  const listener = await listen({ ...options, accept, notFromLoopback: options.dropped, began });
  if (!isServing) door.serving?.(false);
  const leave = stays?.still.open(stays.key, take);
  return {
    host: listener.host,
    port: listener.port,
    get connections() {
      return open.size;
    },
    async close() {
      await listener.close();
      leave?.();
      if (stays?.still.isHolding === true) {
        door.serving?.(false);
        await layDown(open, door, stays);
      }
      for (const transport of [...open.keys()]) transport.destroy("the sidecar stops");
    },
  };
}

function peerOf(transport: Transport): DoorPeer {
  return {
    remote: `${transport.remoteAddress}:${transport.remotePort}`,
    send: (bytes) => transport.write(bytes, 0, bytes.length),
    get queuedBytes() {
      return transport.queuedBytes;
    },
    close: () => transport.end(),
  };
}

function receive(open: Map<Transport, Hosted>, transport: Transport, hosted: Hosted): void {
  const { connection } = hosted;
  open.set(transport, hosted);
  transport.open({
    onBytes: (bytes, size) => connection.receive(bytes.subarray(0, size)),
    onDrain() {},
    onPeerEnd() {},
    onClose() {
      open.delete(transport);
      connection.closed();
    },
  });
}

/** Reads again what stood still, once `open` has named its owner. */
export function goOn(transport: Transport, open: () => void): void {
  transport.thaw();
  open();
  transport.resume();
}

type Stays = NonNullable<DoorHostOptions["stays"]>;

/** Nothing is read any more; each connection goes as soon as it stands still. Those that are left have not in time. */
async function layDown(open: Map<Transport, Hosted>, door: HostedDoor, { still, key, clock }: Stays): Promise<void> {
  for (const transport of open.keys()) transport.pause();
  let began = clock.now();
  for (const end = began + standMs; ; began = clock.now()) {
    for (const [transport, { peer, connection }] of [...open]) {
      if (clock.now() - began >= sliceMs) {
        await new Promise<void>((resolve) => setImmediate(resolve));
        began = clock.now();
      }
      const transports = [transport, ...(door.beside?.(peer) ?? [])];
      const standing = stand(transports, connection);
      if (standing === undefined) continue;
      open.delete(transport);
      still.keep({ key, transports, standing });
    }
    if (open.size === 0 || clock.now() >= end) return;
    await sleep(clock, lookMs);
  }
}

/** Undefined, and then nothing has changed, unless all of them stand still at this moment. */
function stand(transports: readonly Transport[], connection: DoorConnection): Standing | undefined {
  const still = transports.filter((transport) => transport.freeze());
  const standing = still.length === transports.length ? connection.stand?.() : undefined;
  if (standing === undefined) for (const transport of still) transport.thaw();
  return standing;
}
