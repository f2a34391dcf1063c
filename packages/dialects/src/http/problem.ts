/** Answers of the HTTP door: JSON, and what went wrong as problem details (RFC 9457) that say what, where and how to mend it. */
import type { HttpAnswer } from "@dualmesh/base/http/service";

export interface ProblemFacts {
  readonly status: number;
  /** The end of `type`, the same for every problem of a kind: what a program branches on. */
  readonly kind: string;
  readonly title: string;
  readonly detail: string;
  /** The key of the body, the query or the header that is wrong. */
  readonly key?: string;
  readonly retryAfterSeconds?: number;
  /** For 405: the methods that the path takes. */
  readonly allow?: string;
}

/** Why a request is refused. */
export class Problem extends Error {
  readonly facts: ProblemFacts;

  constructor(facts: ProblemFacts) {
    super(facts.detail);
    this.name = "Problem";
    this.facts = facts;
  }
}

export const problemTypePrefix = "urn:dualmesh:problem:";

/** A field of a request is missing or wrong. */
export function invalid(key: string, detail: string): Problem {
  return new Problem({ status: 400, kind: "invalid", title: "The request cannot be understood", detail, key });
}

export function notFound(what: string): Problem {
  return new Problem({ status: 404, kind: "not-found", title: "Not found", detail: what });
}

/** A limit is reached, or something that is needed does not answer: the same request may succeed later. */
export function busy(kind: string, detail: string, retryAfterSeconds = 2): Problem {
  return new Problem({ status: 503, kind, title: "Not possible now", detail, retryAfterSeconds });
}

export function problemBody(facts: ProblemFacts): object {
  const { status, kind, title, detail, key } = facts;
  return { type: problemTypePrefix + kind, title, status, detail, ...(key === undefined ? {} : { key }) };
}

export function problemAnswer(facts: ProblemFacts): HttpAnswer {
  return {
    status: facts.status,
    headers: {
      ...noStore,
      "content-type": "application/problem+json",
      ...(facts.retryAfterSeconds === undefined ? {} : { "retry-after": String(facts.retryAfterSeconds) }),
      ...(facts.allow === undefined ? {} : { allow: facts.allow }),
    },
    body: `${JSON.stringify(problemBody(facts))}\n`,
  };
}

export function jsonAnswer(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): HttpAnswer {
  return {
    status,
    headers: { ...noStore, "content-type": "application/json", ...headers },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** What is true now is not true later. */
const noStore = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
