/**
 * The services that match a pattern, with their applications. A pattern that names its interface costs one list; one that does not costs the
 * list of every interface there is, which is why only those have it who ask for everything.
 */
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { CatalogueEntry } from "@dualmesh/model/directory";
import { maxServiceTextLength, servicePattern } from "@dualmesh/model/service";
import type { Layout } from "../layout.ts";
import type { InterfaceList } from "./interface-list.ts";
import type { InterfaceLists } from "./interface-lists.ts";
import { isSayable } from "./published-name.ts";

const maxPatterns = 2_000;
/** What lies beside the interfaces below Dubbo's root. */
const notInterfaces = new Set(["mapping", "metadata", "config"]);

export type CatalogueListener = (entries: readonly CatalogueEntry[]) => void;

export interface CatalogueOptions {
  readonly log: Log;
  readonly layouts: readonly Layout[];
  readonly lists: InterfaceLists;
}

interface Pattern {
  readonly matches: (service: string) => boolean;
  readonly listener: CatalogueListener;
  readonly lists: Map<string, InterfaceList>;
  /** The layouts of which every interface is wanted. */
  readonly roots: readonly Layout[];
  readonly leave: (() => void)[];
  told: string | undefined;
  due: boolean;
  isFull: boolean;
}

export class Catalogue {
  readonly #options: CatalogueOptions;
  readonly #patterns = new Set<Pattern>();

  constructor(options: CatalogueOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#patterns.size;
  }

  watch(text: string, listener: CatalogueListener): () => void {
    if (text === "" || text.length > maxServiceTextLength || /\s/.test(text))
      throw new MeshError("registry.refused", `not a pattern of services: ${text}`);
    if (this.#patterns.size >= maxPatterns)
      throw new MeshError("registry.limit", `a sidecar watches at most ${maxPatterns} patterns`, {
        limit: maxPatterns,
      });
    const { layouts, lists } = this.#options;
    const name = isSayable(text) ? /^[^/]*\/([^:*]+):/.exec(text)?.[1] : undefined;
    const possible = isSayable(text) ? layouts.filter(({ dialect }) => mayBeIn(dialect, text)) : [];
    const pattern: Pattern = {
      matches: servicePattern(text),
      listener,
      lists: new Map(),
      roots: name === undefined ? possible : [],
      leave: [],
      told: undefined,
      due: false,
      isFull: false,
    };
    for (const layout of name === undefined ? [] : possible) this.#add(pattern, layout, decodeURIComponent(name ?? ""));
    for (const layout of pattern.roots)
      pattern.leave.push(lists.followRoot(layout, () => this.#follow(pattern, layout)));
    this.#patterns.add(pattern);
    for (const layout of pattern.roots) this.#follow(pattern, layout);
    this.#schedule(pattern);
    return () => {
      if (!this.#patterns.delete(pattern)) return;
      for (const leave of pattern.leave) leave();
      for (const list of pattern.lists.values()) lists.release(list);
    };
  }

  changed(list: InterfaceList): void {
    for (const pattern of this.#patterns) if (pattern.lists.has(list.path)) this.#schedule(pattern);
  }

  close(): void {
    this.#patterns.clear();
  }

  #add(pattern: Pattern, layout: Layout, interfaceName: string): void {
    const list = this.#options.lists.open(layout, interfaceName, false);
    pattern.lists.set(list.path, list);
  }

  /** Opens the lists of interfaces that have come; those that have gone are empty and cost little. */
  #follow(pattern: Pattern, layout: Layout): void {
    for (const name of this.#options.lists.interfaces(layout) ?? []) {
      if (notInterfaces.has(name) || pattern.isFull || pattern.lists.has(layout.providersPath(name))) continue;
      try {
        this.#add(pattern, layout, name);
      } catch (error) {
        // Better a part of the catalogue than none.
        pattern.isFull = true;
        this.#options.log.error(
          { error: messageOf(error) },
          "a catalogue in ZooKeeper is shown in part: it is too large",
        );
      }
    }
    this.#schedule(pattern);
  }

  #schedule(pattern: Pattern): void {
    if (pattern.due) return;
    pattern.due = true;
    queueMicrotask(() => {
      pattern.due = false;
      if (this.#patterns.has(pattern)) this.#tell(pattern);
    });
  }

  #tell(pattern: Pattern): void {
    const isKnown =
      pattern.roots.every((layout) => this.#options.lists.interfaces(layout) !== undefined) &&
      [...pattern.lists.values()].every(({ deliverable }) => deliverable);
    if (!isKnown) return;
    const entries = entriesOf(pattern);
    const text = JSON.stringify(entries);
    if (text === pattern.told) return;
    pattern.told = text;
    try {
      pattern.listener(entries);
    } catch (error) {
      this.#options.log.error({ error: messageOf(error) }, "a listener of the catalogue failed");
    }
  }
}

function entriesOf({ lists, matches }: Pattern): readonly CatalogueEntry[] {
  const services = new Map<string, Set<string>>();
  for (const { shown } of lists.values()) {
    for (const [service, providers] of shown) {
      if (!matches(service) || providers.size === 0) continue;
      const applications = services.get(service) ?? new Set();
      for (const { application } of providers.values()) applications.add(application);
      services.set(service, applications);
    }
  }
  return [...services].map(([service, names]) => ({ service, applications: [...names].sort() }));
}

function mayBeIn(dialect: string, pattern: string): boolean {
  const [protocol = ""] = pattern.split("/");
  return dialect === "dubbo" ? protocol !== "bolt" : protocol !== "dubbo" && protocol !== "tri";
}
