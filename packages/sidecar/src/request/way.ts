/**
 * The seam between a caller's connection and its protocol. The first bytes of a connection choose its way, and from then on the connection
 * (downstream.ts) knows nothing else of the protocol. Whole frames are one way (frame-way.ts), the messages of HTTP/1.1 another
 * (http-way.ts), bytes of which nothing is read a third (tcp-way.ts).
 */
import type { ReplyReason, RpcCodec } from "@dualmesh/wire/rpc";
import type { Direction } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import type { Downstream } from "./downstream.ts";
import type { Exchange, ExchangeOrigin, StreamOwner } from "./exchange.ts";
import type { Frozen, MovedState, Obstacle, Relay } from "./moving.ts";
import type { RouteTable } from "./routes.ts";

export interface Way {
  readonly protocol: string;
  /** Bytes that are kept because the frame or head that they begin is not whole. */
  readonly heldBytes: number;
  /** Bytes `[0, size)` of `bytes`: valid during the call only, and may be written to. The first call has those that were sniffed. */
  onBytes(bytes: Buffer, size: number): void;
  /** The caller has taken what it had left unread. */
  onDrain(): void;
  /** The caller sends nothing more. True when this side stays open, since an answer is still to come; its end is then the way's. */
  onEnd(): boolean;
  /** The connection is gone. */
  onClose(): void;
  /** Once a second, in place of the connection's own times, where the protocol has times of its own. */
  sweep?(nowMs: number): void;
  /** Asks the caller to send nothing new here, where the protocol can say so. */
  farewell(): void;
  /** Stands still and says what another process needs to know to go on; or why that cannot be now, and then nothing has changed. */
  freeze(): Frozen | Obstacle;
  /** Goes on after all. */
  thaw(): void;
  /** The other process has the connection. What is still said to the caller goes to `relay`. */
  surrender(relay: Relay): void;
  /** Before the first byte, on a connection that another process sent: what was known of it there, bytes to be read apart. */
  inherit(state: MovedState): void;
  /** That connection is read from now on. */
  start?(): void;
}

/** Why a request that names no service is answered in the application's place; `misdirected`: nobody is meant by where it came to. */
export type Rejection = ReplyReason | "misdirected";

/** A caller whose requests name no service: the address or published port that was called does. */
export interface AddressedCaller {
  readonly protocol: string;
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  /** The service whose own address was called; undefined at a port that is not one service's. */
  readonly service: string | undefined;
  /** The calling application; empty until its first request. */
  source: string;
  /** The caller is this sidecar itself. */
  isLoop: boolean;
  /** Why the present request is carried nowhere, whoever is meant by it. */
  readonly unfit: string | undefined;
  /** Makes the present request an exchange. */
  begin(origin: ExchangeOrigin, owner: StreamOwner): Exchange;
  /** Answers the present request, which becomes none. */
  reject(reason: Rejection, text: string): void;
}

/** A protocol that a port carries: how it is told from others, and the way of a connection that speaks it. */
export interface CarriedProtocol extends Pick<RpcCodec, "protocol" | "sniff"> {
  open(downstream: Downstream): Way;
}

/** The protocol of these first bytes; undefined when it is none of them, "more" when it cannot be told yet. */
export function recognise(
  protocols: readonly CarriedProtocol[],
  head: Uint8Array,
): CarriedProtocol | "more" | undefined {
  let more = false;
  for (const protocol of protocols) {
    const said = protocol.sniff(head);
    if (said === "yes") return protocol;
    if (said === "more") more = true;
  }
  return more ? "more" : undefined;
}
