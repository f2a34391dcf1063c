/** A crossing as others see it: plain data. */

import { bracketed } from "@dualmesh/base/http/host-name";
import type { BeforeDoor } from "@dualmesh/dialects/zookeeper/before/door";
import type { Crossing, CrossingRegistration } from "@dualmesh/model/crossing";
import type { Instance } from "@dualmesh/model/instance";
import type { CarriedInstances } from "./carried-instances.ts";

type Shape = Omit<Crossing, "sessions" | "registrations">;
type Carrier = Pick<CarriedInstances, "published" | "bypassed">;

export function crossingOf(
  shape: Shape,
  door: Pick<BeforeDoor, "registrations" | "uncarried" | "consumers">,
  carried: Carrier,
): Crossing {
  const rows: CrossingRegistration[] = [
    ...door.registrations().map(({ session, path, instance, state }) => ({
      ...rowOf(session, path, instance, carried),
      state,
    })),
    ...door.uncarried().map(({ session, path, instance }) => ({
      ...rowOf(session, path, instance, carried),
      state: "direct" as const,
    })),
  ];
  const sessions = door.consumers().map(({ session: id, remote, connected, state: consumes, lists }) => ({
    id,
    remote,
    connected,
    consumes,
    lists,
  }));
  return { ...shape, sessions, registrations: rows };
}

function rowOf(
  session: string,
  path: string,
  instance: Instance,
  carried: Carrier,
): Omit<CrossingRegistration, "state"> {
  const { service, application, host, appPort } = instance;
  const published = carried.published(instance);
  return {
    session,
    path,
    service,
    application,
    host,
    appPort,
    published: published === undefined ? "" : `${bracketed(published.address)}:${published.port}`,
    bypassed: carried.bypassed(instance),
  };
}
