/** How a server comes to listen: anew as a rule, or at a port that came open from another process. */
import type { Server } from "node:net";

/** As `server.listen` does: calls back when it listens; an error is the server's own ("error"). */
export type Bind = (server: Server, place: { readonly host: string; readonly port: number }, bound: () => void) => void;

export const listenAnew: Bind = (server, { host, port }, bound) =>
  void server.listen({ host, port, backlog: 1_024 }, bound);
