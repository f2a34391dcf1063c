/**
 * The names below one node, kept equal to what the servers have: by a recursive watch, which tells each change, where they know it, else by
 * a watch that is set anew with each reading. After a reconnect only what has changed meanwhile is read again.
 */
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import { eventType, type Stat } from "@dualmesh/wire/jute/reply";
import type { ZooKeeperClient } from "./client.ts";
import { isSessionOver, isUndecided } from "./failure.ts";

export interface ChildListOptions {
  readonly client: ZooKeeperClient;
  readonly told: ThrottledLog;
  readonly path: string;
  /** Whether what lies below is watched as one; false for lists above others, whose changes would be told too. */
  readonly recursive: boolean;
  /** The names as they are now; also when nothing is new. `read` says that they were read, and not only told. */
  readonly onNames: (names: ReadonlySet<string>, read: boolean) => void;
}

/**
 * Whether the servers of this connection know recursive watches. Those before 3.6 close upon one, and some of them without having said why: so
 * a connection that ends meanwhile is a sign of that too.
 */
export interface ServerAge {
  recursive: boolean;
  /** They have taken one in this session. */
  accepted: boolean;
  /** This connection ended while it was asked for one. */
  ended: boolean;
  /** So did as many before it, one after the other. */
  readonly lost: number;
}

/** Changes that come during one reading; at more it is read again. */
const maxChanges = 10_000;

export class ChildList {
  readonly path: string;
  readonly #options: ChildListOptions;
  #age: ServerAge = { recursive: false, accepted: false, ended: false, lost: 0 };
  #names: Set<string> = new Set();
  /** What a reading said of the node, its `cversion` counted on with each change; undefined when there is none. */
  #stat: Pick<Stat, "czxid" | "cversion"> | undefined;
  /** The connection that readings belong to; undefined while there is none. */
  #connection: object | undefined;
  /** What was told since the reading under way began. */
  #changes: (readonly [name: string, present: boolean])[] | undefined;
  #again = false;
  #armed = false;
  /** Never read, or not found to be right on the last connection: what was told there may be lost. */
  #isStale = true;
  /** Read, or found unchanged, on this connection. */
  answered = false;
  readonly counts = { reads: 0, repairs: 0 };

  constructor(options: ChildListOptions) {
    this.#options = options;
    this.path = options.path;
  }

  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** What the one-shot watch of this list is on: its children, or its coming to be. */
  get isMissing(): boolean {
    return this.#stat === undefined;
  }

  get isRecursive(): boolean {
    return this.#options.recursive && this.#age.recursive;
  }

  /** Begins on a connection of which nothing is known. */
  begin(age: ServerAge): void {
    this.#age = age;
    this.#connection = {};
    this.answered = false;
    this.#armed = false;
    this.#changes = undefined;
    this.#run();
  }

  /** Goes on, on a connection on which the watch has been set again, if what was missed is told (one-shot) or found out (recursive). */
  resume(age: ServerAge): void {
    this.#age = age;
    this.#connection = {};
    this.answered = false;
    this.#armed = true;
    this.#changes = undefined;
    if (this.#isStale) this.#run();
    else if (this.isRecursive) this.audit();
  }

  /** Every change that a one-shot watch missed has been told by now. */
  toldAll(): void {
    if (this.#connection === undefined || this.#changes !== undefined || this.isRecursive) return;
    this.#answer();
  }

  down(): void {
    if (this.#changes !== undefined || !this.answered) this.#isStale = true;
    this.#connection = undefined;
    this.#changes = undefined;
    this.answered = false;
  }

  /** Reads again, from a server that has caught up with all others. */
  confirm(): void {
    const { client, path } = this.#options;
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#guard(connection, async () => {
      await client.sync(path);
      if (this.#connection === connection) this.#run();
    });
  }

  /** Compares how often the node has changed with how often that was told, and reads again when it differs. */
  audit(): void {
    const { client, path } = this.#options;
    const connection = this.#connection;
    if (connection === undefined || this.#changes !== undefined) return;
    const changes = this.#collect();
    this.#guard(connection, async () => {
      const stat = await client.exists(path);
      if (this.#connection !== connection || this.#changes !== changes) return;
      this.#changes = undefined;
      this.#apply(changes);
      // What was told during the question may be part of the answer or not.
      const isSame = stat?.czxid === this.#stat?.czxid && stat?.cversion === this.#stat?.cversion;
      if (isSame && !this.#again && !this.#isStale) return this.#answer();
      if (this.answered && changes.length === 0) this.counts.repairs++;
      this.#run();
    });
  }

  /** A watch fired at this node (one-shot) or at or below it (recursive). */
  event(type: number, path: string): void {
    if (this.#connection === undefined) return;
    if (!this.isRecursive) {
      if (this.#changes === undefined) this.#run();
      else this.#again = true;
      return;
    }
    if (type !== eventType.created && type !== eventType.deleted) return;
    if (path === this.path) {
      // The node itself came or went, with all that was below it; rare enough to read again.
      if (this.#changes === undefined) this.#run();
      else this.#again = true;
      return;
    }
    const name = path.slice(this.path.length + 1);
    if (name.includes("/")) return;
    const change = [name, type === eventType.created] as const;
    if (this.#changes === undefined) {
      this.#apply([change]);
      this.#options.onNames(this.#names, false);
    } else if (this.#changes.length < maxChanges) this.#changes.push(change);
    else this.#again = true;
  }

  #run(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const changes = this.#collect();
    this.counts.reads++;
    this.#guard(connection, () => this.#read(connection, changes));
  }

  #collect(): (readonly [string, boolean])[] {
    this.#changes = [];
    this.#again = false;
    return this.#changes;
  }

  async #read(connection: object, changes: readonly (readonly [string, boolean])[]): Promise<void> {
    const { client, path } = this.#options;
    const recursive = this.isRecursive;
    const isCurrent = (): boolean => this.#connection === connection && this.#changes === changes;
    const arming = recursive && !this.#armed ? this.#arm() : undefined;
    const reading = client.children(path, !recursive);
    const [armed, read] = await Promise.allSettled([arming, reading]);
    if (!isCurrent()) return;
    if (armed.status === "rejected") throw armed.reason;
    if (recursive && !this.isRecursive) return this.#run();
    if (read.status === "rejected") throw read.reason;
    this.#armed = true;
    let missing = read.value === undefined;
    if (missing && !recursive) missing = (await client.exists(path, true)) === undefined;
    if (!isCurrent()) return;
    this.#changes = undefined;
    if (this.#again || (read.value === undefined && !missing)) return this.#run();
    this.#isStale = false;
    this.#stat = read.value?.stat;
    this.#names = new Set(read.value?.children);
    this.#apply(changes);
    // A change may be counted in the reading and have been told as well: the next audit would read again for nothing.
    if (changes.length > 0 && read.value !== undefined) this.#stat = { ...read.value.stat, cversion: -1 };
    this.#answer();
  }

  /** What is learnt of the servers here must be known before the next connection. */
  async #arm(): Promise<void> {
    const { client, path } = this.#options;
    const age = this.#age;
    try {
      await client.addRecursiveWatch(path);
      age.accepted = true;
      age.ended = false;
    } catch (error) {
      if (isMeshError(error, "zookeeper.connection-lost")) age.ended = true;
      if (!isMeshError(error, "zookeeper.unimplemented")) throw error;
      age.recursive = false;
    }
  }

  #apply(changes: readonly (readonly [string, boolean])[]): void {
    for (const [name, present] of changes) {
      if (present) this.#names.add(name);
      else this.#names.delete(name);
    }
    if (this.#stat !== undefined && changes.length > 0)
      this.#stat = { ...this.#stat, cversion: this.#stat.cversion + changes.length };
  }

  #answer(): void {
    this.answered = true;
    this.#options.onNames(this.#names, true);
  }

  /** What fails with its connection is begun again with the next one. */
  #guard(connection: object, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      if (this.#connection !== connection || isUndecided(error) || isSessionOver(error)) return;
      this.#changes = undefined;
      this.#isStale = true;
      const fields = { path: this.path, error: messageOf(error) };
      this.#options.told.warn("", fields, "a list in ZooKeeper could not be read, and is tried again");
    });
  }
}
