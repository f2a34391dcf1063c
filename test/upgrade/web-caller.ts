/**
 * Callers of HTTP/1.1, each on one connection that is kept alive: bodies that stream for seconds, uploads that take as long, short exchanges one after the other,
 * and connections at rest. The bytes of every body are compared.
 */
import http from "node:http";
import type net from "node:net";
import type { Random } from "@dualmesh/base/random";
import type { Client, Ledger } from "./ledger.ts";
import { markOf, TextReader, textOf } from "./marked.ts";

export type WebKind = "streamed" | "uploads" | "short" | "at rest";

export interface WebCallerOptions {
  readonly ledger: Ledger;
  readonly random: Random;
  readonly kind: WebKind;
  readonly host: string;
  readonly port: number;
  /** Of the longest bodies. */
  readonly slowMs: number;
}

const shortPauseMs = 30;
const restMs = 20_000;

export class WebCaller {
  readonly #options: WebCallerOptions;
  readonly client: Client;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1, scheduling: "fifo" });
  #socket: net.Socket | undefined;
  #isStopping = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: WebCallerOptions) {
    this.#options = options;
    const { kind, ledger } = options;
    const untimed = kind === "streamed" || kind === "uploads";
    this.client = ledger.client({ kind: `http, ${kind}`, ordered: true, untimed });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when what it has begun is over. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#options.kind === "at rest") {
      clearTimeout(this.#timer);
      await this.#exchange();
    } else await this.#running;
  }

  close(): void {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    this.#agent.destroy();
  }

  async #run(): Promise<void> {
    const { kind } = this.#options;
    if (kind === "at rest") return this.#rest();
    while (!this.#isStopping) {
      await this.#exchange();
      await new Promise<void>((resolve) => setTimeout(resolve, shortPauseMs).unref());
    }
  }

  /** A word now and then, or the keep-alive time of somebody runs out. */
  async #rest(): Promise<void> {
    await this.#exchange();
    this.#timer = setTimeout(() => void this.#rest(), restMs).unref();
  }

  #exchange(): Promise<void> {
    const { kind, random, slowMs } = this.#options;
    const isLong = kind === "streamed" || kind === "uploads";
    const overMs = isLong ? Math.floor((0.2 + random.next() * 0.8) * slowMs) : 0;
    const bytes = isLong ? Math.floor(random.next() * 200_000) : Math.floor(random.next() * 2_000);
    const sequence = this.client.sends(false, overMs);
    return kind === "uploads" ? this.#upload(sequence, bytes, overMs) : this.#get(sequence, bytes, overMs);
  }

  #get(sequence: number, answerBytes: number, delayMs: number): Promise<void> {
    const text = new TextReader(sequence);
    return this.#request("GET", { sequence, delayMs, answerBytes }, () => {}, {
      piece: (bytes) => text.read(bytes),
      fault: () =>
        text.at !== answerBytes
          ? `${text.at} bytes came of ${answerBytes}`
          : text.wrongAt === undefined
            ? undefined
            : `other bytes came from ${text.wrongAt} on`,
    });
  }

  #upload(sequence: number, bytes: number, overMs: number): Promise<void> {
    let answer = "";
    const pieces = Math.max(1, Math.round(overMs / 50));
    const send = (request: http.ClientRequest): void => {
      const piece = (index: number): void => {
        const [from, to] = [index, index + 1].map((one) => Math.floor((bytes * one) / pieces)) as [number, number];
        if (request.destroyed) return;
        request.write(textOf(sequence, from, to - from));
        if (index + 1 === pieces) request.end();
        else setTimeout(() => piece(index + 1), 50).unref();
      };
      if (sequence % 2 === 0) request.setHeader("content-length", bytes);
      piece(0);
    };
    return this.#request("POST", { sequence, delayMs: 0, answerBytes: 0 }, send, {
      piece: (piece) => {
        answer += String(piece);
      },
      fault: () => (answer.endsWith(`]] ${bytes} right`) ? undefined : `of ${bytes} bytes it read: ${answer}`),
    });
  }

  #request(
    method: "GET" | "POST",
    mark: { readonly sequence: number; readonly delayMs: number; readonly answerBytes: number },
    send: (request: http.ClientRequest) => void,
    heard: { readonly piece: (bytes: Buffer) => void; readonly fault: () => string | undefined },
  ): Promise<void> {
    const { host, port } = this.#options;
    const { client } = this;
    const path = `/${encodeURIComponent(markOf({ client: client.number, ...mark }))}`;
    return new Promise((resolve) => {
      let isOver = false;
      const over = (failed: string | undefined): void => {
        if (isOver) return;
        isOver = true;
        client.answers(mark.sequence, failed);
        resolve();
      };
      const request = http.request({ host, port, method, path, agent: this.#agent }, (response) => {
        response.on("data", heard.piece);
        response.on("error", (error) => over(error.message));
        response.on("end", () => {
          const fault = heard.fault();
          if (response.statusCode !== 200) return over(`status ${response.statusCode}`);
          if (fault !== undefined) client.wrong.push(`${mark.sequence}: ${fault}`);
          if (response.headers.connection === "close") client.wrong.push("it was told to close its connection");
          over(undefined);
        });
      });
      request.on("socket", (socket) => this.#watch(socket));
      request.on("error", (error) => over(error.message));
      if (method === "GET") request.end();
      else send(request);
    });
  }

  /** One connection is to do for all. */
  #watch(socket: net.Socket): void {
    if (this.#socket === socket) return;
    this.#socket = socket;
    socket.once("close", () => {
      if (!this.#isStopping) this.client.closes("by the sidecar", []);
    });
  }
}
