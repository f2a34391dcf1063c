/**
 * What the host hands on in the place of a sidecar that is away. The sidecar reads of each call whose it is, and so one published port serves
 * several applications; the host sees an address only. It hands on what can mean one application port of one process, and nothing else: callers
 * that are refused try another provider, and callers that reach a wrong application get a wrong answer.
 */
import type { ForwardRule } from "../host/host.ts";
import { addressText } from "./addresses.ts";
import type { OneMove } from "./one-move.ts";
import type { MoveRecord, PublishedPort } from "./record.ts";

/** Puts the rules of a move in force, and says what cannot be handed on and what that means. */
export async function forward(move: OneMove): Promise<void> {
  const { name } = move.record;
  const { rules, shared } = forwardingOf(move.record, await move.beside());
  const host = await move.host();
  if (rules.length > 0) await host.forward(name, rules);
  else await host.unforward(name);
  if (shared.length === 0) return;
  const text = sharedText(shared);
  move.note(text);
  const { failed } = move.record;
  if (!failed.includes(text)) await move.change({ failed: failed === "" ? text : `${failed}; ${text}` });
}

/** What is handed on for others ends where this move is published as well: it may have been put in force before this one came. */
export async function narrowOthers(move: OneMove): Promise<void> {
  const beside = await move.beside();
  if (beside.length === 0) return;
  const host = await move.host();
  const inForce = await host.forwarded();
  for (const other of beside) {
    if (!inForce.includes(other.name)) continue;
    const all = [move.record, ...beside.filter((one) => one !== other)];
    const { rules, shared } = forwardingOf(other, all);
    if (shared.length === 0) continue;
    if (rules.length > 0) await host.forward(other.name, rules);
    else await host.unforward(other.name);
    move.note(`process ${other.process.pid} is set aside: ${sharedText(shared)}`);
  }
}

/** Of one published address, several application ports. */
interface Shared {
  readonly published: string;
  readonly behind: readonly string[];
}

interface Forwarding {
  readonly rules: readonly ForwardRule[];
  readonly shared: readonly Shared[];
}

/** `beside` are the other moves through the same sidecar. */
export function forwardingOf(record: MoveRecord, beside: readonly MoveRecord[]): Forwarding {
  const behind = new Map<string, Set<string>>();
  for (const { process, published } of [record, ...beside].filter(isCalled)) {
    for (const port of published) {
      const address = addressText(port.published);
      const ports = behind.get(address) ?? new Set();
      behind.set(address, ports.add(`${port.direct.port} of process ${process.pid}`));
    }
  }
  const ports = isCalled(record) ? record.published : [];
  const own = new Map<string, PublishedPort>(ports.map((port) => [addressText(port.published), port]));
  const isAlone = (address: string): boolean => behind.get(address)?.size === 1;
  return {
    rules: [...own].flatMap(([address, { published, direct }]) =>
      isAlone(address) ? [{ published, appPort: direct.port }] : [],
    ),
    shared: [...own.keys()].flatMap((address) =>
      isAlone(address) ? [] : [{ published: address, behind: [...(behind.get(address) ?? [])].sort() }],
    ),
  };
}

/** Whether anybody may call it at its published ports: not before it is provided there, nor when all its callers have gone back to itself. */
function isCalled({ begun, done, state }: MoveRecord): boolean {
  return begun.includes("provide") && state !== "closing" && (state === "forwarded" || !done.includes("linger"));
}

function sharedText(shared: readonly Shared[]): string {
  const texts = shared.map(({ published, behind }) => `${published} (application ports ${behind.join(" and ")})`);
  return `the host cannot tell whose calls to ${texts.join(", ")} are, and hands none on: who calls there is refused until the sidecar is back or lists name another address`;
}
