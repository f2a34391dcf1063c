/** The wish to end: a signal, or the death of the supervisor. */

/** Set for a process that a supervisor started, which then alone passes on signals. */
export const supervisedVariable = "DUALMESH_SUPERVISED";

/**
 * Resolves with the first wish to end. The second ends the process at once and from outside, since `process.exit` may stand still
 * (quiet-compilers.ts): by that same signal, which a shell shows as 128 + its number, or by SIGKILL. A supervised process
 * does not listen to SIGINT: a terminal sends Ctrl-C to it and to its supervisor, who passes it on as SIGTERM.
 */
export function nextSignal(): Promise<string> {
  const supervised = process.env[supervisedVariable] === "1" && process.connected;
  return new Promise((resolve) => {
    let ending = false;
    const wish = (reason: string, signal: NodeJS.Signals): void => {
      if (ending) {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
      ending = true;
      resolve(reason);
    };
    process.on("SIGTERM", () => wish("SIGTERM", "SIGTERM"));
    process.on("SIGINT", () => {
      if (!supervised) wish("SIGINT", "SIGINT");
    });
    if (supervised) process.on("disconnect", () => wish("the supervisor is gone", "SIGKILL"));
  });
}
