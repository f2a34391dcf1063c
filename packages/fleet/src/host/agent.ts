/**
 * The process that keeps the privileges: it reads one line after the other from who started it, does what the line asks if it is one of the
 * operations of `host.ts` with arguments that are what they should be, and answers. It ends when its input ends, however the
 * other side died, and what it has open ends with it. Everything that parses, decides or listens runs elsewhere, without privileges.
 */
import type { Readable, Writable } from "node:stream";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Capture, CaptureOptions, Host, Privileged, User } from "./host.ts";
import {
  readCaptureRequest,
  readCatchRule,
  readFlows,
  readForwardRules,
  readHello,
  readName,
  readNetns,
  readPath,
  readProcessName,
  readRequest,
  readSelection,
  readStart,
  readUser,
} from "./inputs.ts";
import { readLines } from "./lines.ts";
import { openLinux } from "./linux.ts";
import {
  type Answer,
  type Hello,
  maxAnswerLength,
  maxCaptures,
  maxOperations,
  maxRequestLength,
  protocolVersion,
  type Request,
} from "./messages.ts";

type Arguments = readonly unknown[];

/** Those of a machine. */
const operations: Readonly<Record<string, (privileged: Privileged, given: Arguments) => Promise<unknown>>> = {
  facts: (privileged, [name]) => privileged.facts(readProcessName(name)),
  host: async (privileged, [netns]) => (await privileged.host(readNetns(netns))) !== undefined,
  start: (privileged, [options]) => privileged.start(readStart(options)),
  stateDirectories: (privileged, [netns]) => privileged.stateDirectories(readNetns(netns)),
  directory: (privileged, [path, user]) => privileged.directory(readPath(path), readUser(user)),
};

/** Those of a network namespace. */
const hostOperations: Readonly<Record<string, (host: Host, given: Arguments) => Promise<unknown>>> = {
  check: (host, [of]) => host.check(readSelection(of)),
  warnings: (host) => host.warnings(),
  catch: (host, [rule]) => host.catch(readCatchRule(rule)),
  release: (host, [name]) => host.release(readName(name)),
  caught: (host) => host.caught(),
  keepTracking: (host) => host.keepTracking(),
  forward: (host, [name, rules]) => host.forward(readName(name), readForwardRules(rules)),
  unforward: (host, [name]) => host.unforward(readName(name)),
  forwarded: (host) => host.forwarded(),
  cut: (host, [flows]) => host.cut(readFlows(flows)),
  whyNoCapture: (host) => host.whyNoCapture(),
};

export interface AgentOptions {
  readonly input?: Readable;
  readonly output?: Writable;
  /** What does it, once it is known for whom. */
  readonly open?: (asked: { readonly asker: User; readonly users: readonly User[] }) => Privileged;
  readonly environment?: NodeJS.ProcessEnv;
  /** For the very process that a shell waits for: Ctrl-Z stops it as it does who asks, since the shell goes on only then. */
  readonly isJob?: boolean;
}

/** What a terminal sends to everybody at it. */
const terminals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Serves until its input ends. What `dualmesh move host` runs; it resolves to the exit code. */
export async function runHostAgent({
  input = process.stdin,
  output = process.stdout,
  open = openLinux,
  environment = process.env,
  isJob = false,
}: AgentOptions = {}): Promise<number> {
  // Ctrl-C reaches everybody at the terminal, and the one who asks may have to take back what is half done.
  // Who asks would be let go on alone after Ctrl-Z, and wait for an agent that is stopped.
  const ignored = isJob ? terminals : ([...terminals, "SIGTSTP"] as const);
  for (const signal of ignored) process.on(signal, ignore);
  const agent = new Agent(output, open, environment);
  try {
    return await agent.serve(input);
  } finally {
    for (const signal of ignored) process.off(signal, ignore);
  }
}

function ignore(): void {}

interface OpenCapture {
  /** Undefined until it has begun. */
  capture: Capture | undefined;
  /** Lets the next bytes come; undefined while none wait. */
  taken: (() => void) | undefined;
  closing: boolean;
}

class Agent {
  readonly #output: Writable;
  readonly #open: NonNullable<AgentOptions["open"]>;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #captures = new Map<number, OpenCapture>();
  #privileged: Privileged | undefined;
  #running = 0;

  constructor(output: Writable, open: NonNullable<AgentOptions["open"]>, environment: NodeJS.ProcessEnv) {
    this.#output = output;
    this.#open = open;
    this.#environment = environment;
    output.on("error", () => undefined); // the asker is gone; the end of the input says so as well
  }

  async serve(input: Readable): Promise<number> {
    const code = await new Promise<number>((resolve) => {
      input.once("end", () => resolve(0));
      input.once("close", () => resolve(0));
      input.once("error", () => resolve(0));
      readLines(input, {
        maxLength: maxRequestLength,
        take: (value) => this.#take(value, () => resolve(1)),
        // What comes after it cannot be told apart, so that nothing of it is done.
        broken: () => resolve(1),
      });
    });
    input.destroy();
    for (const open of this.#captures.values()) end(open);
    await this.#privileged?.[Symbol.asyncDispose]();
    return code;
  }

  #take(value: unknown, refuse: () => void): void {
    try {
      if (this.#privileged === undefined) return this.#begin(readHello(value));
      const taken = takenOf(value);
      if (taken === undefined) void this.#answer(readRequest(value));
      else proceed(this.#captures.get(taken));
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#write({ id: 0, error: { code: error.code, message: error.message, details: error.details } });
      refuse();
    }
  }

  /** Under sudo, whoever was allowed to start the agent is who asks, whatever the first line says. */
  #begin({ version, asker, users }: Hello): void {
    if (version !== protocolVersion) {
      throw new MeshError("host.malformed", `this agent speaks version ${protocolVersion}, not ${version}`);
    }
    const { SUDO_UID: uid, SUDO_GID: gid } = this.#environment;
    const sudo = uid === undefined || gid === undefined ? undefined : readUser({ uid: Number(uid), gid: Number(gid) });
    this.#privileged = this.#open(sudo === undefined ? { asker, users } : { asker: sudo, users: [] });
    this.#write({ ready: protocolVersion });
  }

  async #answer(request: Request): Promise<void> {
    const { id } = request;
    this.#running++;
    try {
      if (this.#running > maxOperations) {
        throw new MeshError("host.busy", `more than ${maxOperations} operations at once: wait for an answer`);
      }
      this.#write({ id, result: (await this.#perform(request)) ?? null });
    } catch (error) {
      const { code, details } = isMeshError(error) ? error : { code: "host.failed", details: {} };
      this.#write({ id, error: { code, message: messageOf(error), details } });
    } finally {
      this.#running--;
    }
  }

  async #perform({ id, operation, netns, arguments: given }: Request): Promise<unknown> {
    const privileged = this.#privileged as Privileged;
    if (operation === "captureClose") return this.#closeCapture(given[0]);
    if (Object.hasOwn(operations, operation)) return operations[operation]?.(privileged, given);
    const known = operation === "capture" || Object.hasOwn(hostOperations, operation);
    if (!known) throw new MeshError("host.unknown-operation", `there is no operation ${JSON.stringify(operation)}`);
    const host = await privileged.host(readNetns(netns));
    if (host === undefined) {
      throw new MeshError("host.namespace-gone", `nobody is in network namespace ${netns} any more`, { netns });
    }
    return operation === "capture" ? this.#capture(id, host, given) : hostOperations[operation]?.(host, given);
  }

  async #capture(id: number, host: Host, [asked]: Arguments): Promise<void> {
    const options = readCaptureRequest(asked);
    if (this.#captures.has(id) || this.#captures.size >= maxCaptures) {
      throw new MeshError("host.busy", `more than ${maxCaptures} captures at once: close one first`);
    }
    const open: OpenCapture = { capture: undefined, taken: undefined, closing: false };
    this.#captures.set(id, open);
    try {
      open.capture = await host.capture(this.#captureOptions(id, open, options));
    } catch (error) {
      this.#captures.delete(id);
      throw error;
    }
    if (open.closing) await open.capture.close();
  }

  /** One piece at a time is on its way: an asker that is slow holds up its own capture and nothing else. */
  #captureOptions(id: number, open: OpenCapture, asked: Omit<CaptureOptions, "onBytes" | "onEnd">): CaptureOptions {
    return {
      ...asked,
      onBytes: (bytes) => {
        if (open.closing) return;
        const taken = new Promise<void>((resolve) => {
          open.taken = resolve;
        });
        this.#write({ capture: id, bytes: bytes.toString("base64") });
        return taken;
      },
      onEnd: (why) => {
        this.#captures.delete(id);
        this.#write({ capture: id, ended: why });
      },
    };
  }

  async #closeCapture(given: unknown): Promise<void> {
    const id = typeof given === "number" ? given : -1;
    const open = this.#captures.get(id);
    if (open === undefined) return; // it has ended by itself
    this.#captures.delete(id);
    end(open);
    await open.capture?.close();
  }

  #write(answer: Answer): void {
    const line = JSON.stringify(answer);
    if (line.length <= maxAnswerLength) return void this.#output.write(`${line}\n`);
    const message = `the answer is longer than ${maxAnswerLength} characters: name a process by its id`;
    this.#write({ id: "id" in answer ? answer.id : 0, error: { code: "host.too-many", message, details: {} } });
  }
}

/** The number of the capture whose bytes were taken; undefined for a request. */
function takenOf(value: unknown): number | undefined {
  const taken = typeof value === "object" && value !== null && "taken" in value ? value.taken : undefined;
  return typeof taken === "number" ? taken : undefined;
}

function proceed(open: OpenCapture | undefined): void {
  const taken = open?.taken;
  if (open !== undefined) open.taken = undefined;
  taken?.();
}

function end(open: OpenCapture): void {
  open.closing = true;
  proceed(open);
}
