/** The TCP side of a door at the registry: hands its bytes over and holds back a client that sends faster than it reads. */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import { hostOf, ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Door, DoorPeer } from "@dualmesh/dialects/door";
import type { Channel, ChannelEvents } from "@dualmesh/wire/stream/channel";
import { type Listener, listen } from "./tcp.ts";

/** Answers that a client does not read: reading from it pauses at the first, it is cut at the second. */
const pauseBytes = 256 * 1024;
const maxQueuedBytes = 8 * 1024 * 1024;

export interface DoorHostOptions {
  readonly door: Door;
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly clock: Clock;
  readonly log: Log;
}

interface DoorHost {
  readonly door: Door;
  readonly listener: Listener;
}

export async function openDoorHost(options: DoorHostOptions): Promise<DoorHost> {
  const { door, host, port, maxConnections, clock, log } = options;
  const told = new ThrottledLog({ log, clock });
  const accept = (channel: Channel): ChannelEvents => connectDoor(door, channel, told);
  return { door, listener: await listen({ host, port, maxConnections, clock, log, accept }) };
}

function connectDoor(door: Door, channel: Channel, told: ThrottledLog): ChannelEvents {
  let paused = false;
  const peer: DoorPeer = {
    remote: channel.remote,
    send(bytes) {
      channel.send(bytes);
      if (channel.queuedBytes > maxQueuedBytes) {
        const fields = { remote: channel.remote, door: door.dialect };
        told.warn(hostOf(channel.remote), fields, "a client of a door does not read and is cut");
        channel.destroy();
      } else if (channel.queuedBytes > pauseBytes && !paused) {
        paused = true;
        channel.pause();
      }
    },
    get queuedBytes() {
      return channel.queuedBytes;
    },
    close: () => channel.close(),
  };
  const connection = door.connect(peer);
  return {
    received: (bytes) => connection.receive(bytes),
    drained() {
      if (!paused) return;
      paused = false;
      channel.resume();
    },
    closed: () => connection.closed(),
  };
}
