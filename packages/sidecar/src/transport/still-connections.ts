/**
 * Connections of doors while no door has them: those of a door that was laid down stand still here until the next one of the same key is
 * opened, in this process or in its successor. What nobody takes is closed, and its client comes back by itself.
 */
import type { Log } from "@dualmesh/base/log";
import type { Standing } from "@dualmesh/dialects/door";
import type { Transport } from "./transport.ts";

export interface StillConnection {
  /** Of its door: the same in the process before and after. */
  readonly key: string;
  /** The client's, then those that the door has opened for it. All stand still. */
  readonly transports: readonly Transport[];
  readonly standing: Standing;
}

/** Goes on with a connection; false when that cannot be. */
export type TakeStill = (connection: StillConnection) => boolean;

export interface StillConnectionsOptions {
  readonly log: Log;
  /** Told of each connection that nobody takes. */
  readonly lost: () => void;
}

export class StillConnections {
  readonly #options: StillConnectionsOptions;
  readonly #doors = new Map<string, TakeStill>();
  #still: StillConnection[] = [];
  #isHolding = false;

  constructor(options: StillConnectionsOptions) {
    this.#options = options;
  }

  /** Doors that are laid down from now on leave their connections here. */
  hold(): void {
    this.#isHolding = true;
  }

  get isHolding(): boolean {
    return this.#isHolding;
  }

  get all(): readonly StillConnection[] {
    return this.#still;
  }

  keep(connection: StillConnection): void {
    this.#still.push(connection);
  }

  /** A door is open: it takes what stands still for it, and what comes from another process. Gives how to say that it is laid down. */
  open(key: string, take: TakeStill): () => void {
    this.#doors.set(key, take);
    const own = this.#still.filter((connection) => connection.key === key);
    this.#still = this.#still.filter((connection) => connection.key !== key);
    this.take(own);
    return () => {
      if (this.#doors.get(key) === take) this.#doors.delete(key);
    };
  }

  /** Has their doors go on with connections; those that cannot are closed. */
  take(connections: readonly StillConnection[]): void {
    const lost = connections.filter((connection) => this.#doors.get(connection.key)?.(connection) !== true);
    for (const { transports } of lost) {
      this.#options.lost();
      for (const transport of transports) transport.destroy("no door goes on with it");
    }
    const [first] = lost;
    if (first !== undefined)
      this.#options.log.warn(
        { door: first.key, count: lost.length },
        "connections of doors cannot go on and are closed; their clients come back by themselves",
      );
  }

  /** All doors are open again: nobody comes for what is left. */
  settle(): void {
    this.#isHolding = false;
    this.take(this.#still.splice(0));
  }

  /** Another process has them. Gives how many there were. */
  letGo(): number {
    this.#isHolding = false;
    const all = this.#still.splice(0);
    for (const { transports } of all) for (const transport of transports) transport.letGo();
    return all.length;
  }
}
