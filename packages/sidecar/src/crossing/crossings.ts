/**
 * All crossings of a sidecar, and the commands by which a mover asks for them (`@dualmesh/model/crossing`). What a former process had open
 * is open again before this sidecar says that it is ready, at the same ports.
 */
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Crossing, CrossingList, CrossingOpenArguments } from "@dualmesh/model/crossing";
import type { Series } from "../metrics.ts";
import type { DoorHost } from "../transport/door-host.ts";
import { readName, readOpen, readServer, readStep } from "./arguments.ts";
import type { CrossingCommands } from "./commands.ts";
import { figuresOf } from "./figures.ts";
import { type CrossingContext, type CrossingDoorHost, OpenCrossing } from "./open-crossing.ts";

export interface CrossingsOptions extends Omit<CrossingContext, "listen"> {
  readonly directory: CrossingList["directory"];
  /** Opens a door on loopback. Rejects with `listen.…`. */
  readonly host: (door: CrossingDoorHost, host: string, port: number) => Promise<DoorHost>;
  /** Ports that belong to something else of this sidecar, or are meant for it. */
  readonly isReserved: (port: number) => boolean;
  /** The addresses of a host name; rejects when it has none. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly series: () => Iterable<Series>;
}

/** Below the ports that systems give to connections: after a restart a door must have its port again. */
const firstPort = 21_100;
const lastPort = 21_899;
const maxCrossings = 256;

export class Crossings {
  readonly #options: CrossingsOptions;
  readonly #context: CrossingContext;
  readonly #open = new Map<string, OpenCrossing>();
  /** Those whose applications are being brought back before they are closed. */
  readonly #closing = new Set<OpenCrossing>();
  /** Doors are opened and closed one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: CrossingsOptions) {
    this.#options = options;
    this.#context = { ...options, listen: (door, host, port) => this.#listen(door, host, port) };
  }

  get commands(): CrossingCommands {
    return {
      open: async (given) => {
        const asked = readOpen(given);
        return this.#inTurn(() => this.#openCrossing(asked));
      },
      list: async () => this.#list(),
      provide: (given) => this.#step("provide", given),
      consume: (given) => this.#step("consume", given),
      close: async (given) => {
        const { name } = readName(given);
        return this.#inTurn(() => this.#close(name));
      },
    };
  }

  /** The ports on which doors of crossings listen. */
  get ports(): readonly number[] {
    return [...this.#open.values()].flatMap(({ record }) => record.doors.map(({ port }) => port));
  }

  views(): readonly Crossing[] {
    return [...this.#open.values()].map((crossing) => crossing.view());
  }

  applications(): readonly string[] {
    return [...this.#open.values()].flatMap((crossing) => crossing.applications());
  }

  /** Opens what a former process had open. What cannot be had keeps nothing else shut. */
  async restore(): Promise<void> {
    const { keep, log } = this.#options;
    for (const record of keep.crossings()) {
      const crossing = new OpenCrossing(record, this.#context);
      this.#open.set(record.name, crossing);
      try {
        await crossing.restore();
        await crossing.open(record.doors.map(({ server }) => server));
      } catch (error) {
        if (!isMeshError(error)) throw error;
        log.error({ crossing: record.name, error: error.message }, "a crossing is not open again as it was");
      }
    }
  }

  /** Before an orderly end: says who depends on it. */
  farewell(): void {
    for (const crossing of this.#open.values()) {
      const { provides, consumes } = crossing.record;
      const fields = { crossing: crossing.name, provides, consumes, connections: crossing.connections };
      this.#options.log.warn(
        fields,
        "the sidecar ends while a crossing is open: until it is back, or the move is taken back, its application cannot reach its registry",
      );
    }
  }

  /** Ends with the process; the disk keeps everything. */
  async close(): Promise<void> {
    const all = [...this.#open.values(), ...this.#closing];
    await Promise.all(all.map((crossing) => crossing.close("with the process")));
    this.#open.clear();
  }

  #list(): CrossingList {
    const { directory, outbound, series } = this.#options;
    return {
      crossings: this.views(),
      directory,
      outbound: `${outbound.host}:${outbound.port}`,
      figures: figuresOf(series()),
    };
  }

  async #openCrossing({ name, servers, chroots, host }: CrossingOpenArguments): Promise<Crossing> {
    const known = this.#open.get(name);
    if (known === undefined) await this.#check(servers, chroots);
    else checkSame(known, chroots, host);
    if (known === undefined && this.#open.size >= maxCrossings)
      throw new MeshError("crossing.too-many", `a sidecar has at most ${maxCrossings} crossings; close one of them`);
    const record = { name, doors: [], chroots, host, provides: "direct", consumes: "direct", sessions: {} } as const;
    const crossing = known ?? new OpenCrossing(record, this.#context);
    this.#open.set(name, crossing);
    try {
      await crossing.open([...new Set([...crossing.record.doors.map(({ server }) => server), ...servers])]);
    } catch (error) {
      if (known === undefined) await this.#close(name);
      throw error;
    }
    return crossing.view();
  }

  async #step(step: "provide" | "consume", given: Readonly<Record<string, unknown>>): Promise<Crossing> {
    const asked = readStep(given);
    const crossing = this.#open.get(asked.name);
    if (crossing === undefined)
      throw new MeshError("crossing.unknown", `no crossing of the name ${asked.name} is open here`, {
        name: asked.name,
      });
    await crossing[step](asked);
    return crossing.view();
  }

  async #closeForGood(crossing: OpenCrossing): Promise<void> {
    this.#closing.add(crossing);
    try {
      await crossing.close("for good");
    } finally {
      this.#closing.delete(crossing);
    }
  }

  /** Nothing when there is none of that name: it may have been closed by whoever asked before. */
  async #close(name: string): Promise<object> {
    const { keep, log } = this.#options;
    const crossing = this.#open.get(name);
    this.#open.delete(name);
    if (crossing !== undefined) await this.#closeForGood(crossing);
    keep.delete(name);
    try {
      await keep.flushed();
    } catch (error) {
      if (!isMeshError(error, "state.write-failed")) throw error;
      log.warn({ crossing: name, error: error.message }, "a crossing is closed, which the disk does not take now");
    }
    return {};
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined); // told to the one who asked for it
    return turn;
  }

  async #listen(door: CrossingDoorHost, host: string, kept: number | undefined): Promise<DoorHost> {
    if (kept !== undefined) {
      try {
        return await this.#options.host(door, host, kept);
      } catch (error) {
        if (!isMeshError(error, "listen.port-taken")) throw error;
        this.#options.log.error(
          { host, port: kept },
          "the port of a crossing's door is in use by another process: it gets another one, and the rule that leads to it is wrong",
        );
      }
    }
    for (let port = firstPort; port <= lastPort; port += 1) {
      if (this.#options.isReserved(port) || this.ports.includes(port)) continue;
      try {
        return await this.#options.host(door, host, port);
      } catch (error) {
        if (!isMeshError(error, "listen.port-taken")) throw error;
      }
    }
    throw new MeshError("listen.port-taken", `every port from ${firstPort} to ${lastPort} of ${host} is in use`);
  }

  /** The sidecar and the application must have one ensemble, or a list of the one would name what the other does not know. */
  async #check(servers: readonly string[], chroots: readonly string[]): Promise<void> {
    const { kind, addresses, chroot } = this.#options.directory;
    const otherwise = (why: string): MeshError => new MeshError("crossing.other-directory", why, { kind });
    if (kind !== "zookeeper") {
      throw otherwise(
        `this sidecar's directory is ${kind}; a crossing needs one whose directory is the application's own ensemble (directory: zookeeper)`,
      );
    }
    if (!(chroots.length === 0 ? [""] : chroots).includes(chroot)) {
      const own = chroot === "" ? "no root node of its own" : `the root node ${chroot}`;
      throw otherwise(`this sidecar's directory has ${own}, the application ${chroots.join(" and ") || "none"}`);
    }
    const own = new Set((await Promise.all(addresses.map((address) => this.#placesOf(address)))).flat());
    const isShared = servers.map(readServer).some(({ host, port }) => own.has(`${host} ${port}`));
    if (isShared) return;
    throw otherwise(
      `this sidecar's directory is at ${addresses.join(", ")}, which is none of ${servers.join(", ")}: it may be another ensemble`,
    );
  }

  async #placesOf(address: string): Promise<readonly string[]> {
    const colon = address.lastIndexOf(":");
    const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
    try {
      return (await this.#options.resolve(host)).map((one) => `${one} ${Number(address.slice(colon + 1))}`);
    } catch (error) {
      this.#options.log.warn({ address, error: messageOf(error) }, "a server of the directory cannot be resolved");
      return [];
    }
  }
}

function checkSame({ record, name }: OpenCrossing, chroots: readonly string[], host: string): void {
  if (record.host === host && record.chroots.join() === chroots.join()) return;
  throw new MeshError(
    "crossing.exists",
    `the crossing ${name} is open with other chroots or another host; close it first`,
    { name },
  );
}
