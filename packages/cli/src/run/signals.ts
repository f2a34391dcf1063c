/** The wish to end: a signal, or the death of the supervisor. */

/** Set for a process that a supervisor started, which then alone passes on signals. */
export const supervisedVariable = "DUALMESH_SUPERVISED";

/**
 * Resolves with the first wish to end. The second ends the process at once, with 128 + the number of the signal. A supervised process
 * does not listen to SIGINT: a terminal sends Ctrl-C to it and to its supervisor, who passes it on as SIGTERM.
 */
export function nextSignal(): Promise<string> {
  const supervised = process.env[supervisedVariable] === "1" && process.connected;
  return new Promise((resolve) => {
    let ending = false;
    const wish = (reason: string, code: number): void => {
      if (ending) process.exit(code);
      ending = true;
      resolve(reason);
    };
    process.on("SIGTERM", () => wish("SIGTERM", 143));
    process.on("SIGINT", () => {
      if (!supervised) wish("SIGINT", 130);
    });
    if (supervised) process.on("disconnect", () => wish("the supervisor is gone", 1));
  });
}
