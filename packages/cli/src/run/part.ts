/** What the command line needs to know of a part in order to read its configuration and to run it. */
import type { AdminRoute } from "@dualmesh/base/admin/server";
import type { Clock } from "@dualmesh/base/clock";
import type { Path } from "@dualmesh/base/config/document";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { ControlHandler } from "@dualmesh/base/state/control-socket";
import type { StateDirectory } from "@dualmesh/base/state/state";
import type { RunningSidecar } from "@dualmesh/sidecar/sidecar";
import type { Taken } from "@dualmesh/sidecar/upgrade/taken";
import type { z } from "zod";
import type { EveryPartConfig } from "./every-part.ts";

export interface PartContext<Config> {
  readonly config: Config;
  /** The same as anybody may see it, for the admin port. */
  readonly shown: unknown;
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** What another process had begun that this one goes on with. */
  readonly taken?: Taken;
}

export interface RunningPart {
  /** Plain data for `dualmesh status`. */
  status(): unknown;
  /** What it may be told over the control socket, beside `status`. */
  readonly commands?: ReadonlyMap<string, ControlHandler>;
  /** One orderly end. */
  close(): Promise<void>;
  /** Where another process can take over while calls go on. */
  readonly upgrade?: Pick<RunningSidecar, "data" | "suspend" | "covered">;
}

/** Opens something at the port that is meant for it. Rejects as `open` does. */
export type OpenAtPort = <Opened extends { readonly port: number }>(
  open: (port: number) => Promise<Opened>,
) => Promise<Opened>;

/** An admin port that the command line opens for the part. */
export interface PartAdmin {
  readonly host: string;
  /** The port, or who chooses among several. */
  readonly port: number | OpenAtPort;
  readonly routes: ReadonlyMap<string, AdminRoute>;
}

/** A part as it runs. It does not know its schema: what reads a configuration need not be in the memory of what runs by it. */
export interface RunnablePart<Config> {
  readonly name: string;
  start(context: PartContext<Config>): Promise<{
    readonly running: RunningPart;
    /** Undefined when the part has opened its own. */
    readonly admin?: PartAdmin;
    /** What somebody should know at each start and in `status`: a port that is open to other machines. */
    readonly warnings?: readonly string[];
  }>;
}

export interface ConfigPlaces {
  /** The folder of the configuration file; the present one without a file. */
  readonly folder: string;
  /** `file:line:column` of a key. */
  readonly whereOf: (path: Path) => string;
}

/** A part as its configuration is read. */
export interface PartSchema<Config> {
  readonly name: string;
  readonly schema: z.ZodType<Config & EveryPartConfig>;
  /** What the configuration says of files, by the place where it says it. */
  placed?(config: Config & EveryPartConfig, places: ConfigPlaces): Config & EveryPartConfig;
}
