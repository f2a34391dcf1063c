/**
 * A plain TCP connection behind `Transport`. It reads into one buffer that all connections share (Node's `onread`), writes through
 * a stage (stage.ts), and knows what the kernel has not taken yet.
 */
import net from "node:net";
import { systemClock, type Timer } from "@dualmesh/base/clock";
import { isReserved } from "@dualmesh/base/descriptors";
import { descriptorOf, letGo, socketOf, stopReading, takenBytes, transplant } from "./native.ts";
import { enroll, type Flushable, returnStage, stageBytes, takeStage, widerStage } from "./stage.ts";
import type { Transport, TransportEvents } from "./transport.ts";

/** One read buffer for the process: what is read is decoded and copied before the callback returns. */
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024);

export class TcpTransport implements Transport, Flushable {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #socket: net.Socket;
  #events: TransportEvents | undefined;
  #stage: Buffer | undefined;
  #staged = 0;
  /** Stages that the socket has not written yet; free again when it has drained. */
  readonly #lent: Buffer[] = [];
  /** What was staged at the last flush: the size that the next stage should have. */
  #usual = 0;
  #enrolled = false;
  #ending = false;
  /** Nothing more is written, and what comes is read still. */
  #wroteAll = false;
  readonly #isAdopted: boolean;
  #closed = false;
  #paused = false;
  /** It is on its way to another process: nothing is read, and nothing may be written. */
  #frozen = false;
  #endDeadline: Timer | undefined;
  #reason = "closed by the peer";

  /** `socket` is connected, reads into `readBuffer` and calls `transport.received`. */
  constructor(socket: net.Socket, adopted?: { readonly wroteAll: boolean }) {
    this.#socket = socket;
    this.#isAdopted = adopted !== undefined;
    this.#wroteAll = adopted?.wroteAll ?? false;
    this.remoteAddress = plainAddress(socket.remoteAddress);
    this.remotePort = socket.remotePort ?? 0;
    this.localAddress = plainAddress(socket.localAddress);
    this.localPort = socket.localPort ?? 0;
    socket.setNoDelay(true);
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (!this.#closed) this.#reason = error.code ?? error.message;
    });
    socket.on("close", () => this.#finish());
    socket.on("end", () => {
      if (this.#events?.onPeerEnd() !== true) this.end();
    });
    socket.on("drain", () => {
      for (const stage of this.#lent.splice(0)) returnStage(stage);
      this.#events?.onDrain();
    });
  }

  open(events: TransportEvents): void {
    this.#events = events;
    if (this.#socket.destroyed) return queueMicrotask(() => this.#finish());
    // Said before by another process, and known to this socket from here on: otherwise it would not close with the end of its peer.
    if (this.#isAdopted && this.#wroteAll) this.#socket.end();
    this.#socket.resume();
  }

  /** Called by `onread` of the socket. What comes after our end interests nobody. */
  received(size: number): boolean {
    if (!this.#closed && !this.#ending) this.#events?.onBytes(readBuffer, size);
    return true;
  }

  get queuedBytes(): number {
    return this.#staged + this.#socket.writableLength;
  }

  write(bytes: Buffer, start: number, end: number): void {
    if (this.#closed || this.#ending || this.#wroteAll) return;
    const size = end - start;
    if (this.#staged + size > stageBytes) {
      this.flush();
      if (size > stageBytes) return this.#writeLarge(bytes, start, end);
    }
    const stage = this.#room(size);
    this.#stage = stage;
    bytes.copy(stage, this.#staged, start, end);
    this.#staged += size;
    if (!this.#enrolled) {
      this.#enrolled = true;
      enroll(this);
    }
  }

  /** What fits no stage goes out in several: a copy of its own for each read of a long body is more than the collector keeps up with. */
  #writeLarge(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += stageBytes) {
      const stage = takeStage(stageBytes);
      this.#hand(stage, bytes.copy(stage, 0, at, Math.min(end, at + stageBytes)));
    }
  }

  /** Gives a stage to the socket. Taken whole by the kernel it is free again, else when the socket says that it has drained. */
  #hand(stage: Buffer, size: number): void {
    const socket = this.#socket;
    const drains = !socket.write(size === stage.length ? stage : stage.subarray(0, size));
    if (socket.writableLength === 0) returnStage(stage);
    else if (drains) this.#lent.push(stage);
    // A little that waits is told of by nobody: its stage is left to the collector.
  }

  /** The stage, with room for `size` bytes more. */
  #room(size: number): Buffer {
    const stage = this.#stage;
    if (stage === undefined) return takeStage(Math.max(size, this.#usual));
    return this.#staged + size > stage.length ? widerStage(stage, this.#staged) : stage;
  }

  flush(): void {
    this.#enrolled = false;
    const stage = this.#stage;
    const size = this.#staged;
    if (stage === undefined || size === 0 || this.#closed) return;
    const socket = this.#socket;
    this.#staged = 0;
    this.#usual = size;
    if (socket.writableLength > 0 && size < stage.length / 2) {
      // The peer does not take what came before: what waits for it costs what it is, and no stage of its own.
      socket.write(Buffer.from(stage.subarray(0, size)));
      return;
    }
    this.#stage = undefined;
    this.#hand(stage, size);
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#frozen) this.#socket.resume();
  }

  endWriting(): void {
    if (this.#closed || this.#ending || this.#wroteAll) return;
    this.flush();
    this.#wroteAll = true;
    this.#socket.end();
  }

  end(): void {
    if (this.#closed || this.#ending) return;
    this.flush();
    this.#ending = true;
    if (!this.#wroteAll) this.#socket.end();
    this.#endInTime(this.#taken);
  }

  /** A peer that takes nothing, never closes its side or never stops talking does not keep the connection. One that is slow is given what it takes. */
  #endInTime(taken: number): void {
    this.#endDeadline = systemClock.after(endTimeoutMs, () => {
      if (this.queuedBytes === 0) this.destroy("did not close in time");
      else if (this.#taken > taken) this.#endInTime(this.#taken);
      else this.reset("did not take what was left for it"); // an end in order would make it take what it has for all there was
    });
  }

  /** Bytes that the kernel has taken so far. */
  get #taken(): number {
    return takenBytes(this.#socket);
  }

  destroy(reason: string): void {
    if (this.#closed) return;
    this.#reason = reason;
    this.#socket.destroy();
    this.#finish();
  }

  reset(reason: string): void {
    if (this.#closed) return;
    this.#reason = reason;
    this.#socket.resetAndDestroy();
    this.#finish();
  }

  get descriptor(): number | undefined {
    return this.#closed || this.#ending ? undefined : descriptorOf(this.#socket);
  }

  get wroteAll(): boolean {
    return this.#wroteAll;
  }

  freeze(): boolean {
    if (this.#closed || this.#ending || this.descriptor === undefined) return false;
    this.flush();
    if (this.queuedBytes > 0) return false;
    this.#frozen = true;
    stopReading(this.#socket);
    return true;
  }

  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    if (!this.#paused && !this.#closed) this.#socket.resume();
  }

  letGo(): void {
    if (this.#closed) return;
    if (!this.#frozen) throw new Error("a connection is let go of only while it is frozen");
    this.#closed = true;
    this.#endDeadline?.cancel();
    this.#events = undefined;
    letGo(this.#socket);
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endDeadline?.cancel();
    if (this.#stage !== undefined) returnStage(this.#stage);
    this.#stage = undefined;
    this.#staged = 0;
    const events = this.#events;
    this.#events = undefined;
    events?.onClose(this.#reason);
  }
}

const endTimeoutMs = 5_000;

/** The kernel asks a silent peer whether it is still there: a machine that vanished says no word, and a long answer or a tunnel waits for ever. */
export const stillThere = { keepAlive: true, keepAliveInitialDelay: 60_000 } as const;

/** IPv4 addresses that arrive on a dual-stack socket are written as IPv4. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}

/**
 * Wraps a socket that was accepted with `pauseOnConnect`: its handle gets a new socket that reads into the shared buffer. `gone` is
 * called once it has closed.
 */
export function acceptTransport(accepted: net.Socket, gone: () => void): TcpTransport {
  const onread: net.OnReadOpts = { buffer: readBuffer, callback: (size) => transport.received(size) };
  const socket = transplant(accepted, { onread, allowHalfOpen: true });
  socket.once("close", gone);
  const transport = new TcpTransport(socket);
  return transport;
}

/**
 * Wraps a connection that another process sent, as `acceptTransport` does; it is read once it is opened. With `wroteAll` that process has said
 * already that nothing more is written.
 */
export function adoptTransport(descriptor: number, wroteAll: boolean, gone: () => void): TcpTransport {
  const onread: net.OnReadOpts = { buffer: readBuffer, callback: (size) => transport.received(size) };
  const socket = socketOf(descriptor, { onread, allowHalfOpen: true });
  socket.once("close", gone);
  const transport = new TcpTransport(socket, { wroteAll });
  return transport;
}

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
}

/** Connects; calls back once, with the connection or with the reason why there is none. Returns a way to give up silently. */
export function dialTransport(
  options: DialOptions,
  done: (transport: TcpTransport | undefined, reason: string) => void,
): () => void {
  let transport: TcpTransport | undefined;
  let over = false;
  const socket = net.connect({
    host: options.host,
    port: options.port,
    noDelay: true,
    ...stillThere,
    allowHalfOpen: true,
    onread: { buffer: readBuffer, callback: (size) => transport?.received(size) ?? false },
  });
  const fail = (reason: string): void => {
    if (over) return;
    over = true;
    socket.destroy();
    done(undefined, reason);
  };
  const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? error.message);
  // The socket gets its descriptor just after this event.
  socket.on("connectionAttempt", () =>
    queueMicrotask(() => {
      if (isReserved(socket, "endpoint")) fail("no descriptor is left for endpoints");
    }),
  );
  socket.setTimeout(options.timeoutMs, () => fail("connect timeout"));
  socket.once("error", onError);
  socket.once("connect", () => {
    if (over) return;
    over = true;
    socket.setTimeout(0);
    socket.removeListener("error", onError);
    socket.pause();
    transport = new TcpTransport(socket);
    done(transport, "");
  });
  return () => {
    over = true;
    if (transport === undefined) {
      socket.once("error", () => {}); // a late refusal interests nobody
      socket.destroy();
    }
  };
}

/** Whether a port accepts: connects and closes in order. */
export function probe(host: string, port: number, timeoutMs: number): Promise<"accepted" | "refused" | "timeout"> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, allowHalfOpen: false });
    const finish = (result: "accepted" | "refused" | "timeout"): void => {
      resolve(result);
      if (result === "accepted") socket.end();
      else socket.destroy();
    };
    socket.setTimeout(timeoutMs, () => finish("timeout"));
    socket.once("error", () => finish("refused"));
    socket.once("connect", () => {
      socket.setTimeout(0);
      const end = systemClock.after(1_000, () => void socket.destroy());
      socket.once("close", () => end.cancel());
      socket.resume(); // what a greeting server sends is read and forgotten, so that our end is a FIN and no reset
      finish("accepted");
    });
  });
}
