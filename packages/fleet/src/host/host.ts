/**
 * What needs privileges, and nothing else: rules that lead an application's new registry connections to its sidecar, the cut of those that
 * stand, and the rule of last resort that hands a published port straight to the application. `linux.ts` does it with nft and ss.
 */

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

/** All in one network namespace. Each rejects with `host.…`, whose text says which program said what and how to mend it. */
export interface Host {
  /** Why rules or cuts cannot be made here, a sentence each: a missing program, privilege or kernel feature. Changes nothing. */
  check(of: Selection): Promise<readonly string[]>;
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
}
