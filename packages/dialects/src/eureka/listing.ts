/**
 * What Eureka's clients are shown: all instances, and what changed of them in the last three minutes. A client applies the changes to what it
 * has, counts, and asks for everything when its count is not the hash: so the hash is of all that is shown now. What is learned at a
 * start is a change too, so that a client that knew another set before finds out by the count and not only when the counts differ.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Shown } from "./layout.ts";
import { xmlElement, xmlText } from "./xml.ts";

export const changesKeptMs = 180_000;

export type Action = "ADDED" | "MODIFIED" | "DELETED";
export type Format = "json" | "xml";

interface Change {
  readonly action: Action;
  readonly shown: Shown;
  readonly at: number;
}

interface Entry {
  current: Shown;
  /** By whom it is shown: an instance of several services comes with each of them. */
  readonly sources: Map<string, Shown>;
}

interface Text {
  readonly version: number;
  readonly changes: number;
  readonly body: Buffer;
}

export class Listing {
  readonly #clock: Clock;
  /** By application, then instance id. */
  readonly #apps = new Map<string, Map<string, Entry>>();
  readonly #ofSource = new Map<string, ReadonlyMap<string, Shown>>();
  /** The newest of each instance, oldest first. */
  readonly #changes = new Map<string, Change>();
  readonly #texts = new Map<string, Text>();
  #version: number;
  #count = 0;

  constructor(clock: Clock, firstVersion: number) {
    this.#clock = clock;
    this.#version = firstVersion;
  }

  /** Grows with every change. */
  get version(): number {
    return this.#version;
  }

  /** Only what is up is shown. */
  get hash(): string {
    return this.#count === 0 ? "" : `UP_${this.#count}_`;
  }

  /** The whole newest set of a source. */
  set(source: string, all: readonly Shown[]): void {
    const now = new Map(all.map((shown) => [keyOf(shown), shown]));
    const before = this.#ofSource.get(source);
    if (now.size === 0) this.#ofSource.delete(source);
    else this.#ofSource.set(source, now);
    // What comes first, then what goes: nobody sees less than there is in between.
    for (const [key, shown] of now) this.#put(source, key, shown);
    for (const [key, shown] of before ?? []) if (!now.has(key)) this.#take(source, key, shown);
  }

  find(app: string, id: string): Shown | undefined {
    return this.#apps.get(app)?.get(id)?.current;
  }

  findById(id: string): Shown | undefined {
    for (const [app, instances] of this.#apps) if (instances.has(id)) return this.find(app, id);
    return undefined;
  }

  ofApp(app: string): readonly Shown[] {
    return [...(this.#apps.get(app)?.values() ?? [])].map(({ current }) => current);
  }

  where(holds: (shown: Shown) => boolean): readonly Shown[] {
    return this.#all().filter(holds);
  }

  /** Everything. The same buffer until something changes. */
  full(format: Format): Buffer {
    return this.#text(`full ${format}`, 0, () => applicationsText(format, this.#head(), this.#all()));
  }

  delta(format: Format): Buffer {
    this.#forgetOldChanges();
    return this.#text(`delta ${format}`, this.#changes.size, () => {
      const changes = [...this.#changes.values()];
      const actions = new Map(changes.map(({ shown, action }) => [shown, action]));
      const all = changes.map(({ shown }) => shown);
      return applicationsText(format, this.#head(), all, (shown) => actions.get(shown));
    });
  }

  /** A part of everything, as clients ask for it by vip. */
  some(format: Format, all: readonly Shown[]): string {
    const hash = all.length === 0 ? "" : `UP_${all.length}_`;
    return applicationsText(format, { version: "-1", hash }, all);
  }

  #head(): ListHead {
    return { version: String(this.#version), hash: this.hash };
  }

  #all(): readonly Shown[] {
    const all: Shown[] = [];
    for (const instances of this.#apps.values()) for (const { current } of instances.values()) all.push(current);
    return all;
  }

  #put(source: string, key: string, shown: Shown): void {
    const instances = this.#apps.get(shown.app) ?? new Map<string, Entry>();
    const entry = instances.get(shown.id);
    if (entry === undefined) {
      instances.set(shown.id, { current: shown, sources: new Map([[source, shown]]) });
      this.#apps.set(shown.app, instances);
      this.#count++;
      return this.#changed(key, shown, "ADDED");
    }
    const former = entry.sources.get(source);
    entry.sources.set(source, shown);
    if (former?.json === shown.json || entry.current.json === shown.json) return;
    entry.current = shown;
    this.#changed(key, shown, "MODIFIED");
  }

  #take(source: string, key: string, shown: Shown): void {
    const instances = this.#apps.get(shown.app);
    const entry = instances?.get(shown.id);
    if (instances === undefined || entry === undefined) return;
    entry.sources.delete(source);
    const other = [...entry.sources.values()].at(-1);
    if (other !== undefined) {
      if (other.json === entry.current.json) return;
      entry.current = other;
      return this.#changed(key, other, "MODIFIED");
    }
    instances.delete(shown.id);
    if (instances.size === 0) this.#apps.delete(shown.app);
    this.#count--;
    this.#changed(key, entry.current, "DELETED");
  }

  #changed(key: string, shown: Shown, action: Action): void {
    this.#version++;
    const former = this.#changes.get(key);
    // Who has not heard of it yet is told so.
    const told = action === "MODIFIED" && former?.action === "ADDED" ? "ADDED" : action;
    this.#changes.delete(key); // to the end
    this.#changes.set(key, { action: told, shown, at: this.#clock.now() });
    this.#forgetOldChanges();
  }

  #forgetOldChanges(): void {
    const oldest = this.#clock.now() - changesKeptMs;
    for (const [key, { at }] of this.#changes) {
      if (at > oldest) return;
      this.#changes.delete(key);
    }
  }

  #text(name: string, changes: number, make: () => string): Buffer {
    const known = this.#texts.get(name);
    if (known?.version === this.#version && known.changes === changes) return known.body;
    const body = Buffer.from(make());
    this.#texts.set(name, { version: this.#version, changes, body });
    return body;
  }
}

function keyOf({ app, id }: Shown): string {
  return `${app}/${id}`;
}

interface ListHead {
  readonly version: string;
  readonly hash: string;
}

export function applicationText(format: Format, app: string, all: readonly Shown[]): string {
  if (format === "json") return `{"application":${applicationJson(app, all)}}`;
  return applicationXml(app, all);
}

export function instanceText(format: Format, { json, xml }: Shown): string {
  return format === "json" ? `{"instance":${json}}` : `<instance>${xml}</instance>`;
}

type ActionOf = (shown: Shown) => Action | undefined;

function applicationsText(
  format: Format,
  head: ListHead,
  all: readonly Shown[],
  actionOf: ActionOf = () => undefined,
): string {
  const apps = new Map<string, Shown[]>();
  for (const shown of all) {
    const known = apps.get(shown.app);
    if (known === undefined) apps.set(shown.app, [shown]);
    else known.push(shown);
  }
  const { version, hash } = head;
  if (format === "json") {
    const applications = [...apps].map(([app, some]) => applicationJson(app, some, actionOf)).join(",");
    const facts = `"versions__delta":${JSON.stringify(version)},"apps__hashcode":${JSON.stringify(hash)}`;
    return `{"applications":{${facts},"application":[${applications}]}}`;
  }
  const applications = [...apps].map(([app, some]) => applicationXml(app, some, actionOf)).join("");
  const facts = xmlElement("versions_delta", version) + xmlElement("apps_hashcode", hash);
  return `<applications>${facts}${applications}</applications>`;
}

function applicationJson(app: string, all: readonly Shown[], actionOf: ActionOf = () => undefined): string {
  const instances = all.map((shown) => {
    const action = actionOf(shown);
    return action === undefined ? shown.json : `${shown.json.slice(0, -1)},"actionType":"${action}"}`;
  });
  return `{"name":${JSON.stringify(app)},"instance":[${instances.join(",")}]}`;
}

function applicationXml(app: string, all: readonly Shown[], actionOf: ActionOf = () => undefined): string {
  const instances = all.map((shown) => {
    const action = actionOf(shown);
    return `<instance>${shown.xml}${action === undefined ? "" : xmlElement("actionType", action)}</instance>`;
  });
  return `<application><name>${xmlText(app)}</name>${instances.join("")}</application>`;
}
