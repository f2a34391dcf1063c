/**
 * What the process without privileges and the one with them say to each other, a line of JSON each. The first line of the asker says for
 * whom it asks, and is written while it is still what started the agent; nothing can widen it later.
 *
 *     {"version":1,"asker":{"uid":1000,"gid":1000},"users":[]}                 ->  {"ready":1}
 *     {"id":1,"operation":"catch","netns":4026531840,"arguments":[{…}]}        ->  {"id":1,"result":null}
 *                                                                    or  {"id":1,"error":{"code":"host.…","message":"…","details":{}}}
 *     {"id":2,"operation":"capture","netns":4026531840,"arguments":[{…}]}      ->  {"capture":2,"bytes":"base64"}, …, {"capture":2,"ended":"why"}
 *     {"taken":2}                                                                  the next bytes of capture 2 may come
 */
import type { User } from "./host.ts";

export const protocolVersion = 1;
/** Of what is asked: rules and names. */
export const maxRequestLength = 1_024 * 1_024;
/** Of what is answered: the facts of every process of a busy host. */
export const maxAnswerLength = 64 * 1_024 * 1_024;
/** Operations that may be under way; beyond, one is answered `host.busy`. */
export const maxOperations = 32;
export const maxCaptures = 4;

export interface Hello {
  readonly version: number;
  readonly asker: User;
  readonly users: readonly User[];
}

export interface Request {
  readonly id: number;
  readonly operation: string;
  readonly netns?: number;
  readonly arguments: readonly unknown[];
}

export type Answer =
  | { readonly ready: number }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: ErrorText }
  | { readonly capture: number; readonly bytes: string }
  | { readonly capture: number; readonly ended: string };

export interface ErrorText {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}
