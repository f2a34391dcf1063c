/**
 * The privileges of another process, as `host.ts` has them: each operation is a line to the agent and its answer. The agent is started while
 * this process may still do so; after that this one gives up what it has.
 */
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { ProcessFacts } from "../process/facts.ts";
import type { Capture, CaptureOptions, Host, Privileged, StateDirectory, User } from "./host.ts";
import { readLines } from "./lines.ts";
import { type Answer, type ErrorText, type Hello, maxAnswerLength, protocolVersion, type Request } from "./messages.ts";
import type { AgentProcess } from "./start-agent.ts";
import { dropPrivileges, ownUser, refuseDebugger } from "./users.ts";

/** A start of Node on a slow machine, and a sudo that looks things up. */
const readyWithinMs = 20_000;
/** An agent ends captures and itself when its input ends. */
const endsWithinMs = 5_000;

export interface OpenPrivilegedOptions {
  /** As `startAgent` has started it; nobody has asked it anything yet. */
  readonly agent: AgentProcess;
  /** Whom this process becomes for good once the agent is there; undefined to stay what it is. */
  readonly dropTo?: User;
  /** As whom processes may be started and directories be made, beside the one who asks. */
  readonly users?: readonly User[];
  readonly clock?: Clock;
}

/** Rejects with `host.no-agent` when it does not answer, and `host.not-dropped`. The agent ends with what this resolves to. */
export async function openPrivileged(options: OpenPrivilegedOptions): Promise<Privileged> {
  const { agent, dropTo, users = [], clock = systemClock } = options;
  const remote = new Remote({ input: agent.stdout, output: agent.stdin, close: () => endOf(agent, clock) });
  agent.once("error", (error) => remote.gone(error.message));
  agent.once("close", (code, signal) => remote.gone(`it ended with ${signal ?? code}`));
  if (agent.exitCode !== null || agent.signalCode !== null)
    remote.gone(`it ended with ${agent.signalCode ?? agent.exitCode}`);
  try {
    await remote.ready({ version: protocolVersion, asker: dropTo ?? ownUser(), users }, clock);
    if (dropTo !== undefined) dropPrivileges(dropTo);
    return remote;
  } catch (error) {
    await remote[Symbol.asyncDispose]();
    throw error;
  }
}

/** The agent that the parent of this process is (`serve-child.ts`), by the descriptor of its socket. It ends with what this resolves to. */
export async function joinPrivileged(fd: number, clock: Clock = systemClock): Promise<Privileged> {
  refuseDebugger(); // whoever runs code in here asks with the privileges of the agent
  const socket = new Socket({ fd });
  const remote = new Remote({ input: socket, output: socket, close: () => closed(socket, clock) });
  socket.once("error", (error) => remote.gone(error.message));
  try {
    await remote.ready({ version: protocolVersion, asker: ownUser(), users: [] }, clock);
    return remote;
  } catch (error) {
    await remote[Symbol.asyncDispose]();
    throw error;
  }
}

function closed(socket: Socket, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    const timer = clock.after(endsWithinMs, () => socket.destroy(), true);
    socket.once("close", () => {
      timer.cancel();
      resolve();
    });
  });
}

/**
 * Waits for the end of an agent whose input has ended; one that does not end is killed. Who has come down from root may not do that, and leaves one that is stopped to
 * itself: it ends as soon as it goes on.
 */
function endOf(child: AgentProcess, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = clock.after(
      endsWithinMs,
      () => {
        if (child.kill("SIGKILL")) return;
        child.stdin.destroy();
        child.stdout.destroy();
        child.unref();
        resolve();
      },
      true,
    );
    child.once("close", () => {
      timer.cancel();
      resolve();
    });
  });
}

export interface RemoteOptions {
  readonly input: Readable;
  readonly output: Writable;
  /** Resolves when the agent has ended. */
  readonly close: () => Promise<void>;
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

type CaptureEnds = Pick<CaptureOptions, "onBytes" | "onEnd">;

export class Remote implements Privileged {
  readonly #options: RemoteOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #captures = new Map<number, CaptureEnds>();
  readonly #ready = Promise.withResolvers<void>();
  #lastId = 0;
  #gone: MeshError | undefined;

  constructor(options: RemoteOptions) {
    this.#options = options;
    this.#ready.promise.catch(() => undefined); // who asks for it hears of it
    options.output.on("error", () => undefined); // the agent is gone; the end of its output says so as well
    options.input.once("end", () => this.gone("it ended"));
    readLines(options.input, {
      maxLength: maxAnswerLength,
      take: (value) => this.#take(value as Answer),
      broken: (why) => this.gone(why),
    });
  }

  /** Says for whom it asks, and waits until the agent is there. */
  async ready(hello: Hello, clock: Clock): Promise<void> {
    const timer = clock.after(readyWithinMs, () => this.gone(`it did not answer within ${readyWithinMs} ms`), true);
    this.#write(hello);
    try {
      await this.#ready.promise;
    } finally {
      timer.cancel();
    }
  }

  /** Nothing more will be answered. */
  gone(why: string): void {
    if (this.#gone !== undefined) return;
    this.#gone = new MeshError("host.no-agent", `the process that holds the privileges is not there: ${why}`);
    this.#ready.reject(this.#gone);
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    for (const { onEnd } of this.#captures.values()) onEnd(this.#gone.message);
    this.#waiting.clear();
    this.#captures.clear();
  }

  async facts(name: Parameters<Privileged["facts"]>[0]): Promise<readonly ProcessFacts[]> {
    return (await this.ask("facts", [name])) as readonly ProcessFacts[];
  }

  async host(netns: number): Promise<Host | undefined> {
    return (await this.ask("host", [netns])) === true ? new RemoteHost(this, netns) : undefined;
  }

  async start(options: Parameters<Privileged["start"]>[0]): Promise<number> {
    return (await this.ask("start", [options])) as number;
  }

  async stateDirectories(netns: number): Promise<readonly StateDirectory[]> {
    return (await this.ask("stateDirectories", [netns])) as readonly StateDirectory[];
  }

  async directory(path: string, user: User): Promise<void> {
    await this.ask("directory", [path, user]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#captures.clear(); // they end with the agent, and not by themselves
    this.#options.output.end();
    await this.#options.close();
    this.gone("it was closed");
  }

  /** One operation. Rejects with the agent's own code. */
  ask(operation: string, given: readonly unknown[], netns?: number, capture?: CaptureEnds): Promise<unknown> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    const id = ++this.#lastId;
    const request: Request = { id, operation, ...(netns === undefined ? {} : { netns }), arguments: given };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: (result) => resolve(capture === undefined ? result : id), reject });
      if (capture !== undefined) this.#captures.set(id, capture);
      this.#write(request);
    });
  }

  async closeCapture(id: number): Promise<void> {
    if (!this.#captures.delete(id) || this.#gone !== undefined) return;
    await this.ask("captureClose", [id]);
  }

  #take(answer: Answer): void {
    if ("ready" in answer) return this.#ready.resolve();
    if ("capture" in answer) return this.#takeCaptured(answer);
    const { id } = answer;
    if (id === 0 && "error" in answer) return this.gone(answer.error.message);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if ("error" in answer) {
      this.#captures.delete(id);
      waiting?.reject(errorOf(answer.error));
    } else waiting?.resolve(answer.result);
  }

  #takeCaptured(answer: Extract<Answer, { readonly capture: number }>): void {
    const id = answer.capture;
    const ends = this.#captures.get(id);
    if (ends === undefined) return; // it was closed meanwhile
    if ("ended" in answer) {
      this.#captures.delete(id);
      return ends.onEnd(answer.ended);
    }
    const taken = ends.onBytes(Buffer.from(answer.bytes, "base64"));
    if (taken === undefined) this.#write({ taken: id });
    else void taken.finally(() => this.#write({ taken: id }));
  }

  #write(value: Hello | Request | { readonly taken: number }): void {
    if (this.#gone === undefined && !this.#options.output.writableEnded) {
      this.#options.output.write(`${JSON.stringify(value)}\n`);
    }
  }
}

function errorOf({ code, message, details }: ErrorText): MeshError {
  return new MeshError(code, message, details);
}

class RemoteHost implements Host {
  readonly #remote: Remote;
  readonly #netns: number;

  constructor(remote: Remote, netns: number) {
    this.#remote = remote;
    this.#netns = netns;
  }

  async check(of: Parameters<Host["check"]>[0]): Promise<readonly string[]> {
    return (await this.#ask("check", of)) as readonly string[];
  }

  async warnings(): Promise<readonly string[]> {
    return (await this.#ask("warnings")) as readonly string[];
  }

  async catch(rule: Parameters<Host["catch"]>[0]): Promise<void> {
    await this.#ask("catch", rule);
  }

  async release(name: string): Promise<void> {
    await this.#ask("release", name);
  }

  async caught(): Promise<readonly string[]> {
    return (await this.#ask("caught")) as readonly string[];
  }

  async keepTracking(): Promise<void> {
    await this.#ask("keepTracking");
  }

  async forward(name: string, rules: Parameters<Host["forward"]>[1]): Promise<void> {
    await this.#ask("forward", name, rules);
  }

  async unforward(name: string): Promise<void> {
    await this.#ask("unforward", name);
  }

  async forwarded(): Promise<readonly string[]> {
    return (await this.#ask("forwarded")) as readonly string[];
  }

  async cut(flows: Parameters<Host["cut"]>[0]): Promise<number> {
    return (await this.#ask("cut", flows)) as number;
  }

  async whyNoCapture(): Promise<string | undefined> {
    return ((await this.#ask("whyNoCapture")) as string | null) ?? undefined;
  }

  async capture({ onBytes, onEnd, ...asked }: CaptureOptions): Promise<Capture> {
    const id = (await this.#remote.ask("capture", [asked], this.#netns, { onBytes, onEnd })) as number;
    return { close: () => this.#remote.closeCapture(id) };
  }

  #ask(operation: string, ...given: readonly unknown[]): Promise<unknown> {
    return this.#remote.ask(operation, given, this.#netns);
  }
}
