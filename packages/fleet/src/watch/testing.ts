/** Why this exists: packets as they would be captured, for the tests. Test support: no part of the product imports it. */
import type { Capture, CaptureOptions, Host } from "../host/host.ts";
import { hostBytes } from "./hosts.ts";
import { linkType } from "./pcap.ts";
import { tcpFlag } from "./segments.ts";

export interface TestEnd {
  readonly host: string;
  readonly port: number;
}

export interface TestPacket {
  readonly from: TestEnd;
  readonly to: TestEnd;
  readonly sequence: number;
  readonly flags?: number;
  readonly payload?: Buffer;
  readonly atMs: number;
  /** Bytes of the packet that were captured; all when left out. */
  readonly captured?: number;
}

export interface PcapShape {
  readonly link?: number;
  readonly isLittle?: boolean;
  readonly isNano?: boolean;
}

/** The head of a capture's file. */
export function pcapHead({ link = linkType.sll2, isLittle = true, isNano = false }: PcapShape = {}): Buffer {
  const head = Buffer.alloc(24);
  const put = (value: number, at: number): number =>
    isLittle ? head.writeUInt32LE(value, at) : head.writeUInt32BE(value, at);
  put(isNano ? 0xa1b23c4d : 0xa1b2c3d4, 0);
  put(262_144, 16);
  put(link, 20);
  return head;
}

export function pcapRecord(packet: TestPacket, shape: PcapShape = {}): Buffer {
  const { isLittle = true, isNano = false } = shape;
  const bytes = packetBytes(packet, shape.link ?? linkType.sll2);
  const captured = Math.min(packet.captured ?? bytes.length, bytes.length);
  const head = Buffer.alloc(16);
  const put = (value: number, at: number): number =>
    isLittle ? head.writeUInt32LE(value, at) : head.writeUInt32BE(value, at);
  const seconds = Math.floor(packet.atMs / 1_000);
  const micros = Math.min(999_999, Math.round((packet.atMs - seconds * 1_000) * 1_000));
  put(seconds, 0);
  put(isNano ? micros * 1_000 : micros, 4);
  put(captured, 8);
  put(bytes.length, 12);
  return Buffer.concat([head, bytes.subarray(0, captured)]);
}

export function pcapFile(packets: readonly TestPacket[], shape: PcapShape = {}): Buffer {
  return Buffer.concat([pcapHead(shape), ...packets.map((packet) => pcapRecord(packet, shape))]);
}

function packetBytes({ from, to, sequence, flags = tcpFlag.ack, payload = empty }: TestPacket, link: number): Buffer {
  const source = hostBytes(from.host) as Buffer;
  const target = hostBytes(to.host) as Buffer;
  const isV6 = source.length === 16;
  const tcp = Buffer.alloc(32); // with twelve bytes of options, as most have
  tcp.writeUInt16BE(from.port, 0);
  tcp.writeUInt16BE(to.port, 2);
  tcp.writeUInt32BE(sequence >>> 0, 4);
  tcp[12] = 0x80;
  tcp[13] = flags;
  const ip = Buffer.alloc(isV6 ? 40 : 20);
  if (isV6) {
    ip[0] = 0x60;
    ip.writeUInt16BE(tcp.length + payload.length > 65_535 ? 0 : tcp.length + payload.length, 4);
    ip[6] = 6;
    source.copy(ip, 8);
    target.copy(ip, 24);
  } else {
    const length = 20 + tcp.length + payload.length;
    ip[0] = 0x45;
    ip.writeUInt16BE(length > 65_535 ? 0 : length, 2);
    ip[9] = 6;
    source.copy(ip, 12);
    target.copy(ip, 16);
  }
  return Buffer.concat([linkHead(link, isV6 ? 0x86dd : 0x0800), ip, tcp, payload]);
}

const empty: Buffer = Buffer.alloc(0);

function linkHead(link: number, type: number): Buffer {
  const head = Buffer.alloc(link === linkType.sll2 ? 20 : link === linkType.sll ? 16 : 14);
  head.writeUInt16BE(type, link === linkType.sll2 ? 0 : head.length - 2);
  return head;
}

/** One connection, whose packets are numbered as they are made. */
export class TestConnection {
  readonly client: TestEnd;
  readonly server: TestEnd;
  #fromClient: number;
  #fromServer: number;

  constructor(client: TestEnd, server: TestEnd, sequences: readonly [number, number] = [1_000, 5_000]) {
    this.client = client;
    this.server = server;
    [this.#fromClient, this.#fromServer] = sequences;
  }

  handshake(atMs: number): readonly TestPacket[] {
    const packets = [
      this.#packet(true, tcpFlag.syn, empty, atMs),
      this.#packet(false, tcpFlag.syn | tcpFlag.ack, empty, atMs),
    ];
    this.#fromClient++;
    this.#fromServer++;
    return packets;
  }

  request(payload: Buffer, atMs: number): TestPacket {
    const packet = this.#packet(true, tcpFlag.ack, payload, atMs);
    this.#fromClient += payload.length;
    return packet;
  }

  reply(payload: Buffer, atMs: number): TestPacket {
    const packet = this.#packet(false, tcpFlag.ack, payload, atMs);
    this.#fromServer += payload.length;
    return packet;
  }

  end(fromClient: boolean, flags: number, atMs: number): TestPacket {
    return this.#packet(fromClient, flags, empty, atMs);
  }

  #packet(fromClient: boolean, flags: number, payload: Buffer, atMs: number): TestPacket {
    const [from, to] = fromClient ? [this.client, this.server] : [this.server, this.client];
    const sequence = fromClient ? this.#fromClient : this.#fromServer;
    return { from, to, sequence, flags, payload, atMs };
  }
}

/** A host that gives what the test says it captured; nothing else of it may be asked. */
export class TestCaptures {
  readonly captures: { readonly options: CaptureOptions; isClosed: boolean }[] = [];
  why: string | undefined;

  get host(): Host {
    const refused = (): never => {
      throw new Error("a watch only captures");
    };
    return {
      check: refused,
      warnings: refused,
      catch: refused,
      release: refused,
      caught: refused,
      keepTracking: refused,
      forward: refused,
      unforward: refused,
      forwarded: refused,
      cut: refused,
      whyNoCapture: async () => this.why,
      capture: async (options): Promise<Capture> => {
        const capture = { options, isClosed: false };
        this.captures.push(capture);
        options.onBytes(pcapHead());
        return {
          close: async () => {
            capture.isClosed = true;
          },
        };
      },
    };
  }

  /** Shows packets to the newest capture. */
  show(packets: readonly TestPacket[]): void {
    this.captures.at(-1)?.options.onBytes(Buffer.concat(packets.map((packet) => pcapRecord(packet))));
  }
}
