/**
 * All that this program takes from beneath the documented interfaces: the handle inside a socket of Node, and a handful of system calls by a
 * foreign-function library. Both are what lets a sidecar give its connections to its successor (docs/hot-upgrade.md). Handles are pinned to
 * the minor versions of Node that the tests of this file have passed on; the library has a native file of its own, which may be missing.
 * Whoever finds either unusable here ends connections in order instead.
 */
import type { AddressInfo, Server, Socket, SocketConstructorOpts } from "node:net";
import net from "node:net";
import { MeshError, messageOf } from "@dualmesh/base/errors";

// ---- handles ----

/** The part of Node's internal socket that is used here. */
interface SocketHandle {
  readonly fd: number;
  /** Bytes given to libuv, and those of them that the kernel has not taken: unlike `writableLength` they move while a write is under way. */
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
  readStop(): void;
  close(): void;
}

type WithHandle<Owner> = Owner & { _handle: SocketHandle | null };

/** Of Node, by the tests beside this file. */
const provenMinors: readonly string[] = ["24.21"];

function handleOf(socket: Socket): SocketHandle | null {
  return (socket as WithHandle<Socket>)._handle;
}

/** Bytes that the kernel has taken so far; 0 when the connection is closed. */
export function takenBytes(socket: Socket): number {
  const handle = handleOf(socket);
  return handle === null ? 0 : handle.bytesWritten - handle.writeQueueSize;
}

/** Of an open connection or a listening port; its owner keeps it. Undefined when it is closed. */
export function descriptorOf(owner: Socket | Server): number | undefined {
  const fd = (owner as WithHandle<Socket>)._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

/** Moves the connection of `accepted` to a socket with these options, which takes it over as it is. */
export function transplant(accepted: Socket, options: SocketConstructorOpts): Socket {
  const handle = handleOf(accepted);
  (accepted as WithHandle<Socket>)._handle = null;
  accepted.destroy(); // closes nothing, but the server has done with it
  // An option of the constructor that the type declarations leave out.
  return new net.Socket({ ...options, handle } as unknown as SocketConstructorOpts);
}

/** A socket of a descriptor that another process sent, which reads nothing before it is resumed. The descriptor is the socket's from here on. */
export function socketOf(descriptor: number, options: SocketConstructorOpts): Socket {
  return new net.Socket({ ...options, fd: descriptor, pauseOnCreate: true } as unknown as SocketConstructorOpts);
}

/** Reads nothing more, from this moment on. */
export function stopReading(socket: Socket): void {
  socket.pause();
  handleOf(socket)?.readStop();
}

/** Lets go of a connection that another process has as well: nothing is sent, the peer sees nothing. */
export function letGo(socket: Socket): void {
  const handle = handleOf(socket);
  (socket as WithHandle<Socket>)._handle = null;
  handle?.close();
  socket.destroy();
}

/** The address and port of a listening descriptor that became a server. */
export function addressOf(server: Server): { readonly host: string; readonly port: number } {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

// ---- system calls ----

/** Who is at the other end of a Unix socket, as the kernel says. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
}

export interface Packet {
  /** Valid until the next call of `receive`. */
  readonly bytes: Buffer;
  /** Now the receiver's, to use or to close. */
  readonly descriptors: readonly number[];
}

/** Packets between processes of one machine. None of the calls blocks. */
export interface Packets {
  /** Whether descriptors go along; where they do not, connections stay where they are. */
  readonly takesDescriptors: boolean;
  /** Listens at a path that does not exist yet. Throws `upgrade.socket`. */
  listenAt(path: string): number;
  /** Undefined while nobody has called. */
  accept(listening: number): number | undefined;
  /** Throws `upgrade.socket`. */
  connectTo(path: string): number;
  /** Undefined where nobody says. */
  credentialsOf(socket: number): Credentials | undefined;
  /** False when the other end has to take something first. Throws `upgrade.gone` when there is none any more. */
  send(socket: number, bytes: Buffer, descriptors: readonly number[]): boolean;
  /** `empty` when nothing has come yet, `end` when nothing will. */
  receive(socket: number): Packet | "empty" | "end";
  /** A second descriptor of the same thing. */
  duplicate(descriptor: number): number;
  close(descriptor: number): void;
}

/** The same by sockets of packets (unix(7), SOCK_SEQPACKET). */
export interface SystemCalls extends Packets {
  readonly takesDescriptors: true;
  credentialsOf(socket: number): Credentials;
  /** One datagram to a socket at a path, or at a name without one (`@name`), as systemd listens. Throws `upgrade.socket`. */
  tell(path: string, text: string): void;
}

/** What one packet may hold: the kernel's default of a socket's memory is 208 KiB. */
export const maxPacketBytes = 96 * 1024;
/** Descriptors in one packet; the kernel takes 253. */
export const maxPacketDescriptors = 128;

type Call = (...words: readonly unknown[]) => number | bigint;
interface Library {
  readonly errno: () => number;
  readonly address: (bytes: Buffer) => bigint;
  readonly call: (declaration: string) => Call;
}

/** Why hot upgrades do not work here, for people; undefined when they do. `platform` is as in `process`. */
export function whyNoHandles({
  platform,
  arch,
  version,
}: Pick<NodeJS.Process, "platform" | "arch" | "version">): string | undefined {
  if (platform !== "linux" || !["x64", "arm64"].includes(arch))
    return `connections are moved on Linux (x64, arm64) only, and this is ${platform} ${arch}`;
  const minor = /^v(\d+\.\d+)\./.exec(version)?.[1] ?? "";
  if (!provenMinors.includes(minor))
    return `connections are moved by Node ${provenMinors.join(", ")} only, and this is ${version}`;
  return undefined;
}

/** Loads the library. Rejects with `upgrade.unavailable`, which says why connections cannot be moved here. */
export async function openSystemCalls(
  host: Pick<NodeJS.Process, "platform" | "arch" | "version"> = process,
): Promise<SystemCalls> {
  const why = whyNoHandles(host);
  if (why !== undefined) throw new MeshError("upgrade.unavailable", why);
  try {
    const { default: koffi } = await import("koffi");
    const libc = koffi.load(null);
    return new LinuxCalls({
      errno: () => koffi.errno(),
      address: (bytes) => BigInt(koffi.address(bytes)),
      call: (declaration) => libc.func(declaration) as Call,
    });
  } catch (error) {
    throw new MeshError(
      "upgrade.unavailable",
      `koffi, which moves connections, cannot be loaded: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
}

const unixFamily = 1;
const datagrams = 2;
const packets = 5;
const nonBlocking = 0o4000;
const closeOnExec = 0o2000000;
const socketLevel = 1;
const rights = 1;
const peerCredentials = 17;
const duplicateCloseOnExec = 1030;
const again = 11;
const brokenPipe = 32;
const reset = 104;
const dontWait = 0x40;
const noSignal = 0x4000;
const receivedCloseOnExec = 0x40000000;
const truncated = 0x20;
const controlTruncated = 0x08;
/** `struct cmsghdr` without what follows it. */
const controlHead = 16;
const messageHead = 56;

class LinuxCalls implements SystemCalls {
  readonly takesDescriptors = true;
  readonly #library: Library;
  readonly #socket: Call;
  readonly #sendTo: Call;
  readonly #bind: Call;
  readonly #listen: Call;
  readonly #accept: Call;
  readonly #connect: Call;
  readonly #send: Call;
  readonly #receive: Call;
  readonly #option: Call;
  readonly #control: Call;
  readonly #close: Call;
  /** `struct msghdr`, its one `struct iovec`, and the ancillary data: laid out once, since both hold addresses of what does not move. */
  readonly #head = Buffer.allocUnsafeSlow(messageHead).fill(0);
  readonly #vector = Buffer.allocUnsafeSlow(16);
  readonly #ancillary = Buffer.allocUnsafeSlow(controlHead + 4 * 253);
  readonly #incoming = Buffer.allocUnsafeSlow(maxPacketBytes);

  constructor(library: Library) {
    this.#library = library;
    const { call } = library;
    this.#socket = call("int socket(int, int, int)");
    this.#sendTo = call("intptr_t sendto(int, void *, size_t, int, void *, uint32_t)");
    this.#bind = call("int bind(int, void *, uint32_t)");
    this.#listen = call("int listen(int, int)");
    this.#accept = call("int accept4(int, void *, void *, int)");
    this.#connect = call("int connect(int, void *, uint32_t)");
    this.#send = call("intptr_t sendmsg(int, void *, int)");
    this.#receive = call("intptr_t recvmsg(int, void *, int)");
    this.#option = call("int getsockopt(int, int, int, void *, void *)");
    this.#control = call("int fcntl(int, int, int)");
    this.#close = call("int close(int)");
    this.#head.writeBigUInt64LE(library.address(this.#vector), 16);
    this.#head.writeBigUInt64LE(1n, 24);
  }

  listenAt(path: string): number {
    const socket = this.#open();
    const address = addressBytes(path);
    if (this.#bind(socket, address, address.length) !== 0 || this.#listen(socket, 1) !== 0)
      throw this.#failed(`listen at ${path}`, socket);
    return socket;
  }

  accept(listening: number): number | undefined {
    const socket = Number(this.#accept(listening, null, null, nonBlocking | closeOnExec));
    if (socket >= 0) return socket;
    if (this.#library.errno() === again) return undefined;
    throw this.#failed("accept a connection");
  }

  connectTo(path: string): number {
    const socket = this.#open();
    const address = addressBytes(path);
    if (this.#connect(socket, address, address.length) !== 0) throw this.#failed(`connect to ${path}`, socket);
    return socket;
  }

  credentialsOf(socket: number): Credentials {
    const found = Buffer.alloc(12);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(found.length);
    if (this.#option(socket, socketLevel, peerCredentials, found, size) !== 0) throw this.#failed("ask who is there");
    return { pid: found.readInt32LE(0), uid: found.readUInt32LE(4) };
  }

  send(socket: number, bytes: Buffer, descriptors: readonly number[]): boolean {
    const ancillary = this.#ancillary;
    const size = controlHead + 4 * descriptors.length;
    if (descriptors.length > 0) {
      ancillary.writeBigUInt64LE(BigInt(size), 0);
      ancillary.writeInt32LE(socketLevel, 8);
      ancillary.writeInt32LE(rights, 12);
      for (const [index, descriptor] of descriptors.entries())
        ancillary.writeInt32LE(descriptor, controlHead + 4 * index);
    }
    this.#point(bytes, descriptors.length > 0 ? size : 0);
    if (Number(this.#send(socket, this.#head, dontWait | noSignal)) >= 0) return true;
    const error = this.#library.errno();
    if (error === again) return false;
    if (error === brokenPipe || error === reset) throw new MeshError("upgrade.gone", "the other process is gone");
    throw this.#failed("send");
  }

  receive(socket: number): Packet | "empty" | "end" {
    this.#point(this.#incoming, this.#ancillary.length);
    const size = Number(this.#receive(socket, this.#head, dontWait | receivedCloseOnExec));
    if (size < 0) {
      const error = this.#library.errno();
      if (error === again) return "empty";
      if (error === reset) return "end";
      throw this.#failed("receive");
    }
    const descriptors = this.#descriptors();
    if ((this.#head.readInt32LE(48) & (truncated | controlTruncated)) !== 0) {
      for (const descriptor of descriptors) this.close(descriptor);
      throw new MeshError(
        "upgrade.socket",
        "a packet was too long, or brought more descriptors than this process may open",
      );
    }
    return size === 0 && descriptors.length === 0 ? "end" : { bytes: this.#incoming.subarray(0, size), descriptors };
  }

  tell(path: string, text: string): void {
    const socket = this.#open(datagrams);
    const bytes = Buffer.from(text);
    const address = path.startsWith("@") ? addressBytes(`\0${path.slice(1)}`, 0) : addressBytes(path);
    const sent = Number(this.#sendTo(socket, bytes, bytes.length, dontWait | noSignal, address, address.length));
    if (sent < 0) throw this.#failed(`tell ${path} anything`, socket);
    this.close(socket);
  }

  duplicate(descriptor: number): number {
    const copy = Number(this.#control(descriptor, duplicateCloseOnExec, 0));
    if (copy < 0) throw this.#failed("duplicate a descriptor");
    return copy;
  }

  close(descriptor: number): void {
    this.#close(descriptor);
  }

  #open(kind: number = packets): number {
    const socket = Number(this.#socket(unixFamily, kind | nonBlocking | closeOnExec, 0));
    if (socket < 0) throw this.#failed("make a socket");
    return socket;
  }

  /** Where the kernel finds the bytes, and room for what goes beside them. */
  #point(bytes: Buffer, ancillary: number): void {
    const head = this.#head;
    this.#vector.writeBigUInt64LE(this.#library.address(bytes), 0);
    this.#vector.writeBigUInt64LE(BigInt(bytes.length), 8);
    head.writeBigUInt64LE(ancillary === 0 ? 0n : this.#library.address(this.#ancillary), 32);
    head.writeBigUInt64LE(BigInt(ancillary), 40);
    head.writeInt32LE(0, 48);
  }

  #descriptors(): readonly number[] {
    const ancillary = this.#ancillary;
    if (Number(this.#head.readBigUInt64LE(40)) < controlHead) return [];
    const size = Number(ancillary.readBigUInt64LE(0));
    if (ancillary.readInt32LE(8) !== socketLevel || ancillary.readInt32LE(12) !== rights) return [];
    return Array.from({ length: (size - controlHead) >> 2 }, (_, index) =>
      ancillary.readInt32LE(controlHead + 4 * index),
    );
  }

  #failed(what: string, socket?: number): MeshError {
    const error = this.#library.errno();
    if (socket !== undefined) this.close(socket);
    return new MeshError("upgrade.socket", `cannot ${what}: error ${error}`, { error });
  }
}

/** `struct sockaddr_un`; a path ends with a zero, a name without one does not. */
function addressBytes(path: string, end: 0 | 1 = 1): Buffer {
  const text = Buffer.from(path);
  if (text.length > 107) throw new MeshError("upgrade.socket", `the path ${path} is too long for a socket`);
  const bytes = Buffer.alloc(2 + end + text.length);
  bytes.writeUInt16LE(unixFamily, 0);
  text.copy(bytes, 2);
  return bytes;
}
