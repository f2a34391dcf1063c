/**
 * How a service ends. SIGTERM asks for it; the end of standard input means that whoever started the service is gone, so that nothing
 * is left behind even when that one was killed.
 */
export function onEnd(end: () => Promise<void>): void {
  let ending = false;
  const begin = (): void => {
    if (ending) return;
    ending = true;
    end().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", begin);
  process.on("SIGINT", begin);
  process.stdin.on("end", begin);
  process.stdin.on("error", begin);
  process.stdin.resume();
}

/** Console lines of a library go to standard error: standard output belongs to the reports. */
export const quietLogger = {
  debug(): void {},
  info(): void {},
  warn: (...words: unknown[]): void => console.error(...words),
  error: (...words: unknown[]): void => console.error(...words),
};
