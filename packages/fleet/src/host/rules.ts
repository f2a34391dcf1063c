/**
 * The text of rules for nft, and nothing that puts them in force. Each table is ours alone and is replaced whole, in one transaction, so that
 * there is never a moment without it. Tables of one name never mean two things: `dualmesh-catch-NAME`, `dualmesh-forward-NAME`,
 * `dualmesh-cut-NUMBER` and `dualmesh-tracking`.
 */
import { isIPv4 } from "node:net";
import type { CatchRule, FlowAddress, ForwardRule, HostAddress, Selection } from "./host.ts";

/** What a table of ours is for. */
export type TableKind = "catch" | "forward" | "cut";

export const trackingTable = "dualmesh-tracking";

export function tableName(kind: TableKind, name: string): string {
  return `dualmesh-${kind}-${name}`;
}

/** The names, of one kind, among tables. */
export function namesOf(kind: TableKind, tables: readonly string[]): readonly string[] {
  const start = tableName(kind, "");
  return tables.flatMap((table) => (table.startsWith(start) ? [table.slice(start.length)] : [])).sort();
}

/**
 * Before what others may have in the same hook at -100, such as kube-proxy's rules for an address of a cluster: the first rule that
 * translates a connection is the only one. It has to be after -200, where the kernel begins to track connections.
 */
const beforeOthers = -105;
/** Before connections are tracked and translated: addresses are there as the application has dialled them. */
const beforeTranslation = -300;
/** Filters at their usual place. */
const usual = 0;

/**
 * The first packet of a connection and no other. A namespace in which nobody tracked connections would otherwise take an old one for new, in
 * its middle, and lead it where nobody knows it.
 */
const opening = "tcp flags & (fin | syn | rst | ack) == syn";

/** `cgroupMount` is the path of cgroup v2 below /sys/fs/cgroup, as nft wants it: empty, or `unified`. */
export function catchText({ name, of, ways }: CatchRule, cgroupMount: string): string {
  const selected = selectionText(of, cgroupMount);
  const lines = ways.map(
    ({ server, port }) => `${toAddress(server)} ${opening} ${selected} counter redirect to :${port}`,
  );
  return tableText(tableName("catch", name), chainText("output", "nat", "output", beforeOthers, lines));
}

/**
 * What the application listens on is the same address with another port, so that the address stays. (A `redirect` would send what comes
 * from outside to the first address of the interface, and what comes from here to 127.0.0.1; the application may listen on neither.)
 */
export function forwardText(name: string, rules: readonly ForwardRule[]): string {
  const lines = rules.map(({ published, appPort }) => {
    const [family, host] = isIPv4(published.host) ? ["ip", published.host] : ["ip6", `[${published.host}]`];
    return `${toAddress(published)} ${opening} counter dnat ${family} to ${host}:${appPort}`;
  });
  return tableText(
    tableName("forward", name),
    chainText("prerouting", "nat", "prerouting", beforeOthers, lines),
    chainText("output", "nat", "output", beforeOthers, lines),
  );
}

/**
 * The kernel tracks and translates connections only while a rule needs it. When the last rule that translates is taken back, the
 * connections that it led would break at their next packet, and whoever cuts them then would not be heard at the other end. This table needs
 * both for good: one rule looks at the state of a connection, and the empty chain is one that could translate.
 */
export function trackingText(): string {
  return tableText(
    trackingTable,
    chainText("established", "filter", "output", usual, ["ct state established counter"]),
    chainText("translated", "nat", "output", beforeOthers, []),
  );
}

/**
 * Answers the next packet of each connection with a reset; for kernels that cannot end a connection by themselves. The connections are
 * elements of sets that forget them, so that nothing of it lasts when whoever made it dies before it takes it back.
 */
export function cutText(name: string, flows: readonly FlowAddress[], forgetAfterS: number): string {
  const [v4, v6] = ["ip", "ip6"].map((family) =>
    flows
      .filter(({ local }) => familyOf(local) === family)
      .map(({ local, remote }) => {
        const flow = [local.host, local.port, remote.host, remote.port].join(" . ");
        return `${flow} timeout ${forgetAfterS}s`;
      }),
  );
  return tableText(
    tableName("cut", name),
    setText("v4", "ipv4_addr", v4 ?? []),
    setText("v6", "ipv6_addr", v6 ?? []),
    chainText("output", "filter", "output", beforeTranslation, [
      "ip saddr . tcp sport . ip daddr . tcp dport @v4 reject with tcp reset",
      "ip6 saddr . tcp sport . ip6 daddr . tcp dport @v6 reject with tcp reset",
    ]),
  );
}

function setText(name: string, address: string, elements: readonly string[]): string {
  const type = `type ${address} . inet_service . ${address} . inet_service; flags timeout;`;
  const content = elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} };`;
  return `  set ${name} { ${type}${content} }\n`;
}

/** Takes a table away, and is right when there is none. */
export function withoutText(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}

function tableText(table: string, ...chains: readonly string[]): string {
  return `${withoutText(table)}table inet ${table} {\n${chains.join("")}}\n`;
}

function chainText(name: string, type: string, hook: string, priority: number, lines: readonly string[]): string {
  const body = [`type ${type} hook ${hook} priority ${priority}; policy accept;`, ...lines];
  return `  chain ${name} {\n${body.map((line) => `    ${line}\n`).join("")}  }\n`;
}

function familyOf({ host }: HostAddress): "ip" | "ip6" {
  return isIPv4(host) ? "ip" : "ip6";
}

function toAddress(address: HostAddress): string {
  return `${familyOf(address)} daddr ${address.host} tcp dport ${address.port}`;
}

function selectionText(of: Selection, cgroupMount: string): string {
  if (of.kind === "uid") return `meta skuid ${of.uid}`;
  const path = `${cgroupMount === "" ? "" : `${cgroupMount}/`}${of.path.slice(1)}`;
  return `socket cgroupv2 level ${of.path.split("/").length - 1} "${path}"`;
}
