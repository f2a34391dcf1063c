/**
 * The shape of a logger, as pino has it: constants for the text, what varies in fields. `error` means that someone must act.
 * `openLog` makes the real one, on standard error: one JSON object a line, or lines for people on a terminal.
 */
import { createRequire } from "node:module";
import { isatty } from "node:tty";
import type { DestinationStream, Logger } from "pino";
import type { PrettyOptions } from "pino-pretty";

export interface Log {
  debug(fields: object, text: string): void;
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
  child(fields: Record<string, unknown>): Log;
}

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogOptions {
  readonly level: LogLevel;
  /** Lines for people; by default when standard error is a terminal. */
  readonly pretty?: boolean;
}

const standardError = 2;
/** A reader that stands still must not stop the process: beyond this, lines are dropped. */
const maxWaitingBytes = 1024 * 1024;
/** Never in a log, whatever object is given. */
const secretFields = ["token", "credentials", "password", "secret"];

/** Says nothing: for tests and for library use. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

/** A log to standard error. Lines are written in the background, the last ones when the process exits. */
export function openLog({ level, pretty = isatty(standardError) }: LogOptions): Log {
  // Loaded here, since most of what imports this file needs the type only.
  const require = createRequire(import.meta.url);
  const pino = require("pino") as typeof import("pino").default;
  const destination: DestinationStream = pretty
    ? prettyStream(require("pino-pretty") as (options: PrettyOptions) => DestinationStream)
    : pino.destination({ dest: standardError, sync: false, maxLength: maxWaitingBytes });
  const log: Logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: "[redacted]" },
    },
    destination,
  );
  return log;
}

function prettyStream(pinoPretty: (options: PrettyOptions) => DestinationStream): DestinationStream {
  return pinoPretty({
    destination: standardError,
    sync: true,
    colorize: isatty(standardError),
    translateTime: "SYS:HH:MM:ss.l",
    ignore: "pid,hostname",
    singleLine: true,
  });
}
