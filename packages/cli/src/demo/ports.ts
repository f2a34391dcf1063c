/** Ports for the demo's processes: taken below the range that the kernel gives to outgoing connections, so that none is lost to one. */
import { once } from "node:events";
import { createServer } from "node:net";
import { MeshError } from "@dualmesh/base/errors";
import type { Random } from "@dualmesh/base/random";

const lowest = 20_000;
const highest = 32_000;
const maxTries = 400;

export async function freePorts(count: number, random: Random): Promise<number[]> {
  const found = new Set<number>();
  for (let tries = 0; tries < maxTries && found.size < count; tries += 1) {
    const port = lowest + Math.floor(random.next() * (highest - lowest));
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  if (found.size < count) {
    throw new MeshError("demo.no-ports", `found no ${count} free ports between ${lowest} and ${highest}`, { count });
  }
  return [...found];
}

/** Free on all addresses: a library of the demo's services listens on all of them. */
async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port);
  try {
    await once(server, "listening");
    return true;
  } catch {
    return false; // somebody has it: that is the answer
  } finally {
    server.close();
  }
}
