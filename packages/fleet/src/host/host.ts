/**
 * What needs privileges, and nothing else: rules that lead an application's new registry connections to its sidecar, the cut of those that
 * stand, the rule of last resort that hands a published port straight to the application, what another user's process has open, a look at
 * the calls that pass, and the start of processes in its network namespace. `linux.ts` does it with nft, ss, nsenter and tcpdump; `agent.ts`
 * is the process that keeps the privileges while everything else runs without, and `remote.ts` asks it.
 */
import type { ProcessFacts, ProcessName } from "../process/facts.ts";

/** Whose connections a rule catches. */
export type Selection =
  | {
      readonly kind: "cgroup" /* v2; the path below its mount, as in `/system.slice/pay.service` */;
      readonly path: string;
    }
  | { readonly kind: "uid"; readonly uid: number };

export interface HostAddress {
  /** An IP address, v4 or v6, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** New connections of the selected processes to `server` arrive at `port` of loopback. */
export interface CatchRule {
  /** Letters, digits and `-`, at most 64. */
  readonly name: string;
  readonly of: Selection;
  readonly ways: readonly { readonly server: HostAddress; readonly port: number }[];
}

/** New connections to a published address arrive at the application itself, wherever they come from. */
export interface ForwardRule {
  readonly published: HostAddress;
  readonly appPort: number;
}

/** An established connection, as its owner sees it. */
export interface FlowAddress {
  readonly local: HostAddress;
  readonly remote: HostAddress;
}

export interface CaptureOptions {
  /** TCP ports of either end, 1 to 64 of them. */
  readonly ports: readonly number[];
  /** Of each packet, headers included, 96 to 262,144; all of it when left out. What is cut off is still counted in the packet's length. */
  readonly snapBytes?: number;
  /**
   * Told the bytes of a classic pcap file, of the link type that its header names (LINUX_SLL2), as they come. While a promise that it
   * gave is open nothing more is told, and what does not fit into the kernel's buffer meanwhile is never seen.
   */
  readonly onBytes: (bytes: Buffer) => void | Promise<void>;
  /** It ended by itself; `why` is for people. */
  readonly onEnd: (why: string) => void;
}

export interface Capture {
  close(): Promise<void>;
}

/** All in one network namespace. Each rejects with `host.…`, whose text says which program said what and how to mend it. */
export interface Host {
  /** Why rules or cuts cannot be made here, a sentence each: a missing program, privilege or kernel feature. Changes nothing. */
  check(of: Selection): Promise<readonly string[]>;
  /** What does not stand against them and should be known all the same, a sentence each. */
  warnings(): Promise<readonly string[]>;
  /** Puts a rule in force in one transaction, in place of the one of that name. Established connections go on untouched. */
  catch(rule: CatchRule): Promise<void>;
  /** Takes a rule back; nothing when there is none. Connections that it led go on. */
  release(name: string): Promise<void>;
  /** The names of the rules in force. */
  caught(): Promise<readonly string[]>;
  /** Keeps connections tracked that were led by a rule after the rule is gone; stays for good. */
  keepTracking(): Promise<void>;
  forward(name: string, rules: readonly ForwardRule[]): Promise<void>;
  unforward(name: string): Promise<void>;
  forwarded(): Promise<readonly string[]>;
  /** Ends established connections at once, both ends told. Resolves to how many of them are gone. */
  cut(flows: readonly FlowAddress[]): Promise<number>;
  /** Why calls cannot be looked at here; undefined when they can. */
  whyNoCapture(): Promise<string | undefined>;
  capture(options: CaptureOptions): Promise<Capture>;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
}

export interface StartOptions {
  /** In whose network namespace it runs. */
  readonly netns: number;
  /** Undefined for the user that asks, and for a guard. */
  readonly user: User | undefined;
  /**
   * Of this product's own program, the one that runs now; no other can be started: `["sidecar", "run", …]`, or `["move", "guard", "--moves", DIR]`. The guard keeps
   * the privileges until it has started an agent of its own, and is told to come down to the owner of DIR: the user that asks or one that may be
   * asked for, in a directory that nobody else can have changed. Its parent keeps them, and has it back when it dies.
   */
  readonly words: readonly string[];
  /** Takes its output, appended; made with mode 0600 for `user`. */
  readonly log: string;
}

export interface StateDirectory extends User {
  readonly path: string;
  /** Whether nobody but root and that user can write there, or put another directory in its place. */
  readonly isPrivate: boolean;
}

/** The whole of what is done with privileges. */
export interface Privileged extends AsyncDisposable {
  /** The processes that a name means; empty when there are none. Rejects with `host.…`. */
  facts(name: ProcessName): Promise<readonly ProcessFacts[]>;
  /** The namespace with this inode number; undefined when nobody is in it any more. */
  host(netns: number): Promise<Host | undefined>;
  /** Starts a process that outlives the one who asked. Resolves to its id once it runs. */
  start(options: StartOptions): Promise<number>;
  /** The state directories of parts that listen in a namespace, with the user that owns each. */
  stateDirectories(netns: number): Promise<readonly StateDirectory[]>;
  /**
   * Makes a directory of mode 0700 for a user, and those above it; nothing when it is there and theirs. It is made with the rights of that user;
   * where these do not reach, with those of root, but only below /var/lib/dualmesh and /run/dualmesh, or where root asks and nobody else can write.
   */
  directory(path: string, user: User): Promise<void>;
}
