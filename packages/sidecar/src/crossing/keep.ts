/**
 * What is on disk of crossings, so that a sidecar that was killed goes on where it was: the doors with their ports, what was decided, what
 * stands behind published ports, and which services are shown by stand-ins.
 */
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";
import type { CrossingDoor, Place } from "@dualmesh/model/crossing";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { Address } from "../face/elsewhere.ts";

export interface CrossingRecord {
  readonly name: string;
  readonly doors: readonly CrossingDoor[];
  readonly chroots: readonly string[];
  readonly host: string;
  readonly provides: Place;
  readonly consumes: Place;
  /** What was decided for single sessions, by id. */
  readonly sessions: Readonly<Record<string, { readonly provides?: Place; readonly consumes?: Place }>>;
}

/** An instance of the application, and where it is published. */
export interface CarriedRecord {
  readonly instance: Instance;
  readonly published: Address;
}

/** A service that is shown by its stand-in. */
export interface AdoptedRecord {
  readonly service: string;
  /** Dialects and interfaces in whose lists it stands. */
  readonly places: readonly string[];
  /** Wall time until which the providers themselves are shown as well. */
  readonly realUntil: number;
}

/** Lenient: former versions kept nothing but the name. */
function adoptedOf(value: Buffer): Omit<AdoptedRecord, "service"> {
  try {
    const { places, realUntil } = JSON.parse(value.toString("utf8")) as Partial<AdoptedRecord>;
    return {
      places: Array.isArray(places) ? places.filter((place) => typeof place === "string") : [],
      realUntil: typeof realUntil === "number" ? realUntil : 0,
    };
  } catch {
    return { places: [], realUntil: 0 };
  }
}

export class CrossingKeep {
  readonly #journal: Journal;
  readonly #log: Log;

  constructor(journal: Journal, log: Log) {
    this.#journal = journal;
    this.#log = log;
  }

  crossings(): readonly CrossingRecord[] {
    return this.#read("crossing/", (record: Partial<CrossingRecord>) => Array.isArray(record.doors));
  }

  put(record: CrossingRecord): void {
    this.#journal.put(`crossing/${record.name}`, JSON.stringify(record));
  }

  /** With all that belongs to it. */
  delete(name: string): void {
    this.#journal.delete(`crossing/${name}`);
    for (const [key] of [...this.#journal.entries()])
      if (key.startsWith(`carried/${name}/`) || key.startsWith(`adopted/${name}/`)) this.#journal.delete(key);
  }

  carried(name: string): readonly CarriedRecord[] {
    return this.#read(`carried/${name}/`, (record: Partial<CarriedRecord>) => record.instance?.service !== undefined);
  }

  putCarried(name: string, record: CarriedRecord): void {
    this.#journal.put(`carried/${name}/${instanceKeyText(record.instance)}`, JSON.stringify(record));
  }

  /** The services that a crossing shows by stand-ins. */
  adopted(name: string): readonly AdoptedRecord[] {
    const prefix = `adopted/${name}/`;
    return [...this.#journal.entries()].flatMap(([key, value]) =>
      key.startsWith(prefix) ? [{ ...adoptedOf(value), service: key.slice(prefix.length) }] : [],
    );
  }

  putAdopted(name: string, { service, ...more }: AdoptedRecord): void {
    this.#journal.put(`adopted/${name}/${service}`, JSON.stringify(more));
  }

  deleteAdopted(name: string, service: string): void {
    this.#journal.delete(`adopted/${name}/${service}`);
  }

  /** Rejects with `state.write-failed`. */
  flushed(): Promise<void> {
    return this.#journal.flushed();
  }

  #read<Kept>(prefix: string, isWhole: (record: Partial<Kept>) => boolean): readonly Kept[] {
    return [...this.#journal.entries()].flatMap(([key, value]) => {
      if (!key.startsWith(prefix)) return [];
      try {
        const record = JSON.parse(value.toString("utf8")) as Partial<Kept>;
        if (isWhole(record)) return [record as Kept];
      } catch {
        // As below: what cannot be read is said and left out.
      }
      this.#log.error({ key }, "an entry of a crossing on disk cannot be read and is left out");
      return [];
    });
  }
}
