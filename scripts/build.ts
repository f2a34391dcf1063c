/**
 * `npm run build`: the product as one bundle, `dist/dualmesh.mjs` with a file for each command that is loaded only when it runs. Node strips types
 * from sources at every start, which costs 35 MB and five times the start-up time; the bundle needs neither. What
 * libraries bring and nothing here uses is left out, since each costs memory (docs/performance.md has the figures).
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

/** `node:crypto` brings 2 MB. A sidecar asks it for one comparison, when a registry client comes back with its password. */
const cryptoOnFirstUse: Plugin = {
  name: "crypto-on-first-use",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:crypto$/ }, ({ path }) => ({ path, namespace: "on-first-use" }));
    onLoad({ filter: /./, namespace: "on-first-use" }, () => ({
      contents: ["randomBytes", "createHash", "timingSafeEqual"]
        .map((name) => `export const ${name} = (...all) => process.getBuiltinModule("node:crypto").${name}(...all);`)
        .join("\n"),
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

/** pino asks which thread it is on, and the stream below it checks an argument: both load a module of Node's for that. */
const mainThread = replaced(/^worker_threads$/, "module.exports = { isMainThread: true };");
const assertion = replaced(
  /^assert$/,
  "module.exports = (holds, message) => { if (!holds) throw new TypeError(message); };",
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
  plugins: [cryptoOnFirstUse, builtinsByName, oneLanguage, noLogThread, mainThread, assertion],
  // CommonJS packages in the bundle ask for Node's own modules by `require`.
  banner: {
    js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);',
  },
  logLevel: "info",
});

/**
 * V8 takes these before any script runs, so that they stand in the first line of the program, of which older kernels read 127 bytes. What
 * each is worth is in docs/performance.md: room for 1 MB of new objects, since a proxy's die within the millisecond and the 16 MB that Node
 * would let them fill are kept for ever; collections and compilations by the process itself, so that no thread has an allocator of its own.
 */
const flags = "--max-semi-space-size=1 --optimize-for-size --single-threaded --v8-pool-size=1";
const firstLine = `#!/usr/bin/env -S node ${flags}`;
if (firstLine.length > 127) throw new Error(`the first line has ${firstLine.length} bytes`);
const program = `${root}dist/dualmesh.mjs`;
const text = await readFile(program, "utf8");
await writeFile(program, text.replace(/^#!.*/, firstLine));
