/** One node that a session's client has put into discovery, and where it is at the ensemble. */
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import type { Acl } from "@dualmesh/wire/jute/request";
import { publishedName } from "../client/published-name.ts";
import type { Layout } from "../layout.ts";
import type { RewriteState } from "./owner.ts";
import { parentOf } from "./paths.ts";

export interface Registration {
  /** Where the client put it. */
  readonly path: string;
  /** Where it stands in the mesh. */
  meshPath: string;
  readonly instance: Instance;
  state: RewriteState;
  /** Clock time since when it stands at its own address, and at that of the mesh; for what stood there when it was first seen, long ago. */
  readonly since: { real: number; mesh: number };
  /** True from before the first step of a move until its end: the list around it is followed. */
  moving: boolean;
  /** True when the node of the mesh may be there whatever the state says, because it has been asked for. */
  meshAsked: boolean;
}

/** An entry of an application among its instances. */
export interface Entry {
  readonly path: string;
  readonly application: string;
  /** `host:port`, by custom. */
  readonly name: string;
  /** What is to be put there again; undefined while it stands at the ensemble. */
  withdrawn: { readonly data: Buffer | undefined; readonly acl: readonly Acl[] } | undefined;
  /** False once the client itself has taken a withdrawn entry away. */
  wanted: boolean;
  moving: boolean;
}

/** Beside a registration, with the words by which other sidecars know what they see. */
export function meshPathOf(layout: Layout, path: string, published: Instance): string {
  const interfaceName = parseServiceText(published.service)?.name ?? "";
  return `${parentOf(path)}/${publishedName(layout, interfaceName, published)}`;
}

/** Where a node of the client's own is at the ensemble. */
export function standing(path: string, registration: Registration | undefined): string {
  return registration?.state === "mesh" ? registration.meshPath : path;
}
