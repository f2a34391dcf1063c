/**
 * Whether the sidecar may be relied on: its ports listen, and the directory has answered every subscription remembered on disk, or was out of
 * reach for so long that the state on disk is in force.
 */
import type { AdminReply } from "@dualmesh/base/admin/server";
import { jsonReply } from "@dualmesh/base/admin/server";
import type { Clock } from "@dualmesh/base/clock";
import type { SidecarDirectory } from "./directory/directory.ts";

export type Readiness = "starting" | "fresh" | "stale" | "ending";

export class Ready {
  readonly #clock: Clock;
  #listening = false;
  #directory: Pick<SidecarDirectory, "readiness"> | undefined;
  #staleSince = 0;
  #ending = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  listening(): void {
    this.#listening = true;
  }

  /** What is stale becomes fresh when the registry comes back. */
  follow(directory: Pick<SidecarDirectory, "ready" | "readiness">): void {
    this.#directory = directory;
    void directory.ready().then((how) => {
      if (how === "stale") this.#staleSince = this.#clock.wall();
    });
  }

  ending(): void {
    this.#ending = true;
  }

  get state(): Readiness {
    if (this.#ending) return "ending";
    const readiness = this.#directory?.readiness ?? "no";
    return this.#listening && readiness !== "no" ? readiness : "starting";
  }

  /** 200 while the sidecar may be relied on, with `stale: since` when the directory is out of reach; 503 otherwise. */
  reply(): AdminReply {
    const { state } = this;
    if (state === "fresh") return jsonReply({ ready: true });
    if (state === "stale") return jsonReply({ ready: true, stale: new Date(this.#staleSince).toISOString() });
    const reason =
      state === "ending"
        ? "the sidecar is on its way out"
        : this.#listening
          ? "the registry has not answered"
          : "ports do not listen yet";
    return jsonReply({ ready: false, reason }, 503);
  }
}
