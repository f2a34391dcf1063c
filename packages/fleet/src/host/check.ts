/**
 * Why rules and cuts cannot be made in a network namespace, before anything is done: the very rules are shown to the kernel in nft's check mode, which
 * says what it would say to them and puts nothing in force. Each reason is a sentence that says how to mend it.
 */
import { cgroupMount } from "../process/cgroups.ts";
import { hasCapability } from "./capabilities.ts";
import type { FlowAddress, HostAddress, Selection } from "./host.ts";
import type { Namespace } from "./namespace.ts";
import { whyRefused } from "./packet-filter.ts";
import { findProgram, missingText, type ProgramName } from "./programs.ts";
import { catchText, cutText, forwardText, trackingText } from "./rules.ts";
import { type Crowd, crowdOf, trackingLoad } from "./tracking.ts";

export async function checkHost(of: Selection, namespace: Namespace): Promise<readonly string[]> {
  const programs: readonly ProgramName[] = namespace.isOwn ? ["nft", "ss"] : ["nft", "ss", "nsenter"];
  const reasons = [
    ...programs.filter((program) => findProgram(program) === undefined).map(missingText),
    ...missingCapabilities(namespace),
    ...(of.kind === "cgroup" && cgroupMount() === undefined ? [withoutCgroups] : []),
  ];
  // Without these the kernel's answer would only say the same in other words.
  if (reasons.length > 0) return reasons;
  if (namespace.member() === undefined) return [`nobody is in network namespace ${namespace.netns} any more`];
  // The rules come first, since with them the kernel has loaded what tells how many connections it can track.
  return [...(await refusedRules(of, namespace)), ...crowdAt("stops", namespace)];
}

/** What does not stand against rules here, and should be known before the first. */
export function warnOfHost(namespace: Namespace): readonly string[] {
  return crowdAt("warning", namespace);
}

function crowdAt(level: Crowd["level"], namespace: Namespace): readonly string[] {
  const load = trackingLoad(namespace);
  const crowd = load === undefined ? undefined : crowdOf(load);
  return crowd?.level === level ? [crowd.text] : [];
}

const withoutCgroups =
  "control groups of version 2 are not mounted below /sys/fs/cgroup, where nft looks for them: mount them there, or let the sidecar run as another user than the application";

function missingCapabilities({ isOwn }: Namespace): readonly string[] {
  const needed = isOwn ? ["CAP_NET_ADMIN" as const] : (["CAP_NET_ADMIN", "CAP_SYS_ADMIN"] as const);
  const missing = needed.filter((name) => !hasCapability(name));
  if (missing.length === 0) return [];
  const what = isOwn ? "rules" : "rules in another network namespace";
  return [`${what} need the capability ${missing.join(" and ")}: run as root, with --sudo, or give it to this process`];
}

/** Addresses for documentation, which nobody has. */
const somewhere: HostAddress = { host: "192.0.2.1", port: 2_181 };
const flow: FlowAddress = { local: { host: "192.0.2.2", port: 40_000 }, remote: somewhere };

async function refusedRules(of: Selection, namespace: Namespace): Promise<readonly string[]> {
  const rules = { name: "check", of, ways: [{ server: somewhere, port: 2_182 }] };
  const below = cgroupMount()?.below ?? "";
  const texts: readonly (readonly [string, string, string])[] = [
    ["leads connections of the application", catchText(rules, below), needed(of)],
    ["hands on what is published", forwardText("check", [{ published: somewhere, appPort: 1 }]), "nft_nat"],
    ["keeps connections tracked", trackingText(), "nf_conntrack, nft_ct and nft_nat"],
    ["resets connections", cutText("check", [flow], 1), "nft_reject_inet"],
  ];
  const reasons: string[] = [];
  for (const [does, text, modules] of texts) {
    const why = await whyRefused(namespace, text);
    if (why !== undefined) reasons.push(`a rule that ${does} is refused (${why}): the kernel needs ${modules}`);
  }
  return reasons;
}

function needed(of: Selection): string {
  return of.kind === "uid"
    ? "nf_tables, nft_redir and nft_chain_nat"
    : `5.13 or later with nf_tables, nft_redir, nft_chain_nat and nft_socket, nft 0.9.9 or later, and ${of.path} must be there`;
}
