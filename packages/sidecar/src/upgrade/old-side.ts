/**
 * An upgrade as the old process goes through it (steps.ts). Until the new process has said that it goes on with the connections, whatever happens ends with
 * this process as it was before: what it had laid down is taken up again, what stood still goes on, and the new process is ended. Should the
 * new process die after that, while this one still passes on replies, this one serves again.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { DataSide } from "../data-side.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Packets } from "../transport/native.ts";
import { Conversation } from "./conversation.ts";
import { Leaving, type Left } from "./leaving.ts";
import type { UpgradeStep } from "./steps.ts";

/** The process that comes. */
export interface Successor {
  readonly pid: number;
  /** Resolves when it has ended. */
  readonly ended: Promise<string>;
  kill(): void;
}

export interface OldSideOptions {
  readonly calls: Packets;
  readonly clock: Clock;
  readonly log: Log;
  /** In a directory that only this user can enter. Nothing may be there. */
  readonly path: string;
  readonly version: string;
  readonly data: DataSide;
  readonly drainMs: number;
  /** Starts the new process, which connects to `path`. */
  readonly start: () => Promise<Successor>;
  /** Lays down everything but the data side; resolves with the routes that are in force there. */
  readonly suspend: () => Promise<Snapshot>;
  /** Takes it up again. */
  readonly resume: (before: Snapshot | undefined) => Promise<void>;
  readonly tell: (progress: UpgradeProgress) => void;
}

export interface UpgradeProgress {
  readonly step: UpgradeStep;
  /** Milliseconds since the beginning. */
  readonly ms: number;
}

export interface UpgradeEnd extends Left {
  /** The process that goes on. */
  readonly pid: number;
  readonly version: string;
  /** Milliseconds: the whole; in which connections stood still; of this process's event loop. */
  readonly ms: number;
  readonly stillMs: number;
  readonly loopMs: number;
}

/** Until the new process has started, loaded its configuration and answered itself. */
const startMs = 60_000;
const greetMs = 10_000;
const takeUpMs = 30_000;
const holdsMs = 30_000;
const commitMs = 10_000;
const endedMs = 2_000;

/** Resolves when nothing is left here, so that this process may end. Rejects with `upgrade.…` when it goes on instead. */
export async function handOver(options: OldSideOptions): Promise<UpgradeEnd> {
  return new OldSide(options).run();
}

class OldSide {
  readonly #options: OldSideOptions;
  readonly #began: number;
  #before: Snapshot | undefined;
  #isSuspended = false;
  #leaving: Leaving | undefined;
  /** The new process goes on with the connections: nothing is taken back unless it has died. */
  #isCommitted = false;
  #stillSince = 0;

  constructor(options: OldSideOptions) {
    this.#options = options;
    this.#began = options.clock.now();
  }

  async run(): Promise<UpgradeEnd> {
    const { log, start } = this.#options;
    let successor: Successor | undefined;
    let talk: Conversation | undefined;
    try {
      const listening = this.#options.calls.listenAt(this.#options.path);
      try {
        successor = await start();
        talk = await this.#met(listening, successor);
      } finally {
        this.#options.calls.close(listening);
      }
      return await this.#through(talk, successor);
    } catch (error) {
      log.error({ error: messageOf(error) }, "the upgrade failed, and this process goes on");
      if (talk?.isOver === false) await talk.giveUp(messageOf(error));
      successor?.kill();
      // Not before nobody else can read a connection that stands still here.
      await this.#within(endedMs, successor?.ended);
      if (this.#isCommitted) this.#leaving?.abandon();
      else this.#leaving?.thaw();
      if (this.#isSuspended) await this.#options.resume(this.#before);
      if (isMeshError(error)) throw error;
      throw new MeshError("upgrade.failed", messageOf(error), {}, { cause: error });
    }
  }

  /** The new process, once it has connected; strangers are turned away. */
  async #met(listening: number, successor: Successor): Promise<Conversation> {
    const { calls, clock, log } = this.#options;
    let gone: string | undefined;
    void successor.ended.then((how) => {
      gone = how;
    });
    for (const end = clock.now() + startMs; ; await sleep(clock, 5)) {
      const socket = calls.accept(listening);
      if (socket !== undefined) {
        const there = calls.credentialsOf(socket);
        if (there === undefined || (there.uid === process.getuid?.() && there.pid === successor.pid)) {
          return new Conversation({
            ...{ calls, socket, clock },
            onMessage: (message) => this.#leaving?.hear(message),
            onEnd: () => {},
          });
        }
        calls.close(socket);
        log.warn({ ...there }, "a stranger at the socket of the upgrade was turned away");
      } else if (gone !== undefined)
        throw new MeshError("upgrade.not-started", `the new process has ended (${gone}): what it printed says why`);
      else if (clock.now() >= end)
        throw new MeshError("upgrade.late", `the new process was not there after ${startMs} ms`);
    }
  }

  async #through(talk: Conversation, successor: Successor): Promise<UpgradeEnd> {
    const { calls, data, clock, log, version, suspend, drainMs } = this.#options;
    const { channel } = talk;
    this.#tell("start");
    const other = await talk.greet(version, greetMs);
    this.#tell("greet");
    for (const { host, port, asked, descriptor } of calls.takesDescriptors ? data.ports.open() : [])
      channel.say({ say: "listener", host, port, asked }, undefined, [descriptor]);
    this.#tell("listen");
    this.#isSuspended = true;
    if (calls.takesDescriptors) data.still.hold();
    this.#before = await suspend();
    this.#tell("suspend");
    // Where listeners do not go along, the new process listens anew: nobody may listen there.
    if (!calls.takesDescriptors) await data.stopListening();
    channel.sayAll((more) => ({ say: "take-up", more }), Buffer.from(JSON.stringify(this.#before)));
    await talk.hears("ready", takeUpMs);
    this.#tell("take-up");
    const { plane, metrics, still } = data;
    const leaving = new Leaving({ plane, still, channel, metrics, clock, log, drainMs });
    this.#leaving = leaving;
    if (calls.takesDescriptors) {
      await leaving.share();
      await talk.hears("holds", holdsMs);
    }
    this.#tell("share");
    this.#stillSince = clock.now();
    talk.isStill = true;
    if (calls.takesDescriptors) await leaving.freeze();
    this.#tell("freeze");
    leaving.commit();
    await talk.hears("committed", commitMs);
    this.#isCommitted = true;
    talk.isStill = false;
    const stillMs = Math.round(clock.now() - this.#stillSince);
    const left = await this.#letGo(talk, leaving, successor);
    channel.close();
    const ms = Math.round(clock.now() - this.#began);
    return { ...left, pid: successor.pid, version: other.version, ms, stillMs, loopMs: Math.round(leaving.busyMs) };
  }

  /** All that is left to do once the new process goes on. Whatever goes wrong here, it does so unless it dies; then this rejects. */
  async #letGo(talk: Conversation, leaving: Leaving, successor: Successor): Promise<Left> {
    const { calls, data, log } = this.#options;
    try {
      if (calls.takesDescriptors) await leaving.surrender();
      else data.plane.farewell();
      await data.stopListening();
      this.#sayFigures(talk);
      this.#tell("commit");
      const left = await this.#relayed(talk, leaving, successor);
      this.#tell("relay");
      this.#sayFigures(talk);
      talk.channel.say({ say: "end" });
      await talk.channel.drained();
      this.#tell("end");
      return left;
    } catch (error) {
      if ((await this.#within(endedMs, successor.ended)) !== undefined) throw error;
      log.error({ error: messageOf(error) }, "the new process goes on without what was still to be passed on to it");
      leaving.abandon();
      return leaving.soFar;
    }
  }

  /** Passes on what is still answered; rejects when the new process dies meanwhile. */
  async #relayed(talk: Conversation, leaving: Leaving, successor: Successor): Promise<Left> {
    const left = await leaving.left();
    if (!talk.isOver) return left;
    // Who has done with this process, since it had said nothing for too long, is not dead.
    const goesOn = talk.isGone && (await this.#within(endedMs, successor.ended)) === undefined;
    if (!goesOn)
      throw new MeshError(
        "upgrade.gone",
        "the new process has died after it went on with the connections; they are lost with it",
      );
    this.#options.log.warn({}, "the new process goes on without what is still answered here");
    return left;
  }

  /** Undefined when it has not come by then. */
  async #within<Result>(ms: number, awaited: Promise<Result> | undefined): Promise<Result | undefined> {
    const late = new Promise<undefined>(
      (resolve) => void this.#options.clock.after(ms, () => resolve(undefined), true),
    );
    return Promise.race([awaited, late]);
  }

  #sayFigures({ channel }: Conversation): void {
    channel.sayAll(
      (more) => ({ say: "figures", more }),
      Buffer.from(JSON.stringify(this.#options.data.metrics.take())),
    );
  }

  #tell(step: UpgradeStep): void {
    this.#options.tell({ step, ms: Math.round(this.#options.clock.now() - this.#began) });
  }
}
