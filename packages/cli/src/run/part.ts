/** What the command line needs to know of a part in order to run it. */
import type { AdminRoute } from "@dualmesh/base/admin/server";
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { StateDirectory } from "@dualmesh/base/state/state";
import type { z } from "zod";

export interface PartContext<Config> {
  readonly config: Config;
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface RunningPart {
  /** Plain data for `dualmesh status`. */
  status(): unknown;
  /** One orderly end. */
  close(): Promise<void>;
}

/** An admin port that the command line opens for the part. */
export interface PartAdmin {
  readonly host: string;
  readonly port: number;
  readonly routes: ReadonlyMap<string, AdminRoute>;
  /** The process has run out of descriptors (true) or has some again: traffic should be turned away while it lasts. */
  readonly onScarceDescriptors?: (scarce: boolean) => void;
}

export interface Part<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly schema: Schema;
  start(context: PartContext<z.output<Schema>>): Promise<{
    readonly running: RunningPart;
    /** Undefined when the part has opened its own. */
    readonly admin?: PartAdmin;
    /** What somebody should know at each start and in `status`: a port that is open to other machines. */
    readonly warnings?: readonly string[];
  }>;
}
