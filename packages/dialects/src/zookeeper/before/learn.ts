/**
 * What a resumed session owns at the ensemble, found out before its client is told that it is connected: what it then writes again
 * is there already, and must not be gone for a moment.
 */
import { FrameError } from "@dualmesh/wire/codec";
import { errorCode } from "@dualmesh/wire/jute/reply";
import { opCode } from "@dualmesh/wire/jute/request";
import type { Passage } from "./passage.ts";
import type { Places } from "./places.ts";
import { bodyOf, type Reply } from "./reply.ts";

/** Questions that are asked at once where nodes must be looked at one by one. */
const askedAtOnce = 200;

/** The paths; undefined when the ensemble does not know the question, which servers before 3.6 do not. They may close the connection for it. */
export async function ownedByAsking(passage: Passage): Promise<readonly string[] | undefined> {
  const reply = await passage.asked({ op: "getEphemerals", path: "/" });
  if (reply.error !== errorCode.ok) return undefined;
  try {
    return bodyOf(reply, "children").children;
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return undefined; // some say yes to what they do not know, and nothing else
  }
}

export interface Walk {
  readonly passage: Passage;
  readonly sessionId: bigint;
  readonly layouts: Places;
  readonly maxNodes: number;
  /** Told each path that is found. */
  readonly found: (path: string) => void;
}

/** Looks at every node of discovery that may be an application's own. Resolves with false when there were too many to look at all. */
export async function ownedByWalking({ passage, sessionId, layouts, maxNodes, found }: Walk): Promise<boolean> {
  let left = maxNodes;
  const children = async (path: string): Promise<string[]> => {
    const reply = await passage.asked({ op: "getChildren", code: opCode.getChildren, path, watch: false });
    return reply.error === errorCode.ok ? bodyOf(reply, "children").children.map((name) => `${path}/${name}`) : [];
  };
  const look = async (path: string): Promise<void> => {
    const reply: Reply = await passage.asked({ op: "exists", path, watch: false });
    if (reply.error === errorCode.ok && bodyOf(reply, "stat").stat.ephemeralOwner === sessionId) found(path);
  };
  for (const root of layouts.roots) {
    const folders = (await children(root)).flatMap((path) =>
      root.endsWith("/services") ? [path] : [`${path}/providers`, `${path}/consumers`],
    );
    for (const batch of batches(folders)) {
      const nodes = (await Promise.all(batch.map(children))).flat();
      if (nodes.length > left) return false;
      left -= nodes.length;
      for (const some of batches(nodes)) await Promise.all(some.map(look));
    }
  }
  return true;
}

function* batches(items: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < items.length; from += askedAtOnce) yield items.slice(from, from + askedAtOnce);
}
