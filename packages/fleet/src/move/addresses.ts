/** `host:port` as commands and records have it, `[v6]:port`, and the parts of it. */
import { bracketed } from "@dualmesh/base/http/host-name";
import type { HostAddress } from "../host/host.ts";

/** Undefined when the text is none. An IPv4 address that is mapped into v6 is the IPv4 address. */
export function readAddress(text: string): HostAddress | undefined {
  const [, inBrackets, plain, port = ""] = /^(?:\[([^[\]\s]+)\]|([^[\]\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = inBrackets ?? plain;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return { host: host.replace(/^::ffff:(?=\d+\.)/i, ""), port: Number(port) };
}

export function addressText({ host, port }: HostAddress): string {
  return `${bracketed(host)}:${port}`;
}

/** The same text for the same address, however it was written. */
export function sameText(text: string): string {
  const address = readAddress(text);
  return address === undefined ? text : addressText(address);
}
