/**
 * What the matrix consists of: implementations, ways and cases, and the cells that they make. A cell's name is
 * `CONSUMER>PROVIDER/WAY/CASE`.
 */
export type Mode = "SDK" | "mesh";
export type Family = "dubbo" | "bolt";

export interface Implementation {
  readonly name: "dubbo27" | "dubbo3" | "dubbo3-fastjson2" | "sofarpc" | "sofarpc-mesh" | "sofa-rpc-node";
  readonly family: Family;
  /** The fixture that runs it. */
  readonly fixture: "dubbo27" | "dubbo3" | "sofarpc" | "sofa-rpc-node";
  /** The registry protocol that it is told. */
  readonly registry: "zookeeper" | "mesh";
  readonly modes: readonly Mode[];
  /** A provider on it can let an answer carry an attachment or baggage. */
  readonly answersMarks: boolean;
  /** What its providers are told beside the registry, as the SDK's own system properties. */
  readonly properties?: Readonly<Record<string, string>>;
  /** The number, in a frame's head, of the serialization in which every request must reach its providers; Dubbo only. */
  readonly serialization?: number;
  /** For what is a provider only: who calls it. Without this everyone of its family does, and it calls them. */
  readonly calledBy?: readonly string[];
}

const hessian2 = 2;
const fastjson2 = 23;

export const implementations: readonly Implementation[] = [
  {
    name: "dubbo27",
    family: "dubbo",
    fixture: "dubbo27",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    answersMarks: true,
    serialization: hessian2,
  },
  {
    name: "dubbo3",
    family: "dubbo",
    fixture: "dubbo3",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    answersMarks: true,
    serialization: hessian2,
  },
  {
    name: "sofarpc",
    family: "bolt",
    fixture: "sofarpc",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    answersMarks: true,
  },
  { name: "sofarpc-mesh", family: "bolt", fixture: "sofarpc", registry: "mesh", modes: ["mesh"], answersMarks: true },
  {
    name: "sofa-rpc-node",
    family: "bolt",
    fixture: "sofa-rpc-node",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    answersMarks: false,
  },
  {
    name: "dubbo3-fastjson2",
    family: "dubbo",
    fixture: "dubbo3",
    registry: "zookeeper",
    modes: ["SDK", "mesh"],
    answersMarks: true,
    properties: {
      "dubbo.protocol.serialization": "fastjson2",
      "dubbo.protocol.prefer-serialization": "fastjson2,hessian2",
    },
    serialization: fastjson2,
    calledBy: ["dubbo3"],
  },
];

/** The service that only this provider offers, so that a consumer reaches it and no other; an interface of the Java contract. */
export function serviceOf(provider: Implementation, mode: Mode): string {
  const names = {
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
export const cases = [
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
export type Case = (typeof cases)[number];

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
