/** What ships is what is measured: the bundle, built anew when a source is newer than it. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "@dualmesh/base/errors";
import { say } from "./process.ts";

const root = new URL("../..", import.meta.url).pathname;
const bundle = join(root, "dist/dualmesh.mjs");

/** The words that start the bundle as its own first line has it, with the Node that runs here; throws `bench.start` when it cannot be built. */
export function productCommand(): readonly [string, ...string[]] {
  const built = statSync(bundle, { throwIfNoEntry: false })?.mtimeMs;
  if (built === undefined || built < newestSource()) {
    say("building the bundle (npm run build)");
    const { status, stderr } = spawnSync(process.execPath, [join(root, "scripts/build.ts")], { encoding: "utf8" });
    if (status !== 0) throw new MeshError("bench.start", `the bundle cannot be built: ${stderr.slice(0, 2_000)}`);
  }
  return commandOf(bundle);
}

/** The same for a bundle wherever it is. */
export function commandOf(program: string): readonly [string, ...string[]] {
  const [, flags = ""] = /^#!.* node (--.*)/.exec(readFileSync(program, "utf8").slice(0, 200)) ?? [];
  return [process.execPath, ...flags.split(" ").filter((flag) => flag !== ""), program];
}

/** When a source of the product, or what builds it, was last changed. */
function newestSource(): number {
  const files = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.includes("node_modules"))
    .map((name) => join("packages", name));
  return Math.max(
    ...["scripts/build.ts", "package-lock.json", ...files].map(
      (file) => statSync(join(root, file), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
}
