/** The shape of a logger, as pino has it: constants for the text, what varies in fields. `error` means that someone must act. */
export interface Log {
  debug(fields: object, text: string): void;
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
  child(fields: Record<string, unknown>): Log;
}

/** Says nothing: for tests and for library use. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};
