/**
 * How a framework writes discovery into ZooKeeper: which paths are what, and the way between a provider's node and an instance.
 * One file for each framework implements it; the tree knows nothing else of them.
 */
import type { Instance } from "@dualmesh/model/instance";
import { splitPath } from "./nodes.ts";

/** What a path is. */
export type Place =
  /** Exists by itself, whether somebody created it or not. */
  | { readonly kind: "directory" }
  /** The list of an interface's providers; exists by itself. */
  | { readonly kind: "providers"; readonly interfaceName: string }
  | { readonly kind: "provider"; readonly interfaceName: string; readonly name: string }
  | { readonly kind: "consumer"; readonly interfaceName: string; readonly name: string }
  /** Lives as long as the session that wrote it and is shown to it alone. `application` where the path names one that registers itself. */
  | { readonly kind: "private"; readonly application?: string }
  /** An ordinary node that everybody at this door sees. */
  | { readonly kind: "plain" };

/** What a consumer's node says that it will call. */
export interface Wanted {
  readonly application: string;
  /** Canonical service texts. Empty when it wants whatever there is. */
  readonly services: readonly string[];
  /** How long its calls may take, in milliseconds; 0 when it does not say. */
  readonly timeoutMs: number;
}

export interface Layout {
  /** As in `Registration.dialect`. */
  readonly dialect: string;
  /** The path below which the layout's nodes are. */
  readonly root: string;
  /** Undefined when the path is none of this layout's. `segments` are the path's parts. */
  place(segments: readonly string[]): Place | undefined;
  /** The list of this interface's providers. */
  providersPath(interfaceName: string): string;
  /** The instance that a provider's node registers, or undefined when it cannot be read as one. */
  readProvider(interfaceName: string, name: string, newIncarnation: () => number): Instance | undefined;
  /** True when the client that wrote this node goes on only after it has seen it in the list. */
  waitsForItself(name: string): boolean;
  readConsumer(interfaceName: string, name: string): Wanted | undefined;
  /** The service to expect when somebody reads a list before it has said what it wants; undefined when it always says so first. */
  expected(interfaceName: string): string | undefined;
  /** False for protocols that certainly belong to another layout. */
  mayShow(protocol: string): boolean;
  shows(instance: Instance): boolean;
  nameOf(instance: Instance): string;
  dataOf(instance: Instance): Buffer;
}

export interface Located {
  readonly layout: Layout | undefined;
  readonly place: Place;
}

/** All the layouts of a door. */
export class Layouts {
  readonly #layouts: readonly Layout[];

  constructor(layouts: readonly Layout[]) {
    this.#layouts = layouts;
  }

  get roots(): readonly string[] {
    return ["/services", ...this.#layouts.map((layout) => layout.root)];
  }

  locate(path: string): Located {
    const segments = splitPath(path) ?? [];
    for (const layout of this.#layouts) {
      const place = layout.place(segments);
      if (place !== undefined) return { layout, place };
    }
    return { layout: undefined, place: { kind: "plain" } };
  }

  existsByItself(path: string): boolean {
    const { kind } = this.locate(path).place;
    return kind === "directory" || kind === "providers";
  }
}

/** True for nodes that only the session sees that wrote them. */
export function isOwn(place: Place): boolean {
  return place.kind === "provider" || place.kind === "private";
}
