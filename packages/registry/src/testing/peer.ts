/** A raw client of the stream over TCP, polite or not, and a registry to try it on. Test support. */
import net from "node:net";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { FrameCutter } from "@dualmesh/wire/stream/channel";
import { decodeMessage } from "@dualmesh/wire/stream/decode";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { maxStreamFrameBytes } from "@dualmesh/wire/stream/limits";
import type { Hello, HelloAck, StreamMessage } from "@dualmesh/wire/stream/messages";
import { registryConfigShape } from "../config.ts";
import { type RunningRegistry, startRegistry } from "../registry.ts";

/** Nothing is on a disk here. */
export class VolatileJournal implements Journal {
  readonly #entries = new Map<string, Buffer>();

  entries(): IterableIterator<[string, Buffer]> {
    return this.#entries.entries();
  }

  get(key: string): Buffer | undefined {
    return this.#entries.get(key);
  }

  put(key: string, value: Uint8Array | string): void {
    this.#entries.set(key, Buffer.from(value as Uint8Array));
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  flushed(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

export function startTestRegistry(config: object = {}): Promise<RunningRegistry> {
  const ports = { stream: { port: 0 }, doors: { zookeeper: { port: 0 }, eureka: { port: 0 }, http: { port: 0 } } };
  return startRegistry({
    config: registryConfigShape.parse({ ...ports, ...config }),
    state: { epoch: 1, journal: () => Promise.resolve(new VolatileJournal()) },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
}

export class Peer {
  readonly socket: net.Socket;
  readonly messages: StreamMessage[] = [];
  readonly #waiting: (() => void)[] = [];
  closed = false;

  constructor(port: number) {
    this.socket = net.connect({ port, host: "127.0.0.1" });
    const cutter = new FrameCutter(maxStreamFrameBytes, (frame) => {
      const message = decodeMessage({
        ...frame,
        bytes: Buffer.from(frame.bytes.subarray(0, frame.offset + frame.size)),
      });
      if (message !== undefined) this.messages.push(message);
      return true;
    });
    this.socket.on("data", (bytes) => {
      cutter.read(bytes, 0);
      this.#wake();
    });
    this.socket.on("error", () => {}); // a reset is one of the ends that tests expect
    this.socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  send(message: StreamMessage): void {
    this.socket.write(encodeMessage(message));
  }

  async hello(changes: Partial<Hello> = {}): Promise<HelloAck> {
    this.send({ ...helloOf("node"), ...changes });
    return (await this.next("helloAck")) as HelloAck;
  }

  /** The first message of this type that was not taken yet. */
  async next<Type extends StreamMessage["type"]>(type: Type): Promise<Extract<StreamMessage, { type: Type }>> {
    for (;;) {
      const at = this.messages.findIndex((message) => message.type === type);
      if (at >= 0) return this.messages.splice(at, 1)[0] as Extract<StreamMessage, { type: Type }>;
      if (this.closed) throw new Error(`closed before ${type}`);
      await this.#change();
    }
  }

  async end(): Promise<void> {
    while (!this.closed) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

export function helloOf(nodeId: string): Hello {
  return {
    type: "hello",
    versions: [1, 1],
    kind: "sdk",
    features: 0,
    nodeId,
    agent: "test",
    credentials: Buffer.alloc(0),
    token: Buffer.alloc(0),
  };
}

export const service = "bolt/demo.Greeter:1.0:";

export function instance(appPort: number, changes: Partial<Instance> = {}): Instance {
  return sampleInstance({ service, appPort, ...changes });
}
