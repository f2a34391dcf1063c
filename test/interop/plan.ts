/**
 * What the matrix consists of: implementations, ways and cases, and the cells that they make. A cell's name is
 * `CONSUMER>PROVIDER/WAY/CASE`.
 */
export type Mode = "SDK" | "mesh";
export type Family = "dubbo" | "bolt" | "http";
/** In this order, one after the other. */
export const families: readonly Family[] = ["dubbo", "bolt", "http"];

export interface Implementation {
  readonly name:
    | "dubbo27"
    | "dubbo3"
    | "dubbo3-fastjson2"
    | "sofarpc"
    | "sofarpc-mesh"
    | "sofa-rpc-node"
    | "spring"
    | "python"
    | "go"
    | "node";
  readonly family: Family;
  /** The fixture that runs it. */
  readonly fixture: Fixture;
  /** The registry protocol that it is told. */
  readonly registry: "zookeeper" | "mesh" | "eureka" | "http";
  readonly modes: readonly Mode[];
  /** A provider on it can let no answer carry an attachment or baggage. */
  readonly silent?: boolean;
  /** Cases that its clients cannot play at all, with or without a mesh: they are in none of its rows. */
  readonly cannot?: readonly Case[];
  /** What its providers are told beside the registry, as the SDK's own system properties. */
  readonly properties?: Readonly<Record<string, string>>;
  /** The number, in a frame's head, of the serialization in which every request must reach its providers; Dubbo only. */
  readonly serialization?: number;
  /** For what is a provider only: who calls it. Without this everyone of its family does, and it calls them. */
  readonly calledBy?: readonly string[];
}

export type Fixture = "dubbo27" | "dubbo3" | "sofarpc" | "sofa-rpc-node" | "spring" | "python" | "go" | "node";

const hessian2 = 2;
const fastjson2 = 23;

export const implementations: readonly Implementation[] = [
  {
    name: "dubbo27",
    family: "dubbo",
    fixture: "dubbo27",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    serialization: hessian2,
  },
  {
    name: "dubbo3",
    family: "dubbo",
    fixture: "dubbo3",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    serialization: hessian2,
  },
  {
    name: "sofarpc",
    family: "bolt",
    fixture: "sofarpc",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
  },
  { name: "sofarpc-mesh", family: "bolt", fixture: "sofarpc", registry: "mesh", modes: ["mesh"] },
  {
    name: "sofa-rpc-node",
    family: "bolt",
    fixture: "sofa-rpc-node",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    silent: true,
  },
  {
    name: "dubbo3-fastjson2",
    family: "dubbo",
    fixture: "dubbo3",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    properties: {
      "dubbo.protocol.serialization": "fastjson2",
      "dubbo.protocol.prefer-serialization": "fastjson2,hessian2",
    },
    serialization: fastjson2,
    calledBy: ["dubbo3"],
  },
  {
    name: "spring",
    family: "http",
    fixture: "spring",
    registry: "eureka",
    modes: ["SDK", "mesh"],
    // Neither Feign nor RestTemplate can send trailers or tell those that came. Both stream in chunks, which `upload` plays.
    cannot: ["trailers"],
  },
  { name: "python", family: "http", fixture: "python", registry: "http", modes: ["SDK", "mesh"] },
  { name: "go", family: "http", fixture: "go", registry: "http", modes: ["SDK", "mesh"] },
  { name: "node", family: "http", fixture: "node", registry: "http", modes: ["SDK", "mesh"] },
];

/** The service that only this provider offers, so that a consumer reaches it and no other; an interface of the Java contract, but over HTTP. */
export function serviceOf(provider: Implementation, mode: Mode): string {
  if (provider.family === "http") return `interop-${provider.name}-${mode.toLowerCase()}`;
  const names: Readonly<Record<string, string>> = {
    dubbo27: "Dubbo27",
    dubbo3: "Dubbo3",
    "dubbo3-fastjson2": "Dubbo3Fastjson2",
    sofarpc: "SofaRpc",
    "sofarpc-mesh": "SofaMesh",
    "sofa-rpc-node": "SofaNode",
  };
  return `interop.ledger.${names[provider.name]}${mode === "SDK" ? "Sdk" : "Mesh"}`;
}

export interface Way {
  readonly name: `${Mode}>${Mode}`;
  readonly consumer: Mode;
  readonly provider: Mode;
}

export const ways: readonly Way[] = [
  { name: "SDK>SDK", consumer: "SDK", provider: "SDK" },
  { name: "SDK>mesh", consumer: "SDK", provider: "mesh" },
  { name: "mesh>SDK", consumer: "mesh", provider: "SDK" },
  { name: "mesh>mesh", consumer: "mesh", provider: "mesh" },
];

/** Attachments are Dubbo's, baggage is SOFA-RPC's; groups are Dubbo's groups and SOFA-RPC's uniqueIds. */
const rpcCases = [
  "values",
  "nested",
  "exceptions",
  "timeouts",
  "payload",
  "oneway",
  "attachments",
  "groups",
  "twins",
] as const;
const httpCases = [
  "values",
  "errors",
  "redirects",
  "slow",
  "upload",
  "download",
  "trailers",
  "websocket",
  "headers",
  "twins",
] as const;
export type Case = (typeof rpcCases)[number] | (typeof httpCases)[number];

export const cases: Readonly<Record<Family, readonly Case[]>> = { dubbo: rpcCases, bolt: rpcCases, http: httpCases };

export interface Row {
  readonly name: string;
  readonly consumer: Implementation;
  readonly provider: Implementation;
  readonly way: Way;
}

/** Every ordered couple of one protocol family, but for those that `calledBy` leaves out, in every way. */
export function rows(): readonly Row[] {
  const consumers = implementations.filter(({ calledBy }) => calledBy === undefined);
  return consumers.flatMap((consumer) =>
    implementations
      .filter(({ family, calledBy }) => family === consumer.family && (calledBy?.includes(consumer.name) ?? true))
      .flatMap((provider) =>
        ways.map((way) => ({ name: `${consumer.name}>${provider.name}/${way.name}`, consumer, provider, way })),
      ),
  );
}

/** The cases of a row: those of its family, but for what its consumer cannot do. */
export function casesOf({ consumer }: Row): readonly Case[] {
  return cases[consumer.family].filter((name) => !(consumer.cannot?.includes(name) ?? false));
}

/** What a consumer is told of a row beside case, service and ticket. */
export function wordOf({ provider, way }: Row): string {
  if (provider.family === "http") return way.name;
  return provider.silent === true ? "silent" : "";
}

export interface Cell {
  readonly name: string;
  readonly row: string;
  readonly case: Case;
  readonly result: "ok" | "failed" | "skipped";
  readonly reason?: string;
}

export const noSdkMode = "skipped: no SDK mode";

/** Why no cell of the row can be tried, or undefined. */
export function skipReason(row: Row): string | undefined {
  return row.consumer.modes.includes(row.way.consumer) && row.provider.modes.includes(row.way.provider)
    ? undefined
    : noSdkMode;
}
