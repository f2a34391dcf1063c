/**
 * Why this exists: the one table of the RPC protocols that are built in. A protocol is one folder here and one line below.
 */
import { boltCodec } from "./bolt/codec.ts";
import { dubboCodec } from "./dubbo/codec.ts";
import type { RpcCodec } from "./rpc.ts";

/** Each is only ever given views that it made itself, so its own type of view need not be named. */
export const rpcCodecs: readonly RpcCodec[] = [boltCodec, dubboCodec];
