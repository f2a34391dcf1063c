/** Has clients of a registry read lists again in which nothing has changed that they were told of. */
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { encodeName } from "@dualmesh/dialects/zookeeper/provider-url";
import { reading } from "./checks/reader.ts";
import type { MoveRecord } from "./record.ts";

/**
 * A node comes and goes in each list of Dubbo. Those of SOFA-RPC read their lists again whenever they are connected again, and would take the
 * node for a provider's. It must say itself that it is none: a client of Dubbo 3 (3.3.6) takes the first change of a list at once and a second one 5 s after that, and of a
 * name that is no URL it makes a provider without a protocol, which fails the whole list. Its application then failed its own calls until the second,
 * 7.4 s after its sidecar had died; by a provider that is not enabled it has the list with the first, after 2.4 s.
 */
export async function touchLists({ servers, lists, name }: MoveRecord, clock: Clock): Promise<void> {
  const touched = lists.filter((path) => path.endsWith("/providers") && !path.includes("/sofa-rpc/"));
  if (touched.length === 0) return;
  await reading(servers, clock, async (session) => {
    await Promise.all(
      touched.map(async (list) => {
        const path = `${list}/${touchName(name)}`;
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

/** Without a port and not enabled, of another interface, and by the protocol that Dubbo itself uses for "nobody": each alone has some client pass over it. */
export function touchName(move: string): string {
  return encodeName(`empty://0.0.0.0/dualmesh?category=providers&enabled=false&touched=${move}`);
}
