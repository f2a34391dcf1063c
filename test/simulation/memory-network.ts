/**
 * Connections in memory over a fake clock: bytes take a random while, arrive in order and in pieces, and any connection can be cut at
 * any moment with what was on its way lost.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Random } from "@dualmesh/base/random";
import type { Dial, DialEvents } from "@dualmesh/client/tcp";
import type { Channel, ChannelEvents } from "@dualmesh/wire/stream/channel";

const largestLatencyMs = 8;

export class MemoryNetwork {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #links = new Set<MemoryLink>();
  /** Accepts connections; undefined while nobody listens. */
  accept: ((channel: Channel) => ChannelEvents) | undefined;
  bytesToClients = 0;
  /** What becomes of a write to a client: nothing, itself, or something else. */
  tamper: (bytes: Buffer) => readonly Buffer[] = (bytes) => [bytes];

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** The factory of one client; `owner` names it, to cut what is its own. */
  dialer(owner: string): Dial {
    return (_address, events) => {
      const link = new MemoryLink(this, owner, events, this.#clock, this.#random);
      this.#links.add(link);
      link.start();
      return link.client;
    };
  }

  cut(owner?: string): void {
    for (const link of [...this.#links]) if (owner === undefined || link.owner === owner) link.cut();
  }

  forget(link: MemoryLink): void {
    this.#links.delete(link);
  }
}

class MemoryLink {
  readonly owner: string;
  readonly client: End;
  readonly #server: End;
  readonly #network: MemoryNetwork;
  readonly #events: DialEvents;
  readonly #clock: Clock;
  over = false;

  constructor(network: MemoryNetwork, owner: string, events: DialEvents, clock: Clock, random: Random) {
    this.#network = network;
    this.owner = owner;
    this.#events = events;
    this.#clock = clock;
    const over = (): void => this.cut();
    this.client = new End(this, "registry", clock, random, over, (bytes) => [bytes]);
    this.#server = new End(this, owner, clock, random, over, (bytes) => {
      network.bytesToClients += bytes.length;
      return network.tamper(bytes);
    });
  }

  start(): void {
    this.#clock.after(1, () => {
      if (this.over) return;
      const { accept } = this.#network;
      this.client.events = this.#events;
      if (accept === undefined) return this.cut();
      this.#server.events = accept(this.#server);
      this.client.peer = this.#server;
      this.#server.peer = this.client;
      this.#events.opened();
    });
  }

  cut(): void {
    if (this.over) return;
    this.over = true;
    this.#network.forget(this);
    const { client } = this;
    client.events ??= this.#events;
    // As with sockets: whoever closes learns of it later, never during its own call.
    this.#clock.after(0, () => client.events?.closed("cut"));
    this.#clock.after(0, () => this.#server.events?.closed("cut"));
  }
}

class End implements Channel {
  readonly remote: string;
  readonly #link: MemoryLink;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #over: () => void;
  readonly #pass: (bytes: Buffer) => readonly Buffer[];
  events: ChannelEvents | undefined;
  peer: End | undefined;
  #arrival = 0;
  #closing = false;

  constructor(
    link: MemoryLink,
    remote: string,
    clock: Clock,
    random: Random,
    over: () => void,
    pass: (bytes: Buffer) => readonly Buffer[],
  ) {
    this.#link = link;
    this.remote = remote;
    this.#clock = clock;
    this.#random = random;
    this.#over = over;
    this.#pass = pass;
  }

  get queuedBytes(): number {
    return 0;
  }

  send(bytes: Buffer): void {
    if (this.#link.over || this.#closing) return;
    for (const write of this.#pass(bytes)) this.#deliver(write);
  }

  #deliver(bytes: Buffer): void {
    const half = Math.floor(this.#random.next() * bytes.length);
    for (const piece of [bytes.subarray(0, half), bytes.subarray(half)]) {
      const copy = Buffer.from(piece);
      this.#later(() => this.peer?.events?.received(copy));
    }
  }

  close(): void {
    this.#closing = true;
    this.#later(this.#over);
  }

  destroy(): void {
    this.#over();
  }

  pause(): void {}

  resume(): void {}

  #later(task: () => void): void {
    this.#arrival = Math.max(this.#arrival, this.#clock.now() + this.#random.next() * largestLatencyMs);
    this.#clock.after(this.#arrival - this.#clock.now(), () => {
      if (!this.#link.over) task();
    });
  }
}
