/** The log of a process, on standard error: one JSON object a line, or lines for people on a terminal. */
import { isatty } from "node:tty";
import { type DestinationStream, pino } from "pino";
import type { Log, LogLevel } from "./log.ts";
import { openLineSink } from "./log-sink.ts";

export interface LogOptions {
  readonly level: LogLevel;
  /** Lines for people; by default when standard error is a terminal. */
  readonly pretty?: boolean;
}

const standardError = 2;
/** Never in a log, whatever object is given. */
const secretFields = ["token", "credentials", "password", "secret"];

/** A log to standard error. Lines are written in the background, the last ones when the process exits. */
export async function openLog({ level, pretty = isatty(standardError) }: LogOptions): Promise<Log> {
  const destination: DestinationStream = pretty ? await prettyStream() : openLineSink(standardError);
  const log: Log = pino(
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

/** Loaded on a terminal only. */
async function prettyStream(): Promise<DestinationStream> {
  const { default: pinoPretty } = await import("pino-pretty");
  return pinoPretty({
    destination: standardError,
    sync: true,
    colorize: isatty(standardError),
    translateTime: "SYS:HH:MM:ss.l",
    ignore: "pid,hostname",
    singleLine: true,
  });
}
