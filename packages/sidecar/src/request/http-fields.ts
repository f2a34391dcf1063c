/**
 * The header fields that a request gets on its way: `Host` as the application sees it without a mesh (its own address and port), and in
 * `X-Forwarded-*` what it was and who called. And the way back: a `Location` that names the provider's own address is moved to the address
 * that the caller knows.
 */
import { bracketed } from "@dualmesh/base/http/host-name";
import type { Http1Head } from "@dualmesh/wire/http1/head";
import { field } from "@dualmesh/wire/http1/names";
import { type FieldEdit, fieldEdit } from "@dualmesh/wire/http1/writer";
import type { Direction } from "../metrics.ts";
import type { Endpoint } from "../snapshot.ts";

const protocolField = fieldEdit("x-forwarded-proto", "absent", "http");
const noHost = Buffer.alloc(0);

/** What stands in `Host` when the application is called without a mesh. */
export function authorityOf(endpoint: Endpoint): string {
  return endpoint.authority ?? `${bracketed(endpoint.address)}:${endpoint.port}`;
}

/** The fields for one caller's connection. They seldom change from one request to the next, and are kept while they do not. */
export class ForwardedFields {
  readonly #remote: string;
  readonly #direction: Direction;
  #edits: readonly FieldEdit[] = [];
  #authority = "";
  #caller = "";
  #host: Buffer = noHost;
  /** The authority that the caller wrote, in canonical form; empty when it wrote none. */
  callerAuthority = "";

  constructor(remote: string, direction: Direction) {
    this.#remote = remote;
    this.#direction = direction;
  }

  edits(head: Http1Head, authority: string, localAddress: string): readonly FieldEdit[] {
    const caller = this.#callerAddress(localAddress);
    if (!this.#sameHost(head) || authority !== this.#authority || caller !== this.#caller) {
      this.#authority = authority;
      this.#caller = caller;
      this.#edits = [
        fieldEdit("host", "replace", authority),
        fieldEdit("x-forwarded-for", "append", caller),
        protocolField,
        ...(this.callerAuthority === "" ? [] : [fieldEdit("x-forwarded-host", "absent", this.callerAuthority)]),
      ];
    }
    return this.#edits;
  }

  /** An application of this host calls from loopback, which says nothing elsewhere: it is known there by this host's own address. */
  #callerAddress(localAddress: string): string {
    const isLocal = this.#direction === "outbound" && localAddress !== "";
    return isLocal ? localAddress : this.#remote;
  }

  #sameHost(head: Http1Head): boolean {
    const at = head.form === 0 ? head.fields.find(field.host) : -1;
    if (at >= 0) {
      const start = head.fields.valueStart(at);
      const end = head.fields.valueEnd(at);
      if (this.#host !== noHost && isSame(this.#host, head.fields.bytes, start, end)) return true;
      this.#host = Buffer.from(head.fields.bytes.subarray(start, end));
    } else this.#host = noHost;
    const host = head.host();
    const port = head.port();
    this.callerAuthority = host === "" || port === 0 ? host : `${host}:${port}`;
    return false;
  }
}

/** For a few bytes a loop is quicker than a call out of JavaScript. */
function isSame(known: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (end - start !== known.length) return false;
  let at = known.length - 1;
  while (at >= 0 && known[at] === bytes[start + at]) at--;
  return at < 0;
}

const absolute = /^(https?):\/\/([^/?#]+)/i;

/** An absolute location that names the provider itself, as the caller can reach it; undefined when it stays as it is. */
export function locationFor(location: string, endpoint: Endpoint, callerAuthority: string): string | undefined {
  const match = absolute.exec(location);
  if (match === null || callerAuthority === "" || match[1]?.toLowerCase() !== "http") return undefined;
  const named = (match[2] as string).toLowerCase();
  const own = authorityOf(endpoint).toLowerCase();
  const published = `${bracketed(endpoint.address)}:${endpoint.port}`;
  if (named !== own && named !== published && `${named}:80` !== own) return undefined;
  return `http://${callerAuthority}${location.slice(match[0].length)}`;
}
