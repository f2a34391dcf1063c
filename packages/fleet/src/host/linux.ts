/**
 * Everything that is done with privileges, on Linux. This file is the list of it; what each does stands in a file of its own: the text of rules
 * (`rules.ts`), cuts (`cut.ts`), captures (`capture.ts`), starts (`start.ts`), and what is read of processes (`process/read.ts`). All
 * that is given comes through `inputs.ts` first.
 */
import { lstatSync } from "node:fs";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import { listeningDirectories } from "@dualmesh/base/state/listening";
import { cgroupMount } from "../process/cgroups.ts";
import type { ProcessFacts, ProcessName } from "../process/facts.ts";
import { readFacts } from "../process/read.ts";
import { openCapture, whyNoCapture } from "./capture.ts";
import { checkHost, warnOfHost } from "./check.ts";
import { cutFlows } from "./cut.ts";
import { makeDirectory, soleOwner } from "./directories.ts";
import type {
  Capture,
  CaptureOptions,
  CatchRule,
  FlowAddress,
  ForwardRule,
  Host,
  Privileged,
  Selection,
  StartOptions,
  StateDirectory,
  User,
} from "./host.ts";
import {
  readCatchRule,
  readFlows,
  readForwardRules,
  readName,
  readNetns,
  readPath,
  readProcessName,
  readSelection,
  readStart,
  readUser,
} from "./inputs.ts";
import { Namespace } from "./namespace.ts";
import { applyRules, listTables } from "./packet-filter.ts";
import { catchText, forwardText, namesOf, tableName, trackingTable, trackingText, withoutText } from "./rules.ts";
import { startProcess } from "./start.ts";
import { isSameUser, ownUser, userText } from "./users.ts";

export interface LinuxOptions {
  readonly clock?: Clock;
  /** For whom this is done, when that is not the user of this process. Nothing is started or made for others, but those in `users`. */
  readonly asker?: User;
  readonly users?: readonly User[];
  /** What `start` starts; the program that runs now when left out. */
  readonly program?: readonly [string, ...string[]];
  /** Cuts as on a kernel that cannot end a connection by itself. */
  readonly cutByReset?: boolean;
}

export function openLinux(options: LinuxOptions = {}): Privileged {
  return new Linux(options);
}

class Linux implements Privileged {
  readonly #options: LinuxOptions;
  readonly #clock: Clock;
  readonly #captures = new Set<Capture>();

  constructor(options: LinuxOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  async facts(name: ProcessName): Promise<readonly ProcessFacts[]> {
    return readFacts(readProcessName(name));
  }

  async host(netns: number): Promise<Host | undefined> {
    const namespace = new Namespace(readNetns(netns));
    if (namespace.member() === undefined) return undefined;
    const { cutByReset = false } = this.#options;
    return new LinuxHost({ namespace, clock: this.#clock, cutByReset, captures: this.#captures });
  }

  async start(options: StartOptions): Promise<number> {
    const asked = readStart(options);
    const { asker = ownUser(), users = [] } = this.#options;
    if (asked.user !== undefined) this.#allow(asked.user);
    const { execPath, execArgv, argv } = process;
    const program = this.#options.program ?? [execPath, ...execArgv, argv[1] ?? ""];
    return startProcess(asked, new Namespace(asked.netns), { asker, users, program, clock: this.#clock });
  }

  async stateDirectories(netns: number): Promise<readonly StateDirectory[]> {
    const member = new Namespace(readNetns(netns)).member();
    if (member === undefined) return [];
    const paths = await listeningDirectories(`/proc/${member}/net/unix`);
    return paths.flatMap((path) => {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      return stats === undefined ? [] : [{ path, uid: stats.uid, gid: stats.gid, isPrivate: isPrivate(path) }];
    });
  }

  async directory(path: string, user: User): Promise<void> {
    const owner = readUser(user);
    this.#allow(owner);
    makeDirectory(readPath(path), owner, this.#options.asker ?? ownUser());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#captures].map((capture) => capture.close()));
  }

  /** An asker without privileges must not become somebody else by what is started or made. */
  #allow(user: User): void {
    const { asker = ownUser(), users = [] } = this.#options;
    if (asker.uid === 0 || [asker, ...users].some((known) => isSameUser(known, user))) return;
    throw new MeshError(
      "host.not-permitted",
      `${userText(asker)} may not start processes or make directories as ${userText(user)}: run the command as root`,
    );
  }
}

function isPrivate(path: string): boolean {
  try {
    soleOwner(path);
    return true;
  } catch (error) {
    if (isMeshError(error, "host.directory-unsafe")) return false;
    throw error;
  }
}

interface HostOptions {
  readonly namespace: Namespace;
  readonly clock: Clock;
  readonly cutByReset: boolean;
  /** Those that are open, which their owner ends. */
  readonly captures: Set<Capture>;
}

class LinuxHost implements Host {
  readonly #options: HostOptions;
  readonly #namespace: Namespace;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#namespace = options.namespace;
  }

  async check(of: Selection): Promise<readonly string[]> {
    return checkHost(readSelection(of), this.#namespace);
  }

  async warnings(): Promise<readonly string[]> {
    return warnOfHost(this.#namespace);
  }

  async catch(rule: CatchRule): Promise<void> {
    const asked = readCatchRule(rule);
    const mount = cgroupMount();
    if (asked.of.kind === "cgroup" && mount === undefined) {
      throw new MeshError("host.no-cgroups", "control groups of version 2 are not mounted below /sys/fs/cgroup");
    }
    await applyRules(this.#namespace, catchText(asked, mount?.below ?? ""), `the rule ${asked.name}`);
  }

  async release(name: string): Promise<void> {
    await this.#remove(tableName("catch", readName(name)));
  }

  async caught(): Promise<readonly string[]> {
    return namesOf("catch", await listTables(this.#namespace));
  }

  async keepTracking(): Promise<void> {
    if ((await listTables(this.#namespace)).includes(trackingTable)) return;
    await applyRules(this.#namespace, trackingText(), "the table that keeps connections tracked");
  }

  async forward(name: string, rules: readonly ForwardRule[]): Promise<void> {
    const text = forwardText(readName(name), readForwardRules(rules));
    await applyRules(this.#namespace, text, `the forwarding of ${name}`);
  }

  async unforward(name: string): Promise<void> {
    await this.#remove(tableName("forward", readName(name)));
  }

  async forwarded(): Promise<readonly string[]> {
    return namesOf("forward", await listTables(this.#namespace));
  }

  async cut(flows: readonly FlowAddress[]): Promise<number> {
    const { clock, cutByReset } = this.#options;
    return cutFlows(readFlows(flows), { namespace: this.#namespace, clock, byReset: cutByReset });
  }

  async whyNoCapture(): Promise<string | undefined> {
    return whyNoCapture(this.#namespace);
  }

  async capture(options: CaptureOptions): Promise<Capture> {
    const { captures } = this.#options;
    const capture: Capture = await openCapture({ ...options, onEnd: ended }, this.#namespace, this.#options.clock);
    captures.add(capture);
    return {
      async close() {
        captures.delete(capture);
        await capture.close();
      },
    };

    function ended(why: string): void {
      captures.delete(capture);
      options.onEnd(why);
    }
  }

  #remove(table: string): Promise<void> {
    return applyRules(this.#namespace, withoutText(table), `the table ${table}`);
  }
}
