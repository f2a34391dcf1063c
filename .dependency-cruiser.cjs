// The arrows of ARCHITECTURE.md, as a check. `packages/base/src/boundaries.test.ts` plants a violation to prove that it can fail.
const allowed = {
  base: [],
  model: [],
  wire: ["base"],
  dialects: ["base", "model", "wire"],
  client: ["base", "model", "wire"],
  registry: ["base", "model", "wire", "dialects"],
  sidecar: ["base", "model", "wire", "dialects", "client"],
  fleet: ["base", "model", "wire", "dialects", "client"],
  cli: ["base", "model", "wire", "dialects", "client", "registry", "sidecar", "fleet"],
};

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...Object.entries(allowed).map(([name, below]) => ({
      name: `${name}-points-down-only`,
      comment: `packages/${name} may import ${below.length === 0 ? "no other package" : below.join(", ")}`,
      severity: "error",
      from: { path: `^packages/${name}/src/` },
      to: { path: "^packages/", pathNot: `^packages/(${[name, ...below].join("|")})/` },
    })),
    {
      name: "one-transport",
      comment: "in the sidecar only transport/ touches a socket",
      severity: "error",
      from: {
        path: "^packages/sidecar/src/",
        pathNot: "^packages/sidecar/src/(transport/|.*(\\.test|[/-]testing)\\.ts$)",
      },
      to: { path: "^(node:)?(net|tls|dgram)$", dependencyTypes: ["core"] },
    },
    {
      name: "model-runs-in-a-browser",
      comment: "packages/model uses nothing of Node",
      severity: "error",
      from: { path: "^packages/model/src/", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "no-circles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
      extensions: [".ts", ".js"],
    },
  },
};
