/** An HTTP service as callers reach it: through one sidecar (its provider has none), and through a pair. */
import { connect, type Mesh } from "@dualmesh/client/sdk";
import { eventually, type Sidecar, World } from "./world.ts";

export interface Route {
  readonly name: "one sidecar" | "a pair";
  /** The loopback address of the service at the caller's sidecar. */
  readonly url: string;
  /** The sidecars on the way, the caller's first. */
  readonly hops: readonly { readonly sidecar: Sidecar; readonly direction: "outbound" | "inbound" }[];
  readonly service: string;
}

export class HttpMesh implements AsyncDisposable {
  readonly world: World;
  readonly caller: Sidecar;
  readonly #provider: Sidecar;
  readonly #asCaller: Mesh;
  readonly #asProvider: Mesh;
  #services = 0;

  private constructor(world: World, caller: Sidecar, provider: Sidecar) {
    this.world = world;
    this.caller = caller;
    this.#provider = provider;
    this.#asCaller = connect({ sidecar: doorOf(caller) });
    this.#asProvider = connect({ sidecar: doorOf(provider), host: "127.0.0.1" });
  }

  /** `config` is what both sidecars have beside their ports. */
  static async open(config: object = {}): Promise<HttpMesh> {
    const world = await World.open();
    const shared = { doors: { zookeeper: false, mesh: false, eureka: { port: 0 }, http: { port: 0 } }, ...config };
    const mesh = new HttpMesh(world, await world.sidecar(shared), await world.sidecar(shared));
    world.defer(() => mesh.#asCaller.close());
    world.defer(() => mesh.#asProvider.close());
    return mesh;
  }

  /** A service whose instances listen at these ports and have no sidecar. */
  async direct(...ports: readonly number[]): Promise<Route> {
    const service = `http/direct-${++this.#services}::`;
    for (const port of ports) await this.world.publish(service, port);
    return this.#route("one sidecar", service, [{ sidecar: this.caller, direction: "outbound" }]);
  }

  /** A service whose one instance has a sidecar too. */
  async pair(port: number): Promise<Route> {
    const service = `http/pair-${++this.#services}::`;
    await this.#asProvider.register({ service, port }).inForce;
    return this.#route("a pair", service, [
      { sidecar: this.caller, direction: "outbound" },
      { sidecar: this.#provider, direction: "inbound" },
    ]);
  }

  async #route(name: Route["name"], service: string, hops: Route["hops"]): Promise<Route> {
    const subscription = this.#asCaller.subscribe(service);
    await eventually(`${service} is known`, () => subscription.endpoints.length > 0);
    const url = subscription.endpoints[0]?.url as string;
    return { name, url, hops, service };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

function doorOf(sidecar: Sidecar): string {
  return `http://127.0.0.1:${sidecar.running.doors.http}`;
}

/** What a sidecar has counted of a service in one direction, by result. */
export function counted({ sidecar, direction }: Route["hops"][number], service: string): ReadonlyMap<string, number> {
  const { requests } = sidecar.running.status() as { requests: readonly Record<string, unknown>[] };
  const totals = new Map<string, number>();
  for (const series of requests) {
    if (series["service"] !== service || series["direction"] !== direction) continue;
    for (const [name, value] of Object.entries(series))
      if (typeof value === "number") totals.set(name, (totals.get(name) ?? 0) + value);
  }
  return totals;
}
