/**
 * What a registration tells the callers of a provider that changes how they call it. Two providers that say the same in this are one to
 * their callers, whatever else (who wrote it, when, in which version) stands in their registrations.
 */
import { parseProviderUrl, registrationUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import type { Registration } from "@dualmesh/model/instance";

export interface Terms {
  /** Those that a caller may choose. */
  readonly serializations: ReadonlySet<string>;
  /** Undefined when the registration names none: any may be called. */
  readonly methods: ReadonlySet<string> | undefined;
  /** Timeouts, retries and the like, in one order. */
  readonly rest: string;
}

/** What every caller can speak: of a list of preferences nothing behind it is ever chosen. */
const spokenByAll = "hessian2";
/** Parameters that a caller takes from the provider, for a service or (`METHOD.timeout`) for one method. */
const taken = /^(?:.+\.)?(?:timeout|retries|token)$/;
const silent: Terms = { serializations: new Set([spokenByAll]), methods: undefined, rest: "" };

/** Sets arrive whole, and most of their instances are those of the set before. */
const known = new WeakMap<Registration, Terms>();

export function termsOf(registration: Registration): Terms {
  let terms = known.get(registration);
  if (terms === undefined) {
    terms = read(registration.text);
    known.set(registration, terms);
  }
  return terms;
}

/** True when a caller that goes by `offered` is understood by a provider that says `said`. */
export function cover(offered: Terms, said: Terms): boolean {
  return (
    offered.rest === said.rest &&
    isWithin(offered.serializations, said.serializations) &&
    (offered.methods === undefined || said.methods === undefined || isWithin(said.methods, offered.methods))
  );
}

/** True when `terms` name every method that `others` do, and more. */
export function offerMore(terms: Terms, others: Terms): boolean {
  if (terms.methods === undefined || others.methods === undefined) return false;
  return terms.methods.size > others.methods.size && isWithin(others.methods, terms.methods);
}

/** True when `all` has everything that `some` has. */
export function isWithin(some: ReadonlySet<string>, all: ReadonlySet<string>): boolean {
  for (const one of some) if (!all.has(one)) return false;
  return true;
}

function read(text: string): Terms {
  const url = registrationUrl(text);
  const parameters = url === undefined ? undefined : parseProviderUrl(url)?.parameters;
  if (parameters === undefined) return silent;
  const methods = new Set((parameters.get("methods") ?? "").split(",").filter((name) => name !== ""));
  const rest = [...parameters].filter(([name]) => taken.test(name)).map(([name, value]) => `${name}=${value}`);
  return {
    serializations: serializationsOf(parameters),
    methods: methods.size === 0 || methods.has("*") ? undefined : methods,
    rest: rest.sort().join("&"),
  };
}

function serializationsOf(parameters: ReadonlyMap<string, string>): ReadonlySet<string> {
  const names = new Set<string>();
  const only = parameters.get("serialization") ?? "";
  if (only !== "") names.add(only);
  for (const preferred of (parameters.get("prefer.serialization") ?? "").split(/,|%2C/i)) {
    if (preferred !== "") names.add(preferred.trim());
    if (preferred.trim() === spokenByAll) break;
  }
  if (names.size === 0) names.add(spokenByAll);
  return names;
}
