/**
 * Protocols of one's own: modules that the configuration names, each of which exports a codec. They are loaded and looked over before any port
 * listens; what is wrong with one is told with the place that names it.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { RpcCodec } from "@dualmesh/wire/rpc";
import { builtInProtocols } from "../face/carriage.ts";
import type { OwnProtocol } from "../settings.ts";
import { type CodecMethod, codecMethods, guardedCodec, type OnModuleFault } from "./guard.ts";

/** The codecs of these modules, guarded. Rejects with `config.invalid`, which tells all that is wrong. */
export async function loadCodecs(
  protocols: readonly OwnProtocol[],
  onFault: OnModuleFault,
): Promise<readonly RpcCodec[]> {
  const codecs: RpcCodec[] = [];
  const problems: { where: string; key: string; text: string }[] = [];
  for (const [index, { module, where = "the configuration" }] of protocols.entries()) {
    const path = resolve(module);
    const loaded = await load(path);
    const texts = typeof loaded === "string" ? [loaded] : wrongWith(loaded, codecs);
    for (const text of texts) problems.push({ where, key: `protocols[${index}].module`, text: `${path} ${text}` });
    if (texts.length === 0) codecs.push(guardedCodec(loaded as RpcCodec, onFault));
  }
  if (problems.length === 0) return codecs;
  const lines = problems.map(({ where, key, text }) => `  ${where}: ${key}: ${text}`);
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  throw new MeshError("config.invalid", `the configuration has ${count}:\n${lines.join("\n")}`, { problems });
}

/** What the module exports as its codec, or what is wrong. */
async function load(path: string): Promise<object | string> {
  let exported: unknown;
  try {
    exported = await import(pathToFileURL(path).href);
  } catch (error) {
    // Of a module that cannot be read Node shows the place only where nobody catches it.
    const place = error instanceof SyntaxError ? ` (node ${path} shows where)` : "";
    return `cannot be loaded: ${messageOf(error)}${place}`;
  }
  const { codec } = exported as { readonly codec?: unknown };
  if (codec === undefined) return "exports no codec: export const codec, an RpcCodec of @dualmesh/wire/rpc";
  return typeof codec === "object" && codec !== null ? codec : `exports a codec that is ${typeof codec}, not an object`;
}

function wrongWith(candidate: object, others: readonly RpcCodec[]): string[] {
  const codec = candidate as Readonly<Record<string, unknown>>;
  const problems: string[] = [];
  const missing = Object.keys(codecMethods).filter((name) => typeof codec[name] !== "function");
  if (missing.length > 0) problems.push(`exports a codec without the functions ${missing.join(", ")}`);
  const { protocol, applicationHeader } = codec;
  if (typeof applicationHeader !== "string") problems.push("exports a codec without the text applicationHeader");
  if (typeof protocol !== "string" || !/^[a-z][a-z0-9-]{0,62}$/.test(protocol))
    problems.push("exports a codec whose protocol is no name: small letters, digits and -, beginning with a letter");
  else if (([...builtInProtocols, "https"] as string[]).includes(protocol))
    problems.push(`exports a codec for ${protocol}, which is built in; give the protocol another name`);
  else if (others.some((other) => other.protocol === protocol))
    problems.push(`exports a codec for ${protocol}, as another module does`);
  if (!missing.includes("sniff" satisfies CodecMethod)) problems.push(...wrongInSniff(candidate as RpcCodec));
  return problems;
}

/** How connections of what is built in begin: not one of these is another protocol's. */
const beginnings: readonly (readonly [what: string, bytes: Buffer])[] = [
  ["Bolt", Buffer.from([1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 11, 184])],
  ["Bolt", Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 255, 255, 255, 255])],
  ["Bolt 2", Buffer.from([2, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 11, 184])],
  ["Dubbo", Buffer.from([0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0])],
  ["TLS", Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
  ["HTTP/2", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ...["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"].map(
    (method) => ["HTTP/1.1", Buffer.from(`${method} / HTTP/1.1\r\n`)] as const,
  ),
];

function wrongInSniff(codec: RpcCodec): string[] {
  for (const [what, bytes] of beginnings) {
    for (let length = 1; length <= bytes.length; length++) {
      const head = bytes.subarray(0, length);
      let said: unknown;
      try {
        said = codec.sniff(head);
      } catch (error) {
        return [`exports a codec whose sniff fails for the bytes ${head.toString("hex")}: ${messageOf(error)}`];
      }
      if (said === "yes") return [`exports a codec whose sniff takes ${what} for its own (${head.toString("hex")})`];
      if (said !== "no" && said !== "more")
        return [`exports a codec whose sniff says ${String(said)}; expected yes, no or more`];
    }
  }
  return [];
}
