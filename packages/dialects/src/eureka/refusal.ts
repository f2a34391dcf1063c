/** Why a request at the Eureka door is refused: a status that Eureka's clients understand, and a text for who reads their logs. */
import type { HttpAnswer } from "@dualmesh/base/http/service";

export class Refusal extends Error {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;

  /** `message` says what, where and how to mend it. */
  constructor(status: number, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export function refusalAnswer({ status, message, retryAfterSeconds }: Refusal): HttpAnswer {
  const retry = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...retry }, body: `${message}\n` };
}

/** Foreign text in a message: quoted, and of a length that can be read. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
