/** What a provider's node registers, and whether any directory could take it. */
import { isMeshError } from "@dualmesh/base/errors";
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import { encodeInstance } from "@dualmesh/wire/stream/record";
import type { Layout, Place } from "./layout.ts";

export type Reading =
  /** The node registers nothing. */
  | { readonly kind: "none" }
  | { readonly kind: "instance"; readonly instance: Instance }
  | { readonly kind: "unreadable"; readonly reason: string };

type ProviderPlace = Extract<Place, { readonly kind: "provider" }>;

export function readRegistration(layout: Layout, place: ProviderPlace, newIncarnation: () => number): Reading {
  const instance = layout.readProvider(place.interfaceName, place.name, newIncarnation);
  if (instance === undefined) return { kind: "unreadable", reason: "unreadable registration" };
  if (parseServiceText(instance.service) === undefined)
    return { kind: "unreadable", reason: "the name of its service is too long" };
  try {
    encodeInstance(instance);
  } catch (error) {
    if (!isMeshError(error, "stream.limit")) throw error;
    return { kind: "unreadable", reason: error.message };
  }
  return { kind: "instance", instance };
}
