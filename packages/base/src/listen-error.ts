/** What went wrong when a port was opened, and how to mend it: the same words and codes for every port. */
import { MeshError } from "./errors.ts";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** `listen.port-taken`, `listen.denied` or `listen.failed`. */
export function listenError({ host, port }: ListenAddress, error: NodeJS.ErrnoException): MeshError {
  const where = `${host}:${port}`;
  if (error.code === "EADDRINUSE")
    return new MeshError(
      "listen.port-taken",
      `${where} is in use by another process; choose another port or end that process`,
      { where },
    );
  if (error.code === "EACCES")
    return new MeshError(
      "listen.denied",
      `${where} needs a privilege that this process lacks; choose a port above 1023`,
      { where },
    );
  if (error.code === "EADDRNOTAVAIL")
    return new MeshError("listen.failed", `${host} is not an address of this machine; correct the host`, { where });
  return new MeshError("listen.failed", `cannot listen on ${where}: ${error.message}`, { where }, { cause: error });
}
