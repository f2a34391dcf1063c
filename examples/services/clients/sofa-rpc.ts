/**
 * sofa-rpc-node, as the Bolt services use it.
 * The library brings no types; these are of what is used here.
 */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

interface Logger {
  debug(...words: unknown[]): void;
  info(...words: unknown[]): void;
  warn(...words: unknown[]): void;
  error(...words: unknown[]): void;
}

interface ZookeeperRegistry {
  on(event: "error", listener: (error: Error) => void): void;
  close(): Promise<void>;
}

interface RpcConsumer {
  ready(): Promise<void>;
  invoke(method: string, args: readonly unknown[]): Promise<{ by: string }>;
  on(
    event: "response",
    listener: (context: { req: { args: readonly [number]; meta: { address: { host: string } | null } } }) => void,
  ): void;
}

interface RpcClient {
  createConsumer(options: { interfaceName: string; responseTimeout: number }): RpcConsumer;
  on(event: "error", listener: (error: Error) => void): void;
  close(): Promise<void>;
}

interface RpcServer {
  addService(info: { interfaceName: string }, methods: Record<string, (argument: number) => Promise<unknown>>): void;
  on(event: "error", listener: (error: Error) => void): void;
  start(): Promise<void>;
  publish(): Promise<unknown>;
  unPublish(): Promise<unknown>;
  close(): Promise<void>;
}

interface ServerOptions {
  appName: string;
  logger: Logger;
  registry: ZookeeperRegistry;
  publishAddress: string;
  port: number;
}

interface SofaRpc {
  readonly registry: { ZookeeperRegistry: new (options: { logger: Logger; address: string }) => ZookeeperRegistry };
  readonly client: { RpcClient: new (options: { logger: Logger; registry: ZookeeperRegistry }) => RpcClient };
  readonly server: { RpcServer: new (options: ServerOptions) => RpcServer };
}

export const sofa: SofaRpc = require("sofa-rpc-node");
