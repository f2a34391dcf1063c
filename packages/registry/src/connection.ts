/**
 * One connection of the stream at the registry: hello first, in time; then whatever the client asks. A connection whose bytes are
 * malformed gets the reason and is closed. Nothing here touches a socket.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { hostOf, type ThrottledLog } from "@dualmesh/base/throttled-log";
import { parseServiceText } from "@dualmesh/model/service";
import { FrameError } from "@dualmesh/wire/codec";
import { type Channel, type ChannelEvents, FrameCutter, type PartialBytes } from "@dualmesh/wire/stream/channel";
import type { StreamFrame } from "@dualmesh/wire/stream/codec";
import { decodeMessage } from "@dualmesh/wire/stream/decode";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import {
  frameTimeoutMs,
  helloTimeoutMs,
  maxHelloFrameBytes,
  maxStreamFrameBytes,
  silentPings,
  streamVersion,
} from "@dualmesh/wire/stream/limits";
import {
  type Deregister,
  type GoodbyeReason,
  type Hello,
  type Pong,
  type Register,
  type StreamErrorCode,
  type StreamMessage,
  type Subscribe,
  zeroRevision,
} from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstance } from "@dualmesh/wire/stream/record";
import { isPattern } from "./catalogue.ts";
import type { RegistryConfig } from "./config.ts";
import { type Instances, leaseText } from "./instance.ts";
import { type Pusher, PushQueue } from "./push.ts";
import type { OpenedSession, Session, SessionConnection, Sessions } from "./session.ts";
import type { InstanceRow, Store } from "./store.ts";

/** Answers that a client does not read are kept up to this; reading from it pauses at a quarter. */
const maxQueuedBytes = 4 * 1024 * 1024;

export interface StreamHost {
  readonly config: RegistryConfig;
  readonly store: Store;
  readonly instances: Instances;
  readonly sessions: Sessions;
  readonly pusher: Pusher;
  readonly clock: Clock;
  readonly log: Log;
  /** For what clients can cause as often as they like. */
  readonly told: ThrottledLog;
  readonly epoch: number;
  readonly registryId: Buffer;
  readonly counts: StreamCounts;
  readonly partialFrames: PartialBytes;
  /** The connection is over. */
  readonly onClosed: (connection: StreamConnection) => void;
}

/** Since the start, for the metrics page. */
export interface StreamCounts {
  accepted: number;
  refused: number;
  malformed: number;
  helloTimeouts: number;
  takeovers: number;
  resumed: number;
  slowConsumers: number;
  silent: number;
  slowFrames: number;
  resyncs: number;
}

export class StreamConnection implements ChannelEvents, SessionConnection {
  readonly #host: StreamHost;
  readonly #channel: Channel;
  readonly #cutter: FrameCutter;
  readonly #queue: PushQueue;
  #session: Session | undefined;
  #deadline: Timer | undefined;
  #pings: Timer | undefined;
  #closed = false;
  #acknowledged = false;
  #paused = false;
  /** Answers that leave together once what was read has been worked through. */
  #answers: Buffer[] = [];
  /** Keys registered on this connection, until the session says that it has reported all. */
  #registered: Set<string> | undefined = new Set();
  #patterns = 0;
  #sequence = 0;
  /** A ping waits for what must be sent before it. */
  #pingDue = false;
  #heardAt: number;
  applied: Revision = zeroRevision;

  constructor(host: StreamHost, channel: Channel) {
    this.#host = host;
    this.#channel = channel;
    this.#queue = new PushQueue(host.pusher, host.store, channel, host.clock, () => {
      if (this.#pingDue) this.#ping();
    });
    this.#cutter = new FrameCutter(maxHelloFrameBytes, (frame) => this.#onFrame(frame), host.partialFrames);
    this.#heardAt = host.clock.now();
    this.#deadline = host.clock.after(helloTimeoutMs, () => {
      host.counts.helloTimeouts++;
      this.#fail("hello-timeout", `no hello within ${helloTimeoutMs} ms`);
    });
  }

  get remote(): string {
    return this.#channel.remote;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get subscriptions(): PushQueue {
    return this.#queue;
  }

  get queuedBytes(): number {
    return this.#channel.queuedBytes;
  }

  received(bytes: Buffer): void {
    if (this.#closed) return;
    this.#heardAt = this.#host.clock.now();
    try {
      this.#cutter.read(bytes, this.#heardAt);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#host.counts.malformed++;
      this.#fail("malformed", error.message);
    }
    this.#sendAnswers();
  }

  drained(): void {
    if (this.#closed) return;
    if (this.#paused) {
      this.#paused = false;
      // What was not read is no silence of the client's.
      this.#heardAt = this.#host.clock.now();
      this.#cutter.restartFrameTime(this.#heardAt);
      this.#channel.resume();
    }
    this.#queue.drained();
  }

  closed(reason: string): void {
    if (!this.#closed) this.#host.log.debug({ remote: this.remote, reason }, "a stream connection was lost");
    this.#release();
  }

  takenOver(): void {
    this.#host.counts.takeovers++;
    this.goodbye("taken-over", "another connection continues this session");
  }

  /** Says why, and closes once it has been said. The session keeps its instances for the grace time. */
  goodbye(reason: GoodbyeReason, text: string): void {
    if (this.#closed) return;
    this.#answer({ type: "goodbye", reason, text });
    this.#sendAnswers();
    this.#end();
  }

  #onFrame(frame: StreamFrame): boolean {
    const message = decodeMessage(frame);
    if (message !== undefined) this.#onMessage(message);
    return !this.#closed;
  }

  #onMessage(message: StreamMessage): void {
    const session = this.#session;
    if (session === undefined || !this.#acknowledged) {
      if (message.type === "hello" && session === undefined) this.#onHello(message);
      else this.#fail("unexpected", `${message.type} before the hello was acknowledged`);
      return;
    }
    switch (message.type) {
      case "register":
        return this.#onRegister(session, message);
      case "deregister":
        return this.#onDeregister(session, message);
      case "reported":
        return this.#onReported(session);
      case "subscribe":
        return this.#onSubscribe(message);
      case "unsubscribe":
        return this.#onUnsubscribe(message.feed, message.name);
      case "pong":
        return this.#onPong(message);
      case "goodbye":
        return this.#onGoodbye(session);
      default:
        this.#fail("unexpected", `a client does not send ${message.type} here`);
    }
  }

  #onHello(hello: Hello): void {
    const host = this.#host;
    if (hello.versions[0] > streamVersion || hello.versions[1] < streamVersion) {
      const asked = `${hello.versions[0]} to ${hello.versions[1]}`;
      return this.#fail("version", `this registry speaks version ${streamVersion}, asked were ${asked}`);
    }
    this.#deadline?.cancel();
    this.#cutter.maxBytes = maxStreamFrameBytes;
    const opened = host.sessions.open(hello, this);
    if (opened === undefined) return this.#fail("busy", "this registry has as many sessions as it may have");
    this.#session = opened.session;
    if (opened.resumed) host.counts.resumed++;
    if (opened.durable === undefined) return this.#acknowledge(opened);
    // A disk that refuses or hangs delays the hello and does not forbid it.
    let waiting = true;
    const acknowledge = (): void => {
      if (waiting) this.#acknowledge(opened);
      waiting = false;
      slow.cancel();
    };
    const slow = host.clock.after(slowDiskMs, acknowledge);
    opened.durable.then(acknowledge, (error: unknown) => {
      host.told.warn(
        "",
        { error: messageOf(error) },
        "a session could not be written to disk and may not survive a restart",
      );
      acknowledge();
    });
  }

  #acknowledge({ session, token, resumed }: OpenedSession): void {
    const { config, sessions, registryId, epoch, clock } = this.#host;
    if (this.#closed) return;
    this.#answer({
      type: "helloAck",
      version: streamVersion,
      features: 0,
      session: session.id,
      token,
      resumed,
      settled: sessions.settled,
      registryId,
      epoch,
      limits: {
        frameBytes: maxStreamFrameBytes,
        instances: config.limits.sessionInstances,
        subscriptions: config.limits.subscriptions,
        patterns: config.limits.patterns,
        pingMs: config.pingMs,
        graceMs: config.graceMs,
      },
    });
    this.#acknowledged = true;
    this.#sendAnswers();
    this.#pings = clock.every(config.pingMs, () => this.#onPingTime());
  }

  #onRegister(session: Session, message: Register): void {
    const { request, service, record, claim, held } = message;
    if (parseServiceText(service) === undefined)
      return this.#refuse(request, "malformed", 0, `not a service: ${service}`);
    decodeInstance(service, record); // a FrameError when it is not canonical
    const outcome = this.#host.instances.register({ session: session.id, service, record, claim, held });
    if (outcome.kind === "limit") return this.#refuse(request, "limit", limitRetryMs, outcome.text);
    if (outcome.kind === "superseded") {
      const { stamp, key } = outcome.owner;
      return this.#answer({ type: "superseded", request, stamp, service, key: Buffer.from(key, "latin1") });
    }
    this.#registered?.add(leaseText(service, outcome.row.key));
    this.#answer({ type: "registered", request, stamp: outcome.row.stamp, revision: outcome.revision });
  }

  #onDeregister(session: Session, message: Deregister): void {
    const { request, service } = message;
    const key = message.key.toString("latin1");
    const allowed = this.#host.sessions.mayDeleteFor(session, message.session);
    const removed = allowed && this.#host.instances.deregister(message.session, message.incarnation, service, key);
    this.#answer({ type: "deregistered", request, removed, revision: this.#host.store.revision });
  }

  #onReported(session: Session): void {
    const registered = this.#registered;
    if (registered === undefined) return;
    this.#registered = undefined;
    this.#host.instances.keepOnly(session.id, registered);
    this.#host.sessions.reported(session);
  }

  #onSubscribe({ feed: kind, name, from }: Subscribe): void {
    const { limits } = this.#host.config;
    if (kind === "service" ? parseServiceText(name) === undefined : !isPattern(name))
      return this.#fail("malformed", `cannot subscribe to ${kind} ${name.slice(0, 80)}`);
    if (this.#queue.size >= limits.subscriptions && !this.#queue.has({ kind, name }))
      return this.#fail("limit", `a connection may watch ${limits.subscriptions} services`);
    if (kind === "catalogue" && !this.#queue.has({ kind, name }) && ++this.#patterns > limits.patterns)
      return this.#fail("limit", `a connection may watch ${limits.patterns} patterns`);
    if (this.#queue.has({ kind, name })) this.#host.counts.resyncs++;
    this.#queue.subscribe({ kind, name }, from);
  }

  #onUnsubscribe(kind: "service" | "catalogue", name: string): void {
    if (!this.#queue.has({ kind, name })) return;
    if (kind === "catalogue") this.#patterns--;
    this.#queue.unsubscribe({ kind, name });
  }

  #onPong(pong: Pong): void {
    this.applied = pong.applied;
  }

  #onGoodbye(session: Session): void {
    this.#host.sessions.end(session);
    this.#session = undefined;
    this.goodbye("orderly", "");
  }

  /** A key of this session was taken by a later register. */
  superseded(former: InstanceRow, owner: InstanceRow): void {
    const key = Buffer.from(former.key, "latin1");
    this.#answer({ type: "superseded", request: 0, stamp: owner.stamp, service: former.service, key });
    this.#sendAnswers();
  }

  /** Tells at once that nobody is missing any more, so that held answers are believed. */
  settled(): void {
    this.#ping();
  }

  #onPingTime(): void {
    const { clock, config, counts, told } = this.#host;
    const now = clock.now();
    if (this.#queue.stuck(config.slowConsumerMs)) {
      counts.slowConsumers++;
      const fields = { remote: this.remote, queued: this.queuedBytes };
      told.warn(hostOf(this.remote), fields, "a consumer does not read and is cut");
      return this.#cut("slow-consumer", `nothing was taken for ${config.slowConsumerMs} ms`);
    }
    if (now - this.#heardAt > config.pingMs * silentPings && !this.#paused) {
      counts.silent++;
      return this.#cut("silent", `nothing was heard for ${silentPings} pings`);
    }
    if (this.#cutter.unfinishedMs(now) > frameTimeoutMs && !this.#paused) {
      counts.slowFrames++;
      const fields = { remote: this.remote, held: this.#cutter.heldBytes };
      told.warn(hostOf(this.remote), fields, "a client does not end a frame and is cut");
      return this.#cut("silent", `a frame was not whole within ${frameTimeoutMs} ms`);
    }
    this.#ping();
  }

  /** A ping proves freshness, so that it is sent only when everything before it has been. Bytes on their way are a sign of life too. */
  #ping(): void {
    if (this.#closed || !this.#acknowledged) return;
    this.#pingDue = !this.#queue.upToDate;
    if (this.#pingDue) return;
    this.#pingDue = false;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#answer({
      type: "ping",
      sequence: this.#sequence,
      settled: this.#host.sessions.settled,
      revision: this.#host.store.revision,
      subscriptions: this.#queue.size,
      summary: this.#queue.summary,
    });
    this.#sendAnswers();
  }

  #refuse(request: number, code: StreamErrorCode, retryAfterMs: number, text: string): void {
    this.#answer({ type: "error", request, code, retryAfterMs, text: text.slice(0, maxErrorText) });
  }

  #fail(code: StreamErrorCode, text: string): void {
    if (this.#closed) return;
    this.#host.told.info(
      `${hostOf(this.remote)} ${code}`,
      { remote: this.remote, node: this.#session?.nodeId, code, text },
      "a stream connection is refused",
    );
    this.#refuse(0, code, 0, text);
    this.#sendAnswers();
    this.#end();
  }

  #answer(message: StreamMessage): void {
    if (this.#closed) return;
    try {
      this.#answers.push(encodeMessage(message));
    } catch (error) {
      if (!isMeshError(error, "stream.limit")) throw error;
      this.#host.told.error(
        message.type,
        { error, type: message.type },
        "an answer of the registry does not fit the stream",
      );
    }
  }

  #sendAnswers(): void {
    if (this.#answers.length === 0) return;
    const bytes = this.#answers.length === 1 ? (this.#answers[0] as Buffer) : Buffer.concat(this.#answers);
    this.#answers = [];
    this.#channel.send(bytes);
    const queued = this.#channel.queuedBytes;
    if (queued > maxQueuedBytes && !this.#closed) {
      this.#host.counts.slowConsumers++;
      this.#cut("slow-consumer", "answers are not read");
    } else if (queued > maxQueuedBytes / 4 && !this.#paused) {
      this.#paused = true;
      this.#channel.pause();
    }
  }

  /** Closes without waiting for the peer to read. */
  #cut(reason: GoodbyeReason, text: string): void {
    this.#channel.send(encodeMessage({ type: "goodbye", reason, text }));
    this.#release();
    this.#channel.destroy();
  }

  #end(): void {
    this.#release();
    this.#channel.close();
  }

  #release(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline?.cancel();
    this.#pings?.cancel();
    this.#queue.close();
    this.#cutter.close();
    if (this.#session !== undefined) this.#host.sessions.lost(this.#session, this);
    this.#host.onClosed(this);
  }
}

/** How long a hello waits for a session to be on disk. */
const slowDiskMs = 1_000;
/** When a client may try again that ran into a limit. */
const limitRetryMs = 10_000;
/** Characters, of which each takes at most three bytes: below `maxTextBytes`. */
const maxErrorText = 300;
