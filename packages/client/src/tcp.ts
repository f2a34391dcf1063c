/** The socket of the stream's client. A simulation gives a factory of its own. */
import net from "node:net";
import { systemClock } from "@dualmesh/base/clock";
import type { Channel, ChannelEvents } from "@dualmesh/wire/stream/channel";

export interface DialEvents extends ChannelEvents {
  /** The connection stands; before, only `closed` may come. */
  opened(): void;
}

/** Dials `host:port`; tells `events`. */
export type Dial = (address: string, events: DialEvents) => Channel;

/** A registry that was sent everything and does not close its side is left after this. */
const closeTimeoutMs = 5_000;

export const dialTcp: Dial = (address, events) => {
  const colon = address.lastIndexOf(":");
  const socket = net.connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)), noDelay: true });
  let reason = "closed by the registry";
  socket.on("connect", () => events.opened());
  socket.on("data", (bytes) => events.received(bytes));
  socket.on("drain", () => events.drained());
  socket.on("error", (error: NodeJS.ErrnoException) => {
    reason = error.code ?? error.message;
  });
  socket.on("close", () => events.closed(reason));
  return {
    remote: address,
    send(bytes) {
      if (!socket.destroyed && !socket.writableEnded) socket.write(bytes);
    },
    get queuedBytes() {
      return socket.writableLength;
    },
    close() {
      socket.end();
      // An end that no byte of the peer puts off.
      const end = systemClock.after(closeTimeoutMs, () => void socket.destroy());
      socket.once("close", () => end.cancel());
    },
    destroy: () => void socket.destroy(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  };
};
