/**
 * Lines that a peer can cause as often as it likes. The first of a kind is said at once; those that follow are counted, and once a
 * period one line says how many there were, with the fields of the newest. So nobody fills a disk from outside, and nothing that happens is
 * left unsaid.
 */
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";

type Level = "info" | "warn" | "error";

export interface ThrottledLogOptions {
  readonly log: Log;
  readonly clock: Clock;
  /** Between two lines about the same, in milliseconds. */
  readonly periodMs?: number;
  /** Of how many peers and reasons is known what was said; what comes beyond is counted together, by its text. */
  readonly keys?: number;
}

/** What was said a short while ago, and what has not been said since. */
interface Told {
  unsaid: number;
  level: Level;
  fields: object;
}

const defaultPeriodMs = 60_000;
const defaultKeys = 1_000;

export class ThrottledLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #periodMs: number;
  readonly #keys: number;
  readonly #told = new Map<string, Told>();

  constructor({ log, clock, periodMs = defaultPeriodMs, keys = defaultKeys }: ThrottledLogOptions) {
    this.#log = log;
    this.#clock = clock;
    this.#periodMs = periodMs;
    this.#keys = keys;
  }

  /** `who` is whose doing it is (a session, a host) and a class of reason where one text has several; the text must be a constant. */
  info(who: string, fields: object, text: string): void {
    this.#say("info", who, fields, text);
  }

  warn(who: string, fields: object, text: string): void {
    this.#say("warn", who, fields, text);
  }

  error(who: string, fields: object, text: string): void {
    this.#say("error", who, fields, text);
  }

  #say(level: Level, who: string, fields: object, text: string): void {
    const own = `${text}\0${who}`;
    const key = this.#told.has(own) || this.#told.size < this.#keys ? own : text;
    const told = this.#told.get(key);
    if (told !== undefined) {
      told.unsaid += 1;
      told.fields = fields;
      told.level = level;
      return;
    }
    this.#told.set(key, { unsaid: 0, level, fields });
    this.#log[level](fields, text);
    this.#clock.after(this.#periodMs, () => this.#sayRest(key, text));
  }

  #sayRest(key: string, text: string): void {
    const told = this.#told.get(key);
    if (told === undefined || told.unsaid === 0) {
      this.#told.delete(key);
      return;
    }
    this.#log[told.level]({ ...told.fields, times: told.unsaid }, text);
    told.unsaid = 0;
    this.#clock.after(this.#periodMs, () => this.#sayRest(key, text));
  }
}

/** The host of `address:port`: a peer that comes back from another port is the same. */
export function hostOf(remote: string): string {
  const colon = remote.lastIndexOf(":");
  return colon < 0 ? remote : remote.slice(0, colon);
}
