/**
 * Operational errors. Callers branch on `code`, never on the text. A message says what is wrong, where, and how to mend it.
 * Codes are `area.reason` in lower case: `config.invalid`, `upstream.reset`, `frame.malformed`, `registry.superseded`.
 */
export class MeshError extends Error {
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, details: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = "MeshError";
    this.code = code;
    this.details = details;
  }
}

/** True when `error` is a MeshError, of this code if one is given. */
export function isMeshError(error: unknown, code?: string): error is MeshError {
  return error instanceof MeshError && (code === undefined || error.code === code);
}

/** The text of anything thrown, for a log line or a reply. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
