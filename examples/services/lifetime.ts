/**
 * How a service ends. SIGTERM asks for it; the end of standard input means that whoever started the service is gone, so that nothing
 * is left behind even when that one was killed. A registry that does not answer cannot keep the service: it ends after a while anyway.
 */
const longestMs = 10_000;
let ending = false;
/** Until the service runs there is nothing to end in order. */
let endInOrder = async (): Promise<void> => {};

/** From now on, `end` is how this service ends. */
export function onEnd(end: () => Promise<void>): void {
  endInOrder = end;
}

function begin(): void {
  if (ending) return;
  ending = true;
  setTimeout(() => process.exit(1), longestMs).unref();
  endInOrder().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
}

process.on("SIGTERM", begin);
process.on("SIGINT", begin);
process.stdin.on("end", begin);
process.stdin.on("error", begin);
process.stdin.resume();

/** Console lines of a library go to standard error: standard output belongs to the reports. */
export const quietLogger = {
  debug(): void {},
  info(): void {},
  warn: (...words: unknown[]): void => console.error(...words),
  error: (...words: unknown[]): void => console.error(...words),
};
