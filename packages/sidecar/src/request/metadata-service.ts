/**
 * Dubbo's `MetadataService`, which every Dubbo 3 application offers at its own port and none registers as an interface: its group is the
 * application's name. Where several applications share a published port, that name says whose answer is asked for. (`MetadataServiceV2`
 * is spoken over Triple only, which is not carried.)
 */
import { serviceText } from "@dualmesh/model/service";
import type { InboundService } from "../face/inbound.ts";

const name = "org.apache.dubbo.metadata.MetadataService";
const version = "1.0.0";

/**
 * The metadata services behind one published port, one for each application that has one port there. None while everything leads to one
 * port of one application, which is then found without a name.
 */
export function metadataServices(services: readonly InboundService[]): readonly InboundService[] {
  const applications = new Map<string, Map<string, InboundService>>();
  const places = new Set<string>();
  for (const service of services) {
    if (!service.service.startsWith("dubbo/")) continue;
    const place = `${service.host}|${service.appPort}`;
    places.add(place);
    const ofApplication = applications.get(service.application) ?? new Map<string, InboundService>();
    applications.set(service.application, ofApplication);
    // What is there is preferred to what is leaving.
    if (ofApplication.get(place)?.leaving !== false) ofApplication.set(place, service);
  }
  if (places.size < 2) return [];
  return [...applications].flatMap(([application, ofApplication]) => {
    const present = [...ofApplication.values()].filter(({ leaving }) => !leaving);
    const [only, another] = present.length > 0 ? present : [...ofApplication.values()];
    if (only === undefined || another !== undefined) return [];
    const service = serviceText({ protocol: "dubbo", name, version, group: application });
    return [{ ...only, service }];
  });
}

/** True for a service that an application offers for itself: its group must be the very one that is asked for. */
export function isMetadataService(service: string): boolean {
  return service.startsWith(`dubbo/${name}:`);
}
