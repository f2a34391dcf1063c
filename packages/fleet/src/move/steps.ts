/**
 * The steps of a move, in their order, in one table. Each may be done again at any time: what is so already is not done twice. Each is in the
 * record on disk before it is done, so that a mover that is killed leaves no step behind that nobody knows of.
 */

interface StepText {
  /** For people: what is being done. */
  readonly does: string;
  /** The step of the way out that takes it back. */
  readonly undoneBy: readonly OutwardStep[];
}

/** The way in. */
const inward = {
  guard: { does: "a guard watches, also over this move", undoneBy: [] },
  sidecar: { does: "a sidecar runs beside the application", undoneBy: ["end-sidecar"] },
  crossing: { does: "the sidecar opens a door for each server of the registry", undoneBy: ["close"] },
  tracking: { does: "the kernel keeps track of connections", undoneBy: [] },
  rule: { does: "new connections to the registry are led to the doors", undoneBy: ["release"] },
  cut: { does: "the sessions come back through the doors", undoneBy: ["cut-back"] },
  measure: { does: "calls are measured as they are now", undoneBy: [] },
  provide: { does: "what it provides is called through the sidecar", undoneBy: ["provide-back", "linger"] },
  consume: { does: "what it consumes is called through the sidecar", undoneBy: ["consume-back"] },
  settle: { does: "calls are compared with those before", undoneBy: [] },
} as const satisfies Readonly<Record<string, StepText>>;

/** The way out, which is also how a way in is undone. */
const outward = {
  "consume-back": { does: "what it consumes is called directly" },
  "provide-back": { does: "what it provides is called directly" },
  release: { does: "new connections go to the registry itself" },
  "cut-back": { does: "the sessions come back to the registry itself" },
  linger: { does: "callers that have not heard of it are still served" },
  close: { does: "the sidecar closes the doors" },
  "end-sidecar": { does: "the sidecar that was started for it ends" },
} as const;

/** When the sidecar is away: first these, and when it is back the way in again, then `unforward`. */
const aside = {
  forward: {
    does: "what is called at the published ports arrives at the application itself, where the host can tell whose it is",
  },
  unforward: { does: "what is called at the published ports arrives at the sidecar again" },
} as const;

export type InwardStep = keyof typeof inward;
export type OutwardStep = keyof typeof outward;
export type StepName = InwardStep | OutwardStep | keyof typeof aside;

const texts: Readonly<Record<StepName, { readonly does: string }>> = { ...inward, ...outward, ...aside };

export function isStepName(name: unknown): name is StepName {
  return typeof name === "string" && Object.hasOwn(texts, name);
}

/** What a step does, for people. */
export function stepText(step: StepName): string {
  return texts[step].does;
}

export interface Wish {
  readonly only: "provider" | "consumer" | undefined;
  readonly first: "provider" | "consumer";
}

/** The steps of the way in. */
export function stepsIn({ only, first }: Wish): readonly InwardStep[] {
  const swaps: readonly InwardStep[] = first === "provider" ? ["provide", "consume"] : ["consume", "provide"];
  const wanted = swaps.filter((step) => only === undefined || step === (only === "provider" ? "provide" : "consume"));
  return ["guard", "sidecar", "crossing", "tracking", "rule", "cut", "measure", ...wanted, "settle"];
}

/** The steps of the way out for what was begun on the way in. */
export function stepsOut(begun: readonly StepName[]): readonly OutwardStep[] {
  const needed = new Set<StepName>(
    begun.flatMap((step) => (step in inward ? inward[step as InwardStep].undoneBy : [])),
  );
  // A rule may have led a connection before anything was cut.
  if (needed.has("release")) needed.add("cut-back");
  return (Object.keys(outward) as OutwardStep[]).filter((step) => needed.has(step));
}

export type AsideStep = "forward" | "release" | "cut-back";
export type ReturnStep = InwardStep | "consume-back" | "provide-back" | "linger" | "unforward";

/** The steps that set the sidecar aside, and those that bring it back. */
export const stepsAside: readonly AsideStep[] = ["forward", "release", "cut-back"];

/**
 * The way back in of what was begun. After a time in which the host handed on what was called at the published ports, callers have connections past
 * the sidecar, which they give up only when the address leaves their lists: so it does, for a while. And what the process is shown is what it
 * saw meanwhile until its sessions are back: SOFA-RPC is without any address for a second when a list is another at once.
 */
export function stepsReturn(begun: readonly StepName[], wasForwarded: boolean): readonly ReturnStep[] {
  const consumes = begun.includes("consume");
  const provides = begun.includes("provide");
  const lead = ["tracking", "rule", "cut"] as const;
  if (!wasForwarded) return ["sidecar", "crossing", ...lead, ...swapsOf(provides, consumes), "unforward"];
  const before: readonly ReturnStep[] = consumes ? ["consume-back"] : [];
  const after: readonly ReturnStep[] = provides ? ["provide-back", "linger", "unforward", "provide"] : ["unforward"];
  return ["sidecar", "crossing", ...before, ...lead, ...swapsOf(false, consumes), ...after];
}

function swapsOf(provides: boolean, consumes: boolean): readonly InwardStep[] {
  return [...(provides ? (["provide"] as const) : []), ...(consumes ? (["consume"] as const) : [])];
}
