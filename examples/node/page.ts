/**
 * Calls `rating` over HTTP, with the Node SDK and Node's own `fetch`. It is told what `examples/services/README.md` says of a consumer, and
 * tells the same. `REGISTRY` is the registry's stream, `registry:HOST:PORT`, or its sidecar's HTTP door, `http://HOST:PORT`.
 */
import { connect } from "@dualmesh/client/sdk";
import { CallFailed, keepCalling } from "../services/caller.ts";
import { setting } from "../services/report.ts";

const registry = setting("REGISTRY");
const stream = "registry:";
const mesh = connect(registry.startsWith(stream) ? { registry: registry.slice(stream.length) } : { sidecar: registry });
const rating = mesh.subscribe("rating");

await rating.known;
await keepCalling(
  async (count) => {
    const url = rating.pick()?.url;
    if (url === undefined) throw new CallFailed("", "nobody offers rating");
    const dialled = new URL(url).host;
    try {
      const response = await fetch(`${url}/ratings/${count}`, { signal: AbortSignal.timeout(3000) });
      const text = await response.text();
      if (!response.ok) throw new Error(`${response.status} ${text}`);
      return { dialled, by: (JSON.parse(text) as { by: string }).by };
    } catch (error) {
      throw new CallFailed(dialled, error instanceof Error && error.cause !== undefined ? error.cause : error);
    }
  },
  () => mesh.close(),
);
