/** The checks of `npm run check` can fail: each is given a planted violation, in a copy that has the real configuration. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";

const root = join(import.meta.dirname, "..", "..", "..");
let copy = "";

before(() => {
  copy = realpathSync(mkdtempSync(join(tmpdir(), "boundaries-")));
  for (const name of ["package.json", "tsconfig.json", "knip.json", ".dependency-cruiser.cjs"])
    cpSync(join(root, name), join(copy, name));
  mkdirSync(join(copy, "node_modules", "@dualmesh"), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (name !== "@dualmesh") symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name));
  }
  for (const name of readdirSync(join(root, "packages"))) {
    plant(
      `packages/${name}/package.json`,
      `{"name":"@dualmesh/${name}","type":"module","exports":{"./*":"./src/*.ts"}}`,
    );
    symlinkSync(join(copy, "packages", name), join(copy, "node_modules", "@dualmesh", name));
    plant(`packages/${name}/src/sound.ts`, "export const sound = 1;\n");
    plant(
      `packages/${name}/src/sound.test.ts`,
      'import { sound } from "./sound.ts";\nif (sound !== 1) throw new Error();\n',
    );
  }
});
after(() => rmSync(copy, { recursive: true }));

function plant(path: string, text: string): void {
  const file = join(copy, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function run(folder: string, tool: string, ...words: string[]): { status: number | null; output: string } {
  // The list of all modules is more than the megabyte that is kept by default.
  const options = { cwd: folder, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 } as const;
  const result = spawnSync(join(root, "node_modules", ".bin", tool), words, options);
  return { status: result.status, output: result.stdout + result.stderr };
}

const cruise = (folder: string): { status: number | null; output: string } =>
  run(folder, "depcruise", "--config", ".dependency-cruiser.cjs", "packages");

test("the boundary check sees the modules of the repository", () => {
  const { output } = run(root, "depcruise", "--config", ".dependency-cruiser.cjs", "--output-type", "json", "packages");
  const { summary, modules } = JSON.parse(output) as {
    summary: { totalCruised: number; totalDependenciesCruised: number };
    modules: { source: string; dependencies: { resolved: string }[] }[];
  };
  assert.ok(summary.totalCruised > 150, `${summary.totalCruised} modules`);
  assert.ok(summary.totalDependenciesCruised > 500, `${summary.totalDependenciesCruised} dependencies`);
  const main = modules.find(({ source }) => source === "packages/cli/src/run/registry.ts");
  const crossing = main?.dependencies.map(({ resolved }) => resolved);
  assert.ok(crossing?.includes("packages/registry/src/config.ts"), `imports across packages are followed: ${crossing}`);
});

test("a copy without a violation passes", () => {
  const { status, output } = cruise(copy);
  assert.equal(status, 0, output);
});

test("every arrow that points up, and every forbidden import, fails the check", () => {
  const violations: readonly (readonly [string, string, string])[] = [
    ["packages/base/src", 'import "@dualmesh/model/sound";', "base-points-down-only"],
    ["packages/base/src", 'import type {} from "@dualmesh/sidecar/sound";', "base-points-down-only"],
    ["packages/model/src", 'import "@dualmesh/base/sound";', "model-points-down-only"],
    ["packages/wire/src", 'import "../../model/src/sound.ts";', "wire-points-down-only"],
    ["packages/registry/src", 'import "@dualmesh/sidecar/sound";', "registry-points-down-only"],
    ["packages/sidecar/src", 'import "@dualmesh/registry/sound";', "sidecar-points-down-only"],
    ["packages/sidecar/src", 'await import("@dualmesh/cli/sound");', "sidecar-points-down-only"],
    ["packages/sidecar/src/request", 'import "node:net";', "one-transport"],
    ["packages/model/src", 'import "node:fs";', "model-runs-in-a-browser"],
    ["packages/wire/src", 'import "./missing.ts";', "resolvable"],
    ["packages/wire/src", 'import "./circle.ts";', "no-circles"],
  ];
  const planted = violations.map(([folder, text, rule], index) => {
    const path = `${folder}/planted${index}.ts`;
    plant(path, `${text}\n`);
    return { path, told: `${rule}: ${rule === "no-circles" ? folder : path}` }; // a circle begins anywhere
  });
  plant("packages/wire/src/circle.ts", `import "./planted${violations.length - 1}.ts";\n`);
  const { status, output } = cruise(copy);
  for (const { path } of planted) rmSync(join(copy, path));
  rmSync(join(copy, "packages/wire/src/circle.ts"));
  assert.notEqual(status, 0);
  for (const { told } of planted) assert.ok(output.includes(told), `"${told}" is not in:\n${output}`);
});

test("an export, a file and a dependency that nobody uses are found", () => {
  plant("packages/base/src/planted.ts", "export const usedByNobody = 1;\nexport interface KnownToNobody {}\n");
  plant("scripts/nested/orphan.ts", "console.log(1);\n");
  plant(
    "packages/wire/package.json",
    '{"name":"@dualmesh/wire","type":"module","exports":{"./*":"./src/*.ts"},"dependencies":{"zod":"*"}}',
  );
  const { status, output } = run(copy, "knip", "--no-progress");
  assert.notEqual(status, 0);
  for (const wanted of ["usedByNobody", "KnownToNobody", "orphan.ts", "zod"])
    assert.ok(output.includes(wanted), `${wanted}:\n${output}`);
});
