/** How a client of a real registry gets a connection; who runs it gives the sockets. */
import type { Channel, ChannelEvents } from "@dualmesh/wire/stream/channel";

export interface DialEvents extends ChannelEvents {
  /** The connection stands; before, only `closed` may come, and never while `dial` runs. */
  opened(): void;
}

/** Dials `host:port`; tells `events`. */
export type Dial = (address: string, events: DialEvents) => Channel;
