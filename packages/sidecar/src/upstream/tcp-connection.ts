/** One connection of bytes to an endpoint, for one caller's. */
import { dialTransport } from "../transport/tcp.ts";
import { dialledName, type Transport, type TransportEvents } from "../transport/transport.ts";
import type { TcpPool } from "./tcp-pool.ts";

/** The exchange on a connection. All calls are synchronous, from the event loop. */
export interface TcpCarried {
  /** The connection is there. */
  ready(): void;
  /** It could not be made. */
  unreached(reason: string): void;
  /** Valid during the call only. */
  endpointBytes(bytes: Buffer, size: number): void;
  /** Everything written has been taken by the kernel, after a time when it had not. */
  endpointDrained(): void;
  /** The endpoint sends nothing more. */
  endpointEnded(): void;
  /** The connection is gone. */
  endpointGone(reason: string): void;
}

export class TcpUpstream implements TransportEvents {
  readonly #pool: TcpPool;
  #carried: TcpCarried | undefined;
  #transport: Transport | undefined;
  #name = "";
  #giveUp: (() => void) | undefined;
  #closed = false;
  /** The endpoint said that it sends nothing more, or this side ended the connection. */
  #inOrder = false;
  #queued = 0;
  #movedMs: number;

  /** Dials, or goes on with a connection that another process had; nothing of that is read before `start`. */
  constructor(
    pool: TcpPool,
    carried: TcpCarried,
    had?: { readonly transport: Transport; readonly endpointEnded: boolean },
  ) {
    this.#pool = pool;
    this.#carried = carried;
    this.#movedMs = pool.context.clock.now();
    if (had !== undefined) {
      this.#inOrder = had.endpointEnded;
      this.#take(had.transport);
      return;
    }
    const { address: host, port } = pool.endpoint;
    const timeoutMs = pool.context.limits.connectMs;
    this.#giveUp = dialTransport({ host, port, timeoutMs }, (transport, reason) => this.#dialled(transport, reason));
  }

  write(bytes: Buffer, start: number, end: number): void {
    this.#transport?.write(bytes, start, end);
  }

  get queuedBytes(): number {
    return this.#transport?.queuedBytes ?? 0;
  }

  /** Bytes that the endpoint has not taken, after it was asked to. */
  get backlog(): number {
    const transport = this.#transport;
    if (transport === undefined) return 0;
    if (transport.queuedBytes > 0) transport.flush();
    return transport.queuedBytes;
  }

  get wroteAll(): boolean {
    return this.#transport?.wroteAll ?? false;
  }

  pause(): void {
    this.#transport?.pause();
  }

  resume(): void {
    this.#transport?.resume();
  }

  endWriting(): void {
    this.#transport?.endWriting();
  }

  /** The exchange has done with this connection, which is cut so that the endpoint sees it was no orderly end. */
  leave(reason: string): void {
    this.#carried = undefined;
    this.#inOrder = true;
    if (this.#transport !== undefined) this.#transport.reset(reason);
    else this.#fail(reason);
  }

  destroy(reason: string): void {
    this.#inOrder = true;
    if (this.#transport !== undefined) this.#transport.destroy(reason);
    else this.#fail(reason);
  }

  /** Once a second: what is left to be sent is not kept for an endpoint that takes nothing of it, when its caller is gone. */
  sweep(nowMs: number): void {
    const queued = this.queuedBytes;
    if (queued !== this.#queued || queued === 0) this.#movedMs = nowMs;
    this.#queued = queued;
    if (nowMs - this.#movedMs > this.#pool.context.limits.tcpIdleMs) this.destroy("takes nothing of what it was sent");
  }

  onBytes(bytes: Buffer, size: number): void {
    this.#carried?.endpointBytes(bytes, size);
  }

  onDrain(): void {
    this.#carried?.endpointDrained();
  }

  onPeerEnd(): boolean {
    this.#inOrder = true;
    this.#carried?.endpointEnded();
    return true;
  }

  onClose(reason: string): void {
    this.#fail(reason);
  }

  #dialled(transport: Transport | undefined, reason: string): void {
    this.#giveUp = undefined;
    if (this.#closed) return transport?.destroy("given up");
    if (transport === undefined) return this.#fail(reason);
    this.#take(transport);
    this.#pool.connected();
    transport.open(this);
    this.#carried?.ready();
  }

  #take(transport: Transport): void {
    this.#transport = transport;
    this.#name = dialledName(transport);
    this.#pool.context.dialled.add(this.#name);
  }

  /** The descriptor of a connection that stands still; undefined when it cannot now. */
  freeze(): number | undefined {
    const transport = this.#transport;
    return transport?.freeze() === true ? transport.descriptor : undefined;
  }

  thaw(): void {
    this.#transport?.thaw();
  }

  /** It is another process's now. */
  surrender(): void {
    this.#closed = true;
    this.#carried = undefined;
    this.#transport?.letGo();
    this.#transport = undefined;
    this.#pool.context.dialled.delete(this.#name);
    this.#pool.moved(this);
  }

  /** Reads, on a connection that another process had. */
  start(): void {
    this.#transport?.open(this);
  }

  #fail(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#giveUp?.();
    const carried = this.#carried;
    const connected = this.#transport !== undefined;
    this.#carried = undefined;
    this.#transport = undefined;
    this.#pool.context.dialled.delete(this.#name);
    this.#pool.gone(this, connected, this.#inOrder);
    if (connected) carried?.endpointGone(reason);
    else carried?.unreached(reason);
  }
}
