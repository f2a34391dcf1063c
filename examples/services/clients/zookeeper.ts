/**
 * node-zookeeper-client, as the Dubbo provider uses it.
 * The library brings no types; these are of what is used here.
 */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

export interface Failure extends Error {
  getCode(): number;
}

export interface Client {
  once(event: "connected" | "expired", listener: () => void): void;
  connect(): void;
  close(): void;
  mkdirp(path: string, done: (error: Error | null) => void): void;
  remove(path: string, version: number, done: (error: Error | null) => void): void;
  create(path: string, mode: number, done: (error: Error | null) => void): void;
}

interface ZooKeeper {
  createClient(registry: string, options: { sessionTimeout: number }): Client;
  readonly CreateMode: { readonly EPHEMERAL: number };
  readonly Exception: { new (code: number): Failure; readonly NO_NODE: number };
}

export const zookeeper: ZooKeeper = require("node-zookeeper-client");
