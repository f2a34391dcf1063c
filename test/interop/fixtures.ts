/**
 * The applications of the matrix: whether they can run here, how they are built, and the command line of each. A build is kept
 * with the hash of its sources, so that it is made once.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Fixture, Row } from "./plan.ts";

const root = join(import.meta.dirname, "fixtures");
const modules = ["zookeeper", "dubbo27", "dubbo3", "sofarpc", "spring"] as const;
export type JavaFixture = (typeof modules)[number];

const stamp = join(root, "target", "sources.sha256");
const buildLimitMs = 600_000;
const goProgram = join(root, "go", "target", "app");
/** What Spring needs for the largest body; what the RPC SDKs are content with. */
const heaps: Readonly<Record<JavaFixture, string>> = {
  zookeeper: "-Xmx256m",
  dubbo27: "-Xmx256m",
  dubbo3: "-Xmx256m",
  sofarpc: "-Xmx256m",
  spring: "-Xmx160m",
};

/** Builds what must be built. Returns why the fixtures cannot be had, or undefined. */
export function buildFixtures(): string | undefined {
  if (!runs("java", "-version")) return "no Java on this machine";
  const sources = hashOfSources();
  const built = modules.every((module) => existsSync(join(root, module, "target", "app.jar")));
  if (built && existsSync(stamp) && readFileSync(stamp, "utf8") === sources) return undefined;
  if (!runs("mvn", "-version")) return "the fixtures are not built and there is no Maven on this machine";
  const maven = spawnSync("mvn", ["--batch-mode", "--quiet", "--threads", "2", "package"], {
    cwd: root,
    encoding: "utf8",
    timeout: buildLimitMs,
  });
  if (maven.status !== 0)
    throw new Error(`the fixtures do not build: ${maven.error?.message ?? ""}\n${maven.stdout}\n${maven.stderr}`);
  mkdirSync(join(root, "target"), { recursive: true });
  writeFileSync(stamp, sources);
  return undefined;
}

/** Why the programs on npm's `sofa-rpc-node` cannot run, or undefined. */
export function missingNodeSdk(): string | undefined {
  try {
    createRequire(import.meta.url).resolve("sofa-rpc-node");
    return undefined;
  } catch {
    return "npm's sofa-rpc-node is not installed";
  }
}

/** Why a row's programs cannot run here, or undefined. Go's are built, once. */
export function missingLanguage({ consumer, provider }: Pick<Row, "consumer" | "provider">): string | undefined {
  for (const { fixture } of [consumer, provider]) {
    const missing = fixture === "python" ? missingPython() : fixture === "go" ? missingGo() : undefined;
    if (missing !== undefined) return missing;
  }
  return undefined;
}

const missingPython = once(() => (runs("python3", "--version") ? undefined : "no Python on this machine"));

const missingGo = once(() => {
  if (!runs("go", "version")) return "no Go on this machine";
  // The compiler keeps its own account of what has changed.
  const built = spawnSync("go", ["build", "-o", goProgram, "."], {
    cwd: join(root, "go"),
    encoding: "utf8",
    timeout: buildLimitMs,
    env: { ...process.env, CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOFLAGS: "-mod=mod" },
  });
  if (built.status !== 0)
    throw new Error(`the Go programs do not build: ${built.error?.message ?? ""}\n${built.stderr}`);
  return undefined;
});

function once<Value>(find: () => Value): () => Value {
  let found: { readonly value: Value } | undefined;
  return () => {
    found ??= { value: find() };
    return found.value;
  };
}

export interface CommandLine {
  readonly command: string;
  readonly words: readonly string[];
}

/** A Java program of a fixture, told `properties`; `home` takes what the SDKs write into a home directory. */
export function javaCommand(
  fixture: JavaFixture,
  main: string,
  home: string,
  properties: Readonly<Record<string, string>>,
): CommandLine {
  const opened = ["java.lang", "java.util", "java.math"].flatMap((name) => [
    "--add-opens",
    `java.base/${name}=ALL-UNNAMED`,
  ]);
  const target = join(root, fixture, "target");
  return {
    command: "java",
    words: [
      ...opened,
      heaps[fixture],
      "-XX:+UseSerialGC",
      "-XX:TieredStopAtLevel=1",
      "-Xshare:auto",
      "-Djava.net.preferIPv4Stack=true",
      `-Duser.home=${home}`,
      // SOFA-RPC carries no baggage unless it is told to.
      "-Dinvoke.baggage.enable=true",
      ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
      "-cp",
      `${join(target, "app.jar")}:${join(target, "lib")}/*`,
      main,
    ],
  };
}

type Role = "provider" | "consumer";

/** A program of a fixture in another language, told `words` as `--NAME=VALUE`. */
export function programCommand(
  fixture: Exclude<Fixture, JavaFixture>,
  role: Role,
  words: Readonly<Record<string, string>>,
): CommandLine {
  const told = Object.entries(words).map(([name, value]) => `--${name}=${value}`);
  if (fixture === "go") return { command: goProgram, words: [role, ...told] };
  if (fixture === "python") return { command: "python3", words: ["-B", join(root, fixture, `${role}.py`), ...told] };
  return { command: process.execPath, words: [join(root, fixture, `${role}.ts`), ...told] };
}

/** Whether a fixture is one of Maven's modules. */
export function isJava(fixture: Fixture): fixture is Fixture & JavaFixture {
  return (modules as readonly string[]).includes(fixture);
}

function runs(command: string, word: string): boolean {
  return spawnSync(command, [word], { stdio: "ignore", timeout: 30_000 }).status === 0;
}

function hashOfSources(): string {
  const hash = createHash("sha256");
  for (const folder of ["contract", "dubbo", ...modules, "."]) {
    const entries = readdirSync(join(root, folder), { recursive: folder !== ".", withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() && /\.(java|xml|properties)$/.test(entry.name));
    for (const file of files.map((entry) => join(entry.parentPath, entry.name)).sort()) {
      if (!file.includes(`${join(folder, "target")}`)) hash.update(file.slice(root.length)).update(readFileSync(file));
    }
  }
  return hash.digest("hex");
}
