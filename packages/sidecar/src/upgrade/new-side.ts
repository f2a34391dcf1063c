/**
 * An upgrade as the new process goes through it (steps.ts). Until it is told to go on with the connections it ends when the old process gives up; when the
 * old process dies it goes on alone from what is on disk, at whatever step that was.
 */
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { DataSide } from "../data-side.ts";
import type { CountedFigures } from "../metrics.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Packets } from "../transport/native.ts";
import { Ports } from "../transport/ports.ts";
import { adoptTransport } from "../transport/tcp.ts";
import { Arriving } from "./arriving.ts";
import { goneText } from "./channel.ts";
import { collectGarbage } from "./collect.ts";
import { Conversation } from "./conversation.ts";
import type { Message } from "./messages.ts";
import type { Taken } from "./taken.ts";

export interface NewSideOptions {
  readonly calls: Packets;
  readonly clock: Clock;
  readonly log: Log;
  readonly path: string;
  readonly version: string;
  /** Opens the state directory and everything that stands on it, at the ports that are given. Resolves once every route is known that there was. */
  readonly takeUp: (taken: Taken) => Promise<DataSide>;
  /** Told in the moment in which this process begins to serve, before the old one hears of it. */
  readonly onServing: () => void;
  /** Told once nothing more comes from the old process. */
  readonly onAlone: () => void;
}

const greetMs = 10_000;
const takeUpMs = 60_000;
const commitMs = 60_000;
/** ECONNREFUSED. */
const refused = 111;

/** Resolves when this process serves, with or without the old one. Rejects with `upgrade.given-up` when it is not to. */
export async function takeOver(options: NewSideOptions): Promise<void> {
  await new NewSide(options).run();
}

class NewSide {
  readonly #options: NewSideOptions;
  readonly #ports: Ports;
  #arriving: Arriving | undefined;
  #data: DataSide | undefined;
  #figures: Buffer[] = [];
  /** It has said its last word in order. */
  #isDone = false;
  #hasBegun = false;
  #oldPid: number | undefined;
  /** Why nothing more comes from the old process. */
  #over: string | undefined;

  constructor(options: NewSideOptions) {
    this.#options = options;
    this.#ports = new Ports((descriptor) => options.calls.close(descriptor));
  }

  async run(): Promise<void> {
    const { calls, clock, version, takeUp } = this.#options;
    const socket = this.#connect();
    if (socket === undefined) {
      this.#alone();
      this.#options.onAlone();
      this.#data = await takeUp({ ports: this.#ports });
      return this.#beginAlone();
    }
    const uid = calls.credentialsOf(socket)?.uid;
    if (uid !== undefined && uid !== process.getuid?.())
      throw new MeshError("upgrade.stranger", `user ${uid} listens at ${this.#options.path}`);
    const talk = new Conversation({
      ...{ calls, socket, clock },
      onMessage: (message, body, descriptors) => this.#hear(message, body, descriptors),
      onEnd: (reason) => this.#left(reason),
    });
    let before: Snapshot | undefined;
    try {
      this.#oldPid = (await talk.greet(version, greetMs)).pid;
      await talk.hears("take-up", takeUpMs);
      before = JSON.parse(talk.text()) as Snapshot;
    } catch (error) {
      this.#aloneOr(error, talk);
    }
    const isAlone = (): boolean => talk.isOver && talk.isGone;
    const data = await takeUp({ ports: this.#ports, isAlone, ...(before === undefined ? {} : { before }) });
    this.#data = data;
    if (talk.isOver) {
      if (!talk.isGone) throw new MeshError("upgrade.given-up", "the old process did not wait for this one");
      return this.#beginAlone();
    }
    this.#arriving = new Arriving({
      ...this.#options,
      plane: data.plane,
      still: data.still,
      channel: talk.channel,
      collect: collectGarbage,
      adopt: (descriptor, wroteAll, from) =>
        from === "endpoint" ? adoptTransport(descriptor, wroteAll, () => {}) : data.adopt(descriptor, wroteAll, from),
    });
    talk.channel.say({ say: "ready" });
    try {
      await talk.hears("commit", commitMs);
    } catch (error) {
      this.#aloneOr(error, talk);
      this.#arriving.end(false);
      return this.#beginAlone();
    }
    this.#options.onServing();
    talk.channel.say({ say: "committed" });
    this.#arriving.commit();
    this.#begin();
    // The end may have been read in one go with the word before.
    if (this.#over !== undefined) this.#left(this.#over);
  }

  /** Throws when this process is not to go on: the old one lives and does. */
  #aloneOr(error: unknown, { channel, isOver, isGone }: Conversation): void {
    if (isMeshError(error, "upgrade.gone") && isGone) return this.#alone();
    if (!isOver) channel.close();
    throw new MeshError("upgrade.given-up", messageOf(error), {}, { cause: error });
  }

  #alone(): void {
    this.#options.log.warn({}, "the old process has died; this one goes on alone, from what is on disk");
  }

  /** Undefined when nobody listens any more where the old process did. */
  #connect(): number | undefined {
    const { calls, path } = this.#options;
    try {
      return calls.connectTo(path);
    } catch (error) {
      if (isMeshError(error, "upgrade.socket") && error.details["error"] === refused) return undefined;
      throw error;
    }
  }

  #beginAlone(): void {
    this.#options.onServing();
    this.#begin();
  }

  #begin(): void {
    this.#hasBegun = true;
    this.#ports.begin();
  }

  #hear(message: Message, body: Buffer, descriptors: readonly number[]): void {
    if (message.say === "listener") {
      const [descriptor] = descriptors;
      if (descriptor !== undefined)
        this.#ports.inherit({ host: message.host, port: message.port, asked: message.asked, descriptor });
    } else if (message.say === "figures") {
      this.#figures.push(Buffer.from(body));
      if (!message.more) this.#count();
    } else if (message.say === "end") {
      this.#isDone = true;
      this.#arriving?.end(true);
      this.#options.onAlone();
    } else this.#arriving?.hear(message, body, descriptors);
  }

  #count(): void {
    const text = Buffer.concat(this.#figures.splice(0)).toString("utf8");
    this.#data?.metrics.add(JSON.parse(text) as CountedFigures);
  }

  /** Once nothing more comes from the old process. */
  #left(reason: string): void {
    this.#over = reason;
    this.#options.onAlone();
    if (!this.#hasBegun || this.#isDone) return;
    this.#options.log.warn({ reason }, "the old process has ended before it had passed on every reply");
    // One that stands still has copies of what goes on here, whose peers would not hear of an end.
    if (reason !== goneText && this.#oldPid !== undefined) kill(this.#oldPid);
    this.#arriving?.end(false);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it is gone already
  }
}
