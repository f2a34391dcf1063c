/** Has clients of a registry read lists again in which nothing has changed that they were told of. */
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { reading } from "./checks/reader.ts";
import type { MoveRecord } from "./record.ts";

/**
 * A node comes and goes in each list of Dubbo, whose clients pass over names that are no URLs. Those of SOFA-RPC read their lists again whenever they
 * are connected again, and would take the name for a provider's.
 */
export async function touchLists({ servers, lists, name }: MoveRecord, clock: Clock): Promise<void> {
  const touched = lists.filter((path) => path.endsWith("/providers") && !path.includes("/sofa-rpc/"));
  if (touched.length === 0) return;
  await reading(servers, clock, async (session) => {
    await Promise.all(
      touched.map(async (list) => {
        const path = `${list}/dualmesh-${name}`;
        try {
          await session.create(path, Buffer.alloc(0), "ephemeral");
          await session.delete(path);
        } catch (error) {
          // Nobody provides it any more, or one may not write here: its clients read it again in their own time.
          if (!isMeshError(error)) throw error;
        }
      }),
    );
  });
}
