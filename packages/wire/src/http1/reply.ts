/** Why this exists: answers that the proxy gives itself. */
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

export function plainAnswer(_answer: PlainAnswer): Buffer {
  throw new Error("not built yet");
}

/** `HTTP/1.1 100 Continue`, when the proxy itself must say so. */
export const continueAnswer: Buffer = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");
