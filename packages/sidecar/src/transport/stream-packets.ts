/**
 * Packets between processes by what Node itself has, for where the system calls of native.ts are missing: a Unix socket of bytes with a length before
 * each packet. It takes no descriptors along, and does not say who is there: that only this user can be is the directory's doing.
 */
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { MeshError } from "@dualmesh/base/errors";
import { maxPacketBytes, type Packet, type Packets } from "./native.ts";

/** What the other side has not taken; beyond, a packet waits with its sender. */
const maxUnsentBytes = 1024 * 1024;
const lengthBytes = 4;

interface Stream {
  readonly socket: Socket;
  readonly packets: Buffer[];
  part: Buffer;
  ended: boolean;
}

export class StreamPackets implements Packets {
  readonly takesDescriptors = false;
  readonly #servers = new Map<number, { readonly server: Server; readonly waiting: number[] }>();
  readonly #streams = new Map<number, Stream>();
  #next = 1;

  listenAt(path: string): number {
    const waiting: number[] = [];
    const server = createServer((socket) => void waiting.push(this.#follow(socket)));
    server.listen(path);
    server.on("error", () => server.close()); // nobody will call, which its owner sees
    const id = this.#next++;
    this.#servers.set(id, { server, waiting });
    return id;
  }

  accept(listening: number): number | undefined {
    return this.#servers.get(listening)?.waiting.shift();
  }

  connectTo(path: string): number {
    return this.#follow(createConnection(path));
  }

  credentialsOf(): undefined {
    return undefined;
  }

  send(id: number, bytes: Buffer): boolean {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.ended) throw new MeshError("upgrade.gone", "the other process is gone");
    if (stream.socket.writableLength > maxUnsentBytes) return false;
    const length = Buffer.allocUnsafe(lengthBytes);
    length.writeUInt32LE(bytes.length, 0);
    stream.socket.write(length);
    stream.socket.write(bytes);
    return true;
  }

  receive(id: number): Packet | "empty" | "end" {
    const stream = this.#streams.get(id);
    const bytes = stream?.packets.shift();
    if (bytes !== undefined) return { bytes, descriptors: [] };
    return stream === undefined || stream.ended ? "end" : "empty";
  }

  duplicate(descriptor: number): number {
    return descriptor;
  }

  close(id: number): void {
    this.#servers.get(id)?.server.close();
    this.#servers.delete(id);
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.socket.end();
  }

  #follow(socket: Socket): number {
    const id = this.#next++;
    const stream: Stream = { socket, packets: [], part: Buffer.alloc(0), ended: false };
    this.#streams.set(id, stream);
    socket.on("data", (bytes: Buffer) => {
      if (!cut(stream, bytes)) socket.destroy();
    });
    socket.on("error", () => socket.destroy()); // "close" follows
    socket.on("close", () => {
      stream.ended = true;
    });
    return id;
  }
}

/** False when what came cannot be packets. */
function cut(stream: Stream, bytes: Buffer): boolean {
  let part = stream.part.length === 0 ? bytes : Buffer.concat([stream.part, bytes]);
  while (part.length >= lengthBytes) {
    const size = part.readUInt32LE(0);
    if (size > maxPacketBytes) return false;
    if (part.length < lengthBytes + size) break;
    stream.packets.push(Buffer.from(part.subarray(lengthBytes, lengthBytes + size)));
    part = part.subarray(lengthBytes + size);
  }
  stream.part = Buffer.from(part);
  return true;
}
