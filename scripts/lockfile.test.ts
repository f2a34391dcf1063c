import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface LockedPackage {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

// npm leaves out what the registry in use does not serve, such as the builds of a tool for other systems, and `npm ci` then refuses the file.
test("the lock file holds every optional package, also those for other systems", () => {
  const text = readFileSync(new URL("../package-lock.json", import.meta.url), "utf8");
  const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, LockedPackage>> };
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const found = [`${path}/node_modules/${name}`, `node_modules/${name}`].some((place) => place in packages);
      assert.ok(found, `${name} of ${path} is missing; add it with its version, cpu and os`);
    }
  }
});
