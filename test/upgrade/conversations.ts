/**
 * Conversations of plain bytes: each side says an endless text of its own in pieces at odd moments, and reads the other's. The caller begins with the
 * number of the conversation, and ends its half first; the server says some more and ends the rest. They are held by tcp, or in a tunnel: HTTP that has
 * switched protocols, as for a WebSocket.
 */
import net from "node:net";
import type { Random } from "@dualmesh/base/random";
import { TextReader, textOf } from "./marked.ts";

interface Half {
  said: number;
  readonly heard: TextReader;
  ended: boolean;
}

type Later = (ms: number, work: () => void) => void;

const pieceMs = 25;
/** The number of the conversation, and for how many milliseconds the server goes on when the caller has ended. */
const headBytes = 8;
const lastWords = 5_000;
const lineEnd = "\r\n";
const endOfHead = "\r\n\r\n";
const switching = `Connection: Upgrade${lineEnd}Upgrade: websocket${lineEnd}Sec-WebSocket-Key: k${endOfHead}`;

/** What the server of a tunnel answers. */
export const switched: string = `HTTP/1.1 101 Switching Protocols${lineEnd}${switching}`;

function half(number: number): Half {
  return { said: 0, heard: new TextReader(number), ended: false };
}

function say(socket: net.Socket, own: Half, number: number, size: number): void {
  // A caller that nobody hears is left alone.
  if (socket.writableLength > 1 << 20) return;
  socket.write(textOf(number, own.said, size));
  own.said += size;
}

/** The serving side. */
export class Conversations {
  readonly port: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #halves = new Map<number, Half>();

  private constructor(server: net.Server) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
  }

  static async listen(later: Later): Promise<Conversations> {
    const server = net.createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const conversations = new Conversations(server);
    server.on("connection", (socket) => conversations.serve(socket, later));
    return conversations;
  }

  of(number: number): Half | undefined {
    return this.#halves.get(number);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** A connection that came in here or elsewhere; `first` was read of it already. */
  serve(socket: net.Socket, later: Later, first: Buffer = Buffer.alloc(0)): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
    let head: Buffer | undefined = Buffer.alloc(0);
    let number = 0;
    let lingerMs = 0;
    let own: Half | undefined;
    const speak = (): void => {
      if (own === undefined || socket.destroyed || own.ended) return;
      say(socket, own, number + 1, 1 + ((own.said * 7) % 900));
      later(pieceMs, speak);
    };
    const hear = (bytes: Buffer): void => {
      if (head === undefined) return own?.heard.read(bytes);
      head = Buffer.concat([head, bytes]);
      if (head.length < headBytes) return;
      number = head.readUInt32BE(0);
      lingerMs = head.readUInt32BE(4);
      own = half(number);
      this.#halves.set(number, own);
      own.heard.read(head.subarray(headBytes));
      head = undefined;
      speak();
    };
    hear(first);
    socket.on("data", hear);
    socket.on("end", () => {
      if (own === undefined) return void socket.destroy();
      const spoken = own;
      later(lingerMs, () => {
        spoken.ended = true;
        say(socket, spoken, number + 1, lastWords);
        socket.end();
      });
    });
  }
}

let numbers = 0;

/** Of two texts. */
function nextNumber(): number {
  numbers += 2;
  return numbers;
}

export interface ConversationOptions {
  readonly address: string;
  readonly port: number;
  readonly random: Random;
  readonly isTunnel?: boolean;
  /** Says no more after so long, and hears the server for so long from then on. */
  readonly half?: { readonly afterMs: number; readonly lingerMs: number };
}

export interface ConversationEnd {
  /** What must never be, and what must not be when nothing is lost. */
  readonly broken: readonly string[];
  readonly lost: readonly string[];
}

/** The calling side. */
export class Conversation {
  readonly #socket: net.Socket;
  readonly #number = nextNumber();
  readonly #own: Half = half(this.#number + 1);
  readonly #random: Random;
  readonly #ended = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;
  #closed: string | undefined;
  #hasBegun = false;
  /** It is to end as soon as it has begun. */
  #endsAtOnce = false;

  constructor({ address, port, random, isTunnel = false, half: halfClosed }: ConversationOptions) {
    this.#random = random;
    const socket = net.connect({ host: address, port, allowHalfOpen: true });
    this.#socket = socket;
    let answer: string | undefined = isTunnel ? "" : undefined;
    socket.on("data", (bytes: Buffer) => {
      if (answer === undefined) return this.#own.heard.read(bytes);
      answer += bytes.toString("latin1");
      const end = answer.indexOf(endOfHead);
      if (end < 0) return;
      if (!answer.startsWith("HTTP/1.1 101 ")) return void socket.destroy(new Error(`it was answered ${answer}`));
      this.#own.heard.read(Buffer.from(answer.slice(end + endOfHead.length), "latin1"));
      answer = undefined;
      begin();
    });
    socket.on("end", () => {
      this.#own.ended = true;
      this.#ended.resolve();
    });
    socket.on("error", (error) => {
      this.#closed ??= error.message;
    });
    socket.on("close", () => {
      this.#closed ??= this.#own.ended ? undefined : "without an end";
      clearTimeout(this.#timer);
      this.#ended.resolve();
    });
    const begin = (): void => {
      const head = Buffer.alloc(headBytes);
      head.writeUInt32BE(this.#number);
      head.writeUInt32BE(halfClosed?.lingerMs ?? 300, 4);
      socket.write(head);
      this.#hasBegun = true;
      this.#speak();
      if (this.#endsAtOnce) this.#end();
      if (halfClosed !== undefined) setTimeout(() => this.#end(), halfClosed.afterMs).unref();
    };
    if (isTunnel) socket.write(`GET / HTTP/1.1${lineEnd}Host: bytes${lineEnd}${switching}`);
    else begin();
  }

  /** Ends this side and waits for the other; in order each has heard exactly what the other said. */
  async end(server: Conversations): Promise<ConversationEnd> {
    this.#end();
    const limit = new Promise<void>((resolve) => setTimeout(resolve, 10_000).unref());
    await Promise.race([this.#ended.promise, limit]);
    this.#socket.destroy();
    const far = server.of(this.#number);
    const own = this.#own;
    const name = (text: string): string => `conversation ${this.#number}: ${text}`;
    const broken = [
      ...(own.ended || this.#closed !== undefined ? [] : ["it hangs: the server's end was not heard"]),
      ...(own.heard.wrongAt === undefined ? [] : [`the caller heard other bytes from ${own.heard.wrongAt} on`]),
      ...(far?.heard.wrongAt === undefined ? [] : [`the server heard other bytes from ${far.heard.wrongAt} on`]),
    ];
    const [said, heard] = [far?.said ?? 0, far?.heard.at ?? 0];
    const lost = [
      ...(far === undefined ? ["it never came to its server"] : []),
      ...(this.#closed === undefined ? [] : [`it broke off: ${this.#closed}`]),
      ...(own.heard.at === said ? [] : [`the server said ${said} bytes, and ${own.heard.at} were heard`]),
      ...(heard === own.said ? [] : [`the caller said ${own.said} bytes, and ${heard} were heard`]),
    ];
    return { broken: broken.map(name), lost: lost.map(name) };
  }

  #end(): void {
    this.#endsAtOnce = true;
    if (!this.#hasBegun) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#socket.writableEnded) this.#socket.end();
  }

  #speak(): void {
    this.#timer = setTimeout(() => {
      say(this.#socket, this.#own, this.#number, 1 + Math.floor(this.#random.next() ** 3 * 12_000));
      this.#speak();
    }, this.#random.next() * 60);
  }
}
