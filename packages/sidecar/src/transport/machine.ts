/** This machine's own address, for applications that register without one. */
import { networkInterfaces } from "node:os";

/** The first IPv4 address that is not loopback; 127.0.0.1 on a machine without any. */
export function machineAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}
