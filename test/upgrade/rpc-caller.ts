/**
 * Callers of Bolt and Dubbo, each on one connection: with many calls in flight, with one (whose order is watched), with frames that stop in the midst for a
 * while, or with next to no calls at all.
 */
import net from "node:net";
import type { Random } from "@dualmesh/base/random";
import { boltRequest, Peer, type Received } from "@dualmesh/sidecar/request/testing";
import { hessianText } from "@dualmesh/wire/hessian/arbitrary";
import { frameKind } from "@dualmesh/wire/rpc";
import { dubboRequest } from "../hostile/dubbo.ts";
import type { Client, Ledger } from "./ledger.ts";
import { markOf, readMark } from "./marked.ts";

export const rpcName = "upgrade.Echo";

export type RpcKind = "multiplexed" | "one in flight" | "mid-frame" | "idle" | "silent";

export interface RpcCallerOptions {
  readonly ledger: Ledger;
  readonly random: Random;
  readonly protocol: "bolt" | "dubbo";
  readonly kind: RpcKind;
  readonly host: string;
  readonly port: number;
  /** Of the longest answers. */
  readonly slowMs: number;
}

const tickMs = 25;
const mostInFlight = 8;
const reconnectMs = 50;
const callTimeoutMs = 20_000;

export class RpcCaller {
  readonly #options: RpcCallerOptions;
  readonly client: Client;
  readonly #waiting = new Map<number, number>();
  #peer: Peer | undefined;
  #id = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopping = false;
  #isCut = false;

  constructor(options: RpcCallerOptions) {
    this.#options = options;
    const { ledger, kind, protocol } = options;
    const name = `${protocol}, ${kind}`;
    this.client = ledger.client({ kind: name, ordered: kind === "one in flight", untimed: kind === "mid-frame" });
  }

  async start(): Promise<void> {
    await this.#connect();
    const { kind } = this.#options;
    if (kind === "silent") return;
    this.#call();
    if (kind !== "idle" && kind !== "one in flight") this.#tick();
  }

  /** A frame is half sent. */
  get isMidFrame(): boolean {
    return this.#isCut;
  }

  /** Sends nothing new, but for those that said nothing so far. Whatever is half sent is sent to its end. */
  stop(): void {
    this.#isStopping = true;
    const { kind } = this.#options;
    if (kind === "idle" || kind === "silent") this.#call();
  }

  /** Nothing of it is left. */
  close(): void {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    const peer = this.#peer;
    this.#peer = undefined;
    peer?.socket.destroy();
  }

  async #connect(): Promise<void> {
    const { host, port, protocol } = this.#options;
    const socket = net.connect({ host, port, noDelay: true });
    const peer = new Peer(socket, protocol, (_, frame) => this.#hear(peer, frame));
    await new Promise<void>((resolve) => {
      socket.once("connect", () => {
        this.#peer = peer;
        resolve();
      });
      socket.once("close", () => {
        resolve();
        this.#closed(peer);
      });
    });
  }

  #closed(peer: Peer): void {
    if (this.#peer === peer) {
      this.#peer = undefined;
      this.client.closes("by the sidecar", this.#waiting.values());
      this.#waiting.clear();
      this.#isCut = false;
    }
    if (this.#isStopping) return;
    setTimeout(() => void this.#connect().then(() => this.#goOn()), reconnectMs).unref();
  }

  /** The one call that is always under way is begun again. */
  #goOn(): void {
    if (this.#options.kind === "one in flight" && this.#waiting.size === 0) this.#call();
  }

  #tick(): void {
    this.#timer = setTimeout(
      () => {
        if (this.#isStopping) return;
        if (!this.#isCut && this.#waiting.size < mostInFlight) this.#call();
        this.#tick();
      },
      tickMs * this.#options.random.next() * 2,
    );
  }

  #call(): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    const { random, kind, protocol, slowMs } = this.#options;
    const chance = random.next();
    const oneway = kind !== "one in flight" && chance < 0.15;
    const isSlow = !oneway && kind === "multiplexed" && chance > 0.94;
    const delayMs = oneway ? 0 : Math.floor(random.next() * (isSlow ? slowMs : 30));
    const answerBytes = random.next() > 0.98 ? 150_000 : Math.floor(random.next() * 1_000);
    const sequence = this.client.sends(oneway, delayMs);
    const id = ++this.#id;
    if (!oneway) this.#waiting.set(id, sequence);
    const text = markOf({ client: this.client.number, sequence, delayMs, answerBytes });
    const more = "-".repeat(Math.floor(random.next() ** 4 * 20_000));
    const frame = protocol === "bolt" ? boltCall(id, oneway, text + more) : dubboCall(id, oneway, text + more);
    if (kind !== "mid-frame" || random.next() < 0.5) peer.send(frame);
    else this.#sendCut(peer, frame);
  }

  /** Stops in the midst of the frame for a while. */
  #sendCut(peer: Peer, frame: Buffer): void {
    const { random } = this.#options;
    const at = Math.floor(random.next() ** 2 * frame.length);
    peer.send(frame.subarray(0, at));
    this.#isCut = true;
    setTimeout(() => {
      if (this.#peer !== peer) return;
      this.#isCut = false;
      peer.send(frame.subarray(at));
    }, random.next() * 1_500).unref();
  }

  #hear(peer: Peer, frame: Received): void {
    peer.frames.length = 0;
    if (frame.kind !== frameKind.response) {
      if (frame.kind !== frameKind.heartbeatReply) this.client.wrong.push(`a frame of kind ${frame.kind} came`);
      return;
    }
    const sequence = this.#waiting.get(frame.id);
    if (sequence === undefined) return void this.client.wrong.push(`an answer with id ${frame.id}, which nobody sent`);
    this.#waiting.delete(frame.id);
    this.client.answers(sequence, this.#fault(frame, sequence));
    if (this.#options.kind !== "one in flight" || this.#isStopping) return;
    setTimeout(() => this.#isStopping || this.#waiting.size > 0 || this.#call(), 5).unref();
  }

  #fault({ bytes, status }: Received, sequence: number): string | undefined {
    const good = this.#options.protocol === "bolt" ? 0 : 20;
    const text = bytes.toString("latin1");
    if (status !== good) return `status ${status}: ${text.replaceAll(/[^ -~]/g, "").slice(-200)}`;
    const mark = readMark(text);
    if (mark?.client !== this.client.number || mark.sequence !== sequence) {
      this.client.wrong.push(`${sequence} was answered with what belongs to ${mark?.client}, ${mark?.sequence}`);
      return "it is somebody else's answer";
    }
    const size = /\]\](=*)/.exec(text)?.[1]?.length;
    const isWhole = this.#options.protocol === "dubbo" ? (size ?? 0) <= mark.answerBytes : size === mark.answerBytes;
    if (!isWhole) this.client.wrong.push(`${sequence} was answered with ${size} bytes of ${mark.answerBytes}`);
    return undefined;
  }
}

function boltCall(id: number, oneway: boolean, text: string): Buffer {
  return boltRequest({ id, oneway, timeoutMs: callTimeoutMs, service: `${rpcName}:1.0`, body: Buffer.from(text) });
}

function dubboCall(id: number, oneway: boolean, text: string): Buffer {
  return dubboRequest({ id, oneway, path: rpcName, args: [hessianText(text)] });
}
