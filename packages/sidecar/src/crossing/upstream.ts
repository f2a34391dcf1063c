/** The sidecar's connection to a server of the ensemble, for one connection of an application. */
import type { Upstream, UpstreamEvents } from "@dualmesh/dialects/zookeeper/before/owner";
import { goOn } from "../transport/door-host.ts";
import type { Transport, TransportEvents } from "../transport/transport.ts";
import type { Server } from "./arguments.ts";

/** Calls back once, later, with the connection or without. Gives a way to give up. */
export type DialServer = (server: Server, done: (transport: Transport | undefined) => void) => () => void;

export interface ServerConnection extends Upstream {
  /** Undefined until it stands. */
  readonly transport: Transport | undefined;
}

/** What is sent before the connection stands is kept until it does. */
export function openUpstream(dial: DialServer, server: Server, events: UpstreamEvents): ServerConnection {
  let transport: Transport | undefined;
  let over = false;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  const giveUp = dial(server, (connected) => {
    if (over) return connected?.destroy("not wanted any more");
    if (connected === undefined) {
      over = true;
      return events.closed();
    }
    transport = connected;
    connected.open(
      eventsOf(events, () => {
        over = true;
      }),
    );
    for (const bytes of waiting) connected.write(bytes, 0, bytes.length);
    waiting = [];
    waitingBytes = 0;
  });
  return {
    get transport() {
      return transport;
    },
    send(bytes) {
      if (transport !== undefined) return transport.write(bytes, 0, bytes.length);
      if (over) return;
      waiting.push(bytes);
      waitingBytes += bytes.length;
    },
    get queuedBytes() {
      return waitingBytes + (transport?.queuedBytes ?? 0);
    },
    close() {
      if (transport !== undefined) return transport.end();
      over = true;
      giveUp();
    },
  };
}

/** One that stood still at another door. */
export function adoptUpstream(transport: Transport, events: UpstreamEvents): ServerConnection {
  goOn(transport, () => transport.open(eventsOf(events, () => {})));
  return {
    transport,
    send: (bytes) => transport.write(bytes, 0, bytes.length),
    get queuedBytes() {
      return transport.queuedBytes;
    },
    close: () => transport.end(),
  };
}

function eventsOf(events: UpstreamEvents, closed: () => void): TransportEvents {
  return {
    onBytes: (bytes, size) => events.received(bytes.subarray(0, size)),
    onDrain() {},
    onPeerEnd: () => undefined,
    onClose() {
      closed();
      events.closed();
    },
  };
}
