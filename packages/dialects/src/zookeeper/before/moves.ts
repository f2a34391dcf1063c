/**
 * The steps by which a provider's registration, and the entry of its application, go into the mesh and back. Each is done by requests
 * of the door's own in the client's session and is over when the ensemble has acknowledged it. At no moment is nothing there.
 */
import { MeshError } from "@dualmesh/base/errors";
import { errorCode } from "@dualmesh/wire/jute/reply";
import { type Acl, createFlags, opCode, openAcl } from "@dualmesh/wire/jute/request";
import type { SessionLists } from "./lists.ts";
import type { Entry, Registration } from "./own-node.ts";
import type { SessionNodes } from "./own-nodes.ts";
import type { RewriteState } from "./owner.ts";
import type { Passage } from "./passage.ts";
import { parentOf } from "./paths.ts";
import { bodyOf, type Reply } from "./reply.ts";
import type { ClientWatches } from "./watches.ts";

export interface Mover {
  readonly id: bigint;
  readonly passage: Passage;
  readonly nodes: SessionNodes;
  readonly lists: SessionLists;
  readonly watches: ClientWatches;
}

interface Content {
  readonly data: Buffer | undefined;
  readonly acl: readonly Acl[];
}

/** One step nearer to `to`. The state is what holds afterwards. */
export async function stepRegistration(mover: Mover, registration: Registration, to: RewriteState): Promise<void> {
  const { path, meshPath } = registration;
  if (registration.state === to) return;
  registration.moving = true;
  try {
    const list = mover.lists.open(parentOf(path));
    if (list !== undefined) await mover.lists.prepare([list]);
    check(mover, registration);
    if (registration.state === "direct") {
      registration.meshAsked = true;
      await put(mover, meshPath, await contentOf(mover, path));
      if (!isCurrent(mover, registration)) await take(mover, meshPath);
      check(mover, registration);
      registration.state = "both";
    } else if (registration.state === "mesh") {
      const content = await contentOf(mover, meshPath);
      check(mover, registration);
      registration.state = "both";
      await orElse(put(mover, path, content), () => {
        registration.state = "mesh";
      });
      if (!isCurrent(mover, registration)) await take(mover, path);
      check(mover, registration);
    } else {
      const gone = to === "mesh" ? path : meshPath;
      // From the moment it is asked for, what the client asks finds the other one.
      registration.state = to;
      await orElse(take(mover, gone), () => {
        registration.state = "both";
      });
      if (to === "direct") registration.meshAsked = false;
      await watchAgain(mover, registration);
    }
  } finally {
    registration.moving = false;
    const list = mover.lists.get(parentOf(path));
    if (list !== undefined) mover.lists.release(list);
  }
}

/** Takes an entry back; `keep` is awaited before it goes, so that it can be put there again whatever happens. */
export async function withdrawEntry(mover: Mover, entry: Entry, keep: () => Promise<void>): Promise<void> {
  if (entry.withdrawn !== undefined || entry.moving) return;
  entry.moving = true;
  try {
    const list = mover.lists.open(parentOf(entry.path));
    if (list !== undefined) await mover.lists.prepare([list]);
    entry.withdrawn = await contentOf(mover, entry.path);
    entry.wanted = true;
    await orElse(keep(), () => {
      entry.withdrawn = undefined;
    });
    const gone = take(mover, entry.path); // what the client asks from here on is answered by the door
    entry.moving = false;
    await orElse(gone, () => {
      entry.withdrawn = undefined;
    });
  } finally {
    entry.moving = false;
  }
}

/** Puts an entry where it was, if the client still wants it. */
export async function restoreEntry(mover: Mover, entry: Entry): Promise<void> {
  const { withdrawn } = entry;
  if (withdrawn === undefined || entry.moving) return;
  if (entry.wanted) await put(mover, entry.path, withdrawn);
  if (!entry.wanted) {
    await take(mover, entry.path); // taken away by the client, if only a moment ago
    mover.nodes.entries.delete(entry.path);
  }
  entry.withdrawn = undefined;
  const list = mover.lists.get(parentOf(entry.path));
  if (list !== undefined) await mover.lists.reread(list);
}

async function contentOf({ passage }: Mover, path: string): Promise<Content> {
  const [data, acl] = await Promise.all([
    passage.asked({ op: "getData", path, watch: false }),
    passage.asked({ op: "getAcl", path }),
  ]);
  if (data.error !== errorCode.ok) throw refused("read", path, data);
  // Who may not read the access list may at least write what everybody may.
  return { data: bodyOf(data, "data").data, acl: acl.error === errorCode.ok ? bodyOf(acl, "acl").acl : openAcl };
}

async function put(mover: Mover, path: string, { data, acl }: Content): Promise<void> {
  const create = (): Promise<Reply> =>
    mover.passage.asked({ op: "create", code: opCode.create, path, data, acl, flags: createFlags.ephemeral, ttl: 0n });
  const made = await create();
  if (made.error === errorCode.ok) return mover.lists.note(path, true);
  if (made.error !== errorCode.nodeExists) throw refused("written", path, made);
  const found = await mover.passage.asked({ op: "exists", path, watch: false });
  if (found.error === errorCode.ok && bodyOf(found, "stat").stat.ephemeralOwner === mover.id)
    return mover.lists.note(path, true);
  // It is what a former session of the same application left, and would go with that session.
  await take(mover, path);
  const again = await create();
  if (again.error !== errorCode.ok) throw refused("written", path, again);
  mover.lists.note(path, true);
}

async function take({ passage, lists }: Mover, path: string): Promise<void> {
  const reply = await passage.asked({ op: "delete", path, version: -1 });
  if (reply.error !== errorCode.ok && reply.error !== errorCode.noNode) throw refused("taken away", path, reply);
  lists.note(path, false);
}

/** A watch that the client has on its own node stood on the one that is gone. */
async function watchAgain({ passage, watches }: Mover, { path, meshPath, state }: Registration): Promise<void> {
  if (!watches.data.has(path)) return;
  await passage.asked({ op: "exists", path: state === "mesh" ? meshPath : path, watch: true });
}

const isCurrent = ({ nodes }: Mover, registration: Registration): boolean =>
  nodes.registrations.get(registration.path) === registration;

function check(mover: Mover, registration: Registration): void {
  if (isCurrent(mover, registration)) return;
  throw new MeshError("zookeeper.withdrawn", `the application took ${registration.path} away while it was moved`);
}

async function orElse(step: Promise<void>, undo: () => void): Promise<void> {
  try {
    await step;
  } catch (error) {
    undo();
    throw error;
  }
}

function refused(what: string, path: string, { error }: Reply): MeshError {
  return new MeshError("zookeeper.refused", `${path} could not be ${what}: the ensemble says ${error}`, {
    path,
    error,
  });
}
