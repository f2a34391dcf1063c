/**
 * The seam between a caller's connection and its protocol. The first bytes of a connection choose its way, and from then on the connection
 * (downstream.ts) knows nothing else of the protocol. Whole frames are one way (frame-way.ts), the messages of HTTP/1.1 another
 * (http-way.ts).
 */
import type { RpcCodec } from "@dualmesh/wire/rpc";
import type { Downstream } from "./downstream.ts";

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
  /** Stops for good and gives back the bytes that whoever takes the connection over must read first. */
  detach(): Buffer;
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
