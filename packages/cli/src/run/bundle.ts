/**
 * How the sources run as fast as they can. A bundle (`npm run build`) starts in a third of the time and a third of the memory, so a
 * supervisor that was started from the sources becomes the bundle where there is one that is not older than they are. Where there is
 * none, the children keep their code as Node compiled it.
 */
import { accessSync, constants, mkdirSync } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** False in the bundle, whose files end otherwise. */
const fromSources = import.meta.url.endsWith(".ts");
const root = fileURLToPath(new URL("../../../../", import.meta.url));
const firstLineBytes = 1_024;

export interface Bundle {
  readonly program: string;
  /** What Node is to be started with, as the bundle's first line has it. */
  readonly flags: readonly string[];
}

/** Goes on as the bundle, in this same process and with the same words, when this is the sources and the bundle is fresh. */
export async function becomeBundle(): Promise<void> {
  const bundle = fromSources && process.execve !== undefined ? await freshBundle(root) : undefined;
  if (bundle === undefined) return;
  const { program, flags } = bundle;
  // Who started this so that no signal opens a debugger means the bundle as well.
  const kept = process.execArgv.filter((flag) => flag === "--disable-sigusr1");
  const words = [process.execPath, ...flags, ...kept, program, ...process.argv.slice(2)];
  process.execve?.(process.execPath, words, process.env);
}

/**
 * Where a child that runs from the sources keeps its code as Node compiled it: with them, else in the state directory of a part whose user may not
 * write there, which nobody else can write either. Nothing for the bundle, which gains nothing by it.
 */
export function cacheEnvironment(state: string | undefined): Readonly<Record<string, string>> {
  if (!fromSources) return {};
  const beside = join(root, "node_modules", ".cache", "dualmesh");
  if (mayWrite(beside, 0o777)) return { NODE_COMPILE_CACHE: beside };
  // Made here, since Node would make it for all to read, which the child then refuses.
  return state !== undefined && mayWrite(state, 0o700) ? { NODE_COMPILE_CACHE: join(state, "code") } : {};
}

function mayWrite(directory: string, mode: number): boolean {
  try {
    mkdirSync(directory, { recursive: true, mode });
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false; // it is another user's
  }
}

/** The bundle of the repository at `root`; undefined when there is none, or when a source is newer. */
export async function freshBundle(at: string): Promise<Bundle | undefined> {
  const program = join(at, "dist", "dualmesh.mjs");
  try {
    const { mtimeMs } = await stat(program);
    if ((await newestSource(at)) > mtimeMs) return undefined;
    return { program, flags: flagsOf(await firstLine(program)) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** When the last of the sources, or of what says which libraries there are, was changed. */
async function newestSource(at: string): Promise<number> {
  const packages = await readdir(join(at, "packages"));
  const lists = await Promise.all(
    packages.map(async (name) => {
      const folder = join(at, "packages", name, "src");
      const files = await readdir(folder, { recursive: true });
      return files.filter((file) => !file.endsWith(".test.ts")).map((file) => join(folder, file));
    }),
  );
  const paths = [join(at, "package-lock.json"), join(at, "scripts", "build.ts"), ...lists.flat()];
  const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs));
  return Math.max(...times);
}

async function firstLine(path: string): Promise<string> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(firstLineBytes), 0, firstLineBytes, 0);
  return buffer.toString("utf8", 0, bytesRead).split("\n", 1)[0] ?? "";
}

function flagsOf(line: string): readonly string[] {
  const [, flags = ""] = /^#!\S+ -S node (.*)$/.exec(line) ?? [];
  return flags.split(" ").filter((flag) => flag !== "");
}
