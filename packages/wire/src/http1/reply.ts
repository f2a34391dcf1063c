/** Why this exists: answers that the proxy gives itself. */
import { STATUS_CODES } from "node:http";
import { checkField } from "./writer.ts";

export interface PlainAnswer {
  readonly status: number;
  /** One line of text, the body with a line end added; anything that is not printable ASCII becomes `?`. */
  readonly text: string;
  /** Whole fields to add, as pairs; validated as `fieldEdit` does. */
  readonly fields?: readonly (readonly [string, string])[];
  readonly close: boolean;
  /** The answer to HEAD has the length and no body. */
  readonly head?: boolean;
}

export function plainAnswer(answer: PlainAnswer): Buffer {
  if (!(answer.status >= 200 && answer.status <= 599)) throw new RangeError(`no answer has status ${answer.status}`);
  // The text may hold what a peer sent; as plain printable text it can do no harm where it is shown.
  const body = `${answer.text.replace(/[^\x20-\x7e]/g, "?")}\n`;
  const lines = [
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ""}`,
    "content-type: text/plain; charset=utf-8",
    "x-content-type-options: nosniff",
    `content-length: ${body.length}`,
  ];
  for (const [name, value] of answer.fields ?? []) {
    checkField(name, value);
    lines.push(`${name}: ${value}`);
  }
  // An HTTP/1.0 client that wants to go on is told so; to one of 1.1 it says nothing new.
  lines.push(answer.close ? "connection: close" : "connection: keep-alive", "", "");
  return Buffer.from(lines.join("\r\n") + (answer.head === true ? "" : body), "latin1");
}

/** `HTTP/1.1 100 Continue`, when the proxy itself must say so. */
export const continueAnswer: Buffer = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");
