/**
 * `npm run build [-- DIRECTORY]`: the product as one bundle, `dist/dualmesh.mjs` with a file for each command that is loaded only when it runs. Node strips
 * types from sources at every start, which costs 35 MB and five times the start-up time; the bundle needs neither. What
 * libraries bring and nothing here uses is left out, since each costs memory (docs/performance.md has the figures). The directory may be moved
 * and needs nothing around it; it serves the platforms whose native file of koffi is installed here.
 */
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const target = resolve(process.argv[2] ?? join(root, "dist"));

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

/** koffi looks for its native file among installed packages; what ships has it in a folder beside. On Linux that is the one for glibc, else for musl. */
const nativeBeside = replaced(
  /^\.\/src\/static\.js$/,
  `export function loadStatic(name) {
    let why;
    for (const libc of ["linux", "musl"]) {
      try {
        return process.getBuiltinModule("node:module").createRequire(import.meta.url)(\`./koffi/\${libc}_\${process.arch}.node\`);
      } catch (error) {
        why ??= error;
      }
    }
    throw new Error(\`neither koffi/linux_\${process.arch}.node nor koffi/musl_\${process.arch}.node beside the program can be loaded: \${why.message.split("\\n", 1)[0]}\`);
  }`,
);

/** The sources read it from their package, which does not ship. */
const { version } = JSON.parse(await readFile(join(root, "packages/cli/package.json"), "utf8")) as { version: string };
const ownVersion = replaced(
  /^(\.|\.\.)\/version\.ts$/,
  `export function productVersion() { return ${JSON.stringify(version)}; }`,
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

await rm(target, { recursive: true, force: true });
await build({
  entryPoints: { dualmesh: join(root, "packages/cli/src/main.ts") },
  outdir: target,
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
  plugins: [
    cryptoOnFirstUse,
    builtinsByName,
    oneLanguage,
    noLogThread,
    mainThread,
    assertion,
    nativeBeside,
    ownVersion,
  ],
  // CommonJS packages in the bundle ask for Node's own modules by `require`.
  banner: {
    js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);',
  },
  logLevel: "info",
});
await shipKoffi();

/**
 * V8 takes these before any script runs, so that they stand in the first line of the program, of which older kernels read 127 bytes. What
 * each is worth is in docs/performance.md: room for 1 MB of new objects, since a proxy's die within the millisecond and the 16 MB that Node
 * would let them fill are kept for ever; collections and compilations by the process itself, so that no thread has an allocator of its own.
 */
const flags = "--max-semi-space-size=1 --optimize-for-size --single-threaded --v8-pool-size=1";
const firstLine = `#!/usr/bin/env -S node ${flags}`;
if (firstLine.length > 127) throw new Error(`the first line has ${firstLine.length} bytes`);
const program = join(target, "dualmesh.mjs");
const text = await readFile(program, "utf8");
await writeFile(program, text.replace(/^#!.*/, firstLine));

/** The native files of koffi that npm has installed for this platform, and their licence. */
async function shipKoffi(): Promise<void> {
  const into = join(target, "koffi");
  await mkdir(into);
  await cp(join(root, "node_modules/koffi/LICENSE.txt"), join(into, "LICENSE.txt"));
  const packages = join(root, "node_modules/@koromix");
  const names = (await readdir(packages)).filter((name) => name.startsWith("koffi-linux-"));
  if (names.length === 0)
    console.warn("no native file of koffi for Linux is installed: this bundle is upgraded by draining only");
  for (const name of names) {
    for (const platform of await readdir(join(packages, name)))
      if (/^(linux|musl)_/.test(platform))
        await cp(join(packages, name, platform, "koffi.node"), join(into, `${platform}.node`));
  }
}
