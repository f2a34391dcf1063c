/**
 * What one door says to another of a connection that stands still: the session, what it watches and has seen there, answers that wait for their
 * turn, and what is true for a moment only. Read leniently: it may come from another version.
 */
import { createHash } from "node:crypto";
import type { Passing } from "./tree.ts";
import { type WatchKind, watchKinds } from "./watches.ts";

/** A node as a session saw it, so that it can be told apart from what is there later; empty where nothing was. Undefined where nobody could say. */
export interface Seen {
  readonly node: string | undefined;
  readonly children: string | undefined;
}

export interface Watching {
  readonly kind: WatchKind;
  readonly path: string;
}

export interface StandingSession extends Passing {
  readonly session: bigint;
  readonly watches: readonly Watching[];
  readonly seen: ReadonlyMap<string, Seen>;
}

export interface StandingClient {
  /** Undefined of a client that has not said yet who it is. */
  readonly session: StandingSession | undefined;
  /** Answers to requests that are read again, by their place among those: what they ask has been done. */
  readonly answers: ReadonlyMap<number, Buffer>;
}

type State = Readonly<Record<string, unknown>>;

export function packClient({ session, answers }: StandingClient): State {
  return {
    ...(session === undefined ? { isNew: true } : packSession(session)),
    answers: [...answers].map(([turn, frame]) => [turn, frame.toString("base64")]),
  };
}

function packSession({ session, watches, seen, hidden, listed }: StandingSession): State {
  return {
    session: session.toString(16),
    watches: watches.map(({ kind, path }) => [kind, path]),
    seen: [...seen].map(([path, { node = null, children = null }]) => [path, node, children]),
    hidden,
    listed,
  };
}

/** Undefined when it cannot be read. */
export function unpackClient(state: State): StandingClient | undefined {
  const session = unpackSession(state);
  if (session === undefined && state["isNew"] !== true) return undefined;
  const answers = rowsOf(state["answers"]).flatMap(([turn, frame]) =>
    typeof turn === "number" && typeof frame === "string" ? [[turn, Buffer.from(frame, "base64")] as const] : [],
  );
  return { session, answers: new Map(answers) };
}

function unpackSession(state: State): StandingSession | undefined {
  const { session: id } = state;
  if (typeof id !== "string" || !/^[0-9a-f]{1,16}$/.test(id)) return undefined;
  return {
    session: BigInt(`0x${id}`),
    watches: rowsOf(state["watches"]).flatMap(([kind, path]) =>
      isKind(kind) && typeof path === "string" ? [{ kind, path }] : [],
    ),
    seen: new Map(
      rowsOf(state["seen"]).flatMap(([path, node, children]) =>
        typeof path === "string" ? [[path, { node: textOf(node), children: textOf(children) }] as const] : [],
      ),
    ),
    hidden: timesOf(state["hidden"]),
    listed: timesOf(state["listed"]),
  };
}

/** Tells one content of a node from another. */
export function digestOf(data: Buffer): string {
  return createHash("sha256").update(data).digest("base64").slice(0, digestLength);
}

export function digestOfNames(names: readonly string[]): string {
  return digestOf(Buffer.from([...names].sort().join("/")));
}

/** Characters of six bits. */
const digestLength = 20;

function rowsOf(value: unknown): readonly (readonly unknown[])[] {
  return Array.isArray(value) ? value.filter((row): row is unknown[] => Array.isArray(row)) : [];
}

function timesOf(value: unknown): readonly (readonly [string, number])[] {
  return rowsOf(value).flatMap(([path, leftMs]) =>
    typeof path === "string" && typeof leftMs === "number" ? [[path, leftMs] as const] : [],
  );
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function isKind(value: unknown): value is WatchKind {
  return (watchKinds as readonly unknown[]).includes(value);
}
