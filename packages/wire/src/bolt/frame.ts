/**
 * Why this exists: what stands where in a SOFABolt frame. Everything is big-endian; a response has two bytes of status where a
 * request has four of timeout; v2 adds a version byte behind the first one, a switch byte behind the codec, and a CRC at the end.
 *
 * ```
 * v1  proto type cmd(2) ver2 id(4) codec        timeout(4)|status(2) classLen(2) headerLen(2) contentLen(4) class header content
 * v2  proto ver type cmd(2) ver2 id(4) codec switch timeout(4)|status(2) classLen(2) headerLen(2) contentLen(4) class header content [crc(4)]
 * ```
 */
import { type FrameKind, frameKind, type RpcFrame } from "../rpc.ts";

export const boltType = { response: 0, request: 1, oneway: 2 } as const;
export const boltCommand = { heartbeat: 0, request: 1, response: 2 } as const;

/** Serialisations of SOFA-RPC; plain Bolt uses 1 only. */
export const boltSerialization = { hessian2: 1, protobuf: 11, json: 12 } as const;

export const boltStatus = {
  success: 0,
  error: 1,
  serverException: 2,
  unknown: 3,
  threadPoolBusy: 4,
  errorComm: 5,
  noProcessor: 6,
  timeout: 7,
  clientSendError: 8,
  codecException: 9,
  connectionClosed: 16,
  serverSerialException: 17,
  serverDeserialException: 18,
} as const;

/** The smallest head of all, a v1 response: what is asked for before the first bytes say more. */
export const minHeadBytes = 20;

/** Bit of the switch byte that promises a CRC. */
export const crcSwitch = 1;

const nothing: Buffer = Buffer.alloc(0);

export class BoltFrame implements RpcFrame {
  bytes: Buffer;
  offset: number;
  size: number;
  kind: FrameKind;
  id: number;
  idHigh: number;
  status: number;
  serialization: number;
  timeoutMs: number;
  version: number;
  /** v2 only: the version of the protocol within it (1 never has a CRC); 0 in v1. */
  revision: number;
  type: number;
  command: number;
  commandVersion: number;
  /** v2 only: the protocol switches; 0 in v1. */
  switches: number;
  /** The timeout as it stands in the frame, signed; 0 in responses. */
  timeoutField: number;
  classAt: number;
  classLength: number;
  headerAt: number;
  headerLength: number;
  contentAt: number;
  contentLength: number;
  /** Where the CRC stands, or -1 when this frame has none. */
  crcAt: number;

  constructor() {
    this.bytes = nothing;
    this.offset = 0;
    this.size = 0;
    this.kind = frameKind.event;
    this.id = 0;
    this.idHigh = 0;
    this.status = 0;
    this.serialization = 0;
    this.timeoutMs = 0;
    this.version = 1;
    this.revision = 0;
    this.type = 0;
    this.command = 0;
    this.commandVersion = 0;
    this.switches = 0;
    this.timeoutField = 0;
    this.classAt = 0;
    this.classLength = 0;
    this.headerAt = 0;
    this.headerLength = 0;
    this.contentAt = 0;
    this.contentLength = 0;
    this.crcAt = -1;
  }
}
