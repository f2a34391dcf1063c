/**
 * `npm run build`: the product as one bundle, `dist/dualmesh.mjs` with a file for each command that is loaded only when it runs. Node strips types
 * from sources at every start, which costs 35 MB and five times the start-up time; the bundle needs neither. Three things of the
 * libraries are left out, since each costs memory that nothing here uses (docs/performance.md has the figures).
 */
import { readFile, rm, writeFile } from "node:fs/promises";
import { build, type Plugin } from "esbuild";

const root = new URL("..", import.meta.url).pathname;

/**
 * An `import` of one of Node's own modules asks it for everything it exports, also what it makes on first use only: `node:http` its
 * WebSocket and behind that a whole HTTP client (undici, 13 MB), `node:crypto` all of WebCrypto. What is asked for by name costs
 * nothing of this.
 */
const builtinsByName: Plugin = {
  name: "builtins-by-name",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "import-statement" ? { path, namespace: "by-name" } : undefined,
    );
    onLoad({ filter: /./, namespace: "by-name" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/** zod speaks 50 languages; the product speaks its own (packages/base/src/config/explain.ts). */
const oneLanguage = replaced(/\/locales\/index\.js$/, "export {};");

/** pino can write from a thread, which is never asked for; what it loads for that is left out. */
const noLogThread = replaced(
  /^thread-stream$/,
  'module.exports = class { constructor() { throw new Error("the log is written by the process itself"); } };',
);

function replaced(filter: RegExp, contents: string): Plugin {
  const namespace = `instead-of-${filter.source}`;
  return {
    name: namespace,
    setup({ onResolve, onLoad }) {
      onResolve({ filter }, ({ path }) => ({ path, namespace }));
      onLoad({ filter: /./, namespace }, () => ({ contents }));
    },
  };
}

await rm(`${root}dist`, { recursive: true, force: true });
await build({
  entryPoints: { dualmesh: `${root}packages/cli/src/main.ts` },
  outdir: `${root}dist`,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  splitting: true,
  platform: "node",
  format: "esm",
  target: "node24",
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: false,
  legalComments: "none",
  plugins: [builtinsByName, oneLanguage, noLogThread],
  // CommonJS packages in the bundle ask for Node's own modules by `require`.
  banner: {
    js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);',
  },
  logLevel: "info",
});

/**
 * The program is started with room for 1 MB of new objects: a proxy's objects die within the millisecond, and the 16 MB that Node would let
 * them fill cost 11 MB of memory under load and save 2 % of CPU. One helper thread instead of four, and collections by the process itself,
 * are 2 MB less and cost nothing that can be measured. V8 takes these before any script runs, so that they stand here.
 */
const flags = "--max-semi-space-size=1 --optimize-for-size --single-threaded-gc --v8-pool-size=1";
const program = `${root}dist/dualmesh.mjs`;
const text = await readFile(program, "utf8");
await writeFile(program, text.replace(/^#!.*/, `#!/usr/bin/env -S node ${flags}`));
