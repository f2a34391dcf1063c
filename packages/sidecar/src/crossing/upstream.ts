/** The sidecar's connection to a server of the ensemble, for one connection of an application. */
import type { Upstream, UpstreamEvents } from "@dualmesh/dialects/zookeeper/before/owner";
import type { Transport } from "../transport/transport.ts";
import type { Server } from "./arguments.ts";

/** Calls back once, later, with the connection or without. Gives a way to give up. */
export type DialServer = (server: Server, done: (transport: Transport | undefined) => void) => () => void;

/** What is sent before the connection stands is kept until it does. */
export function openUpstream(dial: DialServer, server: Server, events: UpstreamEvents): Upstream {
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
    connected.open({
      onBytes: (bytes, size) => events.received(bytes.subarray(0, size)),
      onDrain() {},
      onPeerEnd: () => undefined,
      onClose() {
        over = true;
        events.closed();
      },
    });
    for (const bytes of waiting) connected.write(bytes, 0, bytes.length);
    waiting = [];
    waitingBytes = 0;
  });
  return {
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
