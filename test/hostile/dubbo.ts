/** Dubbo frames as its clients and servers write them, and with what they would never write. */

import type { Peer, Received } from "@dualmesh/sidecar/request/testing";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import { hessianText } from "@dualmesh/wire/hessian/arbitrary";
import { frameKind } from "@dualmesh/wire/rpc";

export interface DubboRequest {
  readonly id: number;
  readonly idHigh?: number;
  readonly path?: string;
  readonly version?: string;
  readonly attachments?: readonly (readonly [string, string])[];
  readonly args?: readonly Uint8Array[];
  readonly oneway?: boolean;
}

const hessian2 = 2;

export function dubboRequest(request: DubboRequest): Buffer {
  const { path = "test.Echo", version = "1.0", attachments = [["remote.application", "caller"]] } = request;
  const body = hessianCall({ path, version, method: "echo", attachments }, request.args ?? []);
  return dubboBytes((request.oneway === true ? 0x80 : 0xc0) | hessian2, 0, request.idHigh ?? 0, request.id, body);
}

/** A request whose body is whatever is given. */
export function dubboRaw(id: number, body: Uint8Array, serialization: number = hessian2): Buffer {
  return dubboBytes(0xc0 | serialization, 0, 0, id, body);
}

/** The five texts that stand before the arguments. */
export function dubboHead(path = "test.Echo", version = "1.0"): Buffer {
  return Buffer.concat(["2.0.2", path, version, "echo", ""].map((text) => hessianText(text)));
}

/** OK, and a value behind the one that says so. */
export function dubboResponse(id: number, value = "echo"): Buffer {
  return dubboBytes(hessian2, 20, 0, id, Buffer.concat([Buffer.from([0x91]), hessianText(value)]));
}

export function dubboEcho(peer: Peer, frame: Received): void {
  if (frame.kind === frameKind.request) peer.send(dubboResponse(frame.id));
}
