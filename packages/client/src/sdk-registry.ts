/** The SDK in the registry's own stream: instances are called at the addresses that the registry knows. */
import { hostname, networkInterfaces } from "node:os";
import { messageOf } from "@dualmesh/base/errors";
import type { Journal } from "@dualmesh/base/state/journal";
import type { Instance } from "@dualmesh/model/instance";
import { openRegistryDirectory } from "./directory.ts";
import { type Endpoint, type Offer, type Offered, type Place, type Surroundings, urlOf } from "./sdk-place.ts";

export function joinRegistry(address: string, around: Surroundings): Place {
  const { clock, random, log } = around;
  const journal = memoryJournal();
  const nodeId = `${hostname()}-${process.pid}-${random.bytes(6).toString("hex")}`.slice(-255);
  const directory = openRegistryDirectory({ addresses: [address], nodeId, kind: "sdk", journal, clock, random, log });
  directory.restored(); // nothing was published by a former process under this name
  return {
    register(offer) {
      const giveUp = new AbortController();
      const published = directory.publish(instanceOf(offer, around), { signal: giveUp.signal });
      const offered: Offered = {
        inForce: published.then(() => undefined),
        async withdraw() {
          giveUp.abort();
          const publication = await published.catch(() => undefined); // it was never in force
          await publication?.withdraw();
        },
      };
      offered.inForce.catch((error: unknown) =>
        log.warn({ service: offer.service, error: messageOf(error) }, "an instance is not registered"),
      );
      return offered;
    },
    follow(service, told) {
      return directory.watch(service, ({ instances }) => told(instances.map(endpointOf)));
    },
    close: () => directory.close({ orderly: true }),
  };
}

function endpointOf(instance: Instance): Endpoint {
  const { service, application, address, port, weight, warmupMs, startedAt, labels } = instance;
  return { application, address, port, url: urlOf(service, address, port), weight, warmupMs, startedAt, labels };
}

function instanceOf(offer: Required<Offer>, { host = machineAddress(), clock }: Surroundings): Instance {
  const { service, port, application, weight, warmupMs, zone, labels } = offer;
  return {
    service,
    host,
    application,
    appPort: port,
    address: host,
    port,
    weight,
    warmupMs,
    startedAt: clock.wall(),
    zone,
    labels,
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: clock.wall(),
    registration: { dialect: "native", text: "" },
  };
}

/** The first address of this machine that is not loopback. */
function machineAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

/** An SDK has no disk of its own: what it knows lives as long as its process. */
function memoryJournal(): Journal {
  const live = new Map<string, Buffer>();
  return {
    entries: () => live.entries(),
    get: (key) => live.get(key),
    put: (key, value) => void live.set(key, Buffer.from(value as Uint8Array)),
    delete: (key) => void live.delete(key),
    flushed: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}
