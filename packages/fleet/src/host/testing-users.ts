/** Modules that run as others than root of the machine, with the capabilities that they are given and in a network namespace, for tests. */
import { execFile } from "node:child_process";
import { accessSync } from "node:fs";
import { promisify } from "node:util";
import { whyNoNamespaces } from "./testing.ts";

const run = promisify(execFile);
const linux = new URL("./linux.ts", import.meta.url).href;
/** Who runs them. */
export const uid = 4_110;

/** Runs a module as a user who is not root, in a namespace, with some capabilities, and gives the JSON that it prints. */
export function asSomebody(
  path: string,
  capabilities: readonly string[],
  program: string,
): Promise<Record<string, unknown>> {
  const rights = capabilities.map((name) => `+${name}`).join(",");
  const words = ["--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];
  if (rights !== "") words.push("--inh-caps", rights, "--ambient-caps", rights);
  return confined(path, words, program);
}

/** The same as root that can get no other capabilities than these, as in a container. */
export function asBoundedRoot(
  path: string,
  capabilities: readonly string[],
  program: string,
): Promise<Record<string, unknown>> {
  return confined(path, [`--bounding-set=-all,${capabilities.map((name) => `+${name}`).join(",")}`], program);
}

async function confined(path: string, words: readonly string[], program: string): Promise<Record<string, unknown>> {
  const imports = Object.entries({
    openLinux: linux,
    dropPrivileges: new URL("./users.ts", import.meta.url).href,
    statSync: "node:fs",
  }).map(([names, from]) => `import { ${names} } from ${JSON.stringify(from)};`);
  const node = [process.execPath, "--input-type=module", "-e", `${imports.join("\n")}\n${program}`];
  const { stdout } = await run("nsenter", [`--net=${path}`, "setpriv", ...words, ...node], { cwd: "/" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Of what a task in such a module rejects with. */
export const toldOf = `const told = async (task) => { try { return await task(); } catch (error) { return error.code + ": " + error.message; } };`;

/** Its files must be there for others than their owner; in the home of root they are not. */
export function whyNotOthers(): string | false {
  const missing = whyNoNamespaces("tcpdump");
  if (missing !== false) return missing;
  process.seteuid?.(uid);
  try {
    accessSync(new URL(linux));
    accessSync(process.execPath);
    return false;
  } catch {
    return "needs a checkout that other users may read";
  } finally {
    process.seteuid?.(0);
  }
}
