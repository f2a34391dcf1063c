// What the services use of client libraries that bring no types of their own.

declare module "sofa-rpc-node" {
  interface Logger {
    debug(...words: unknown[]): void;
    info(...words: unknown[]): void;
    warn(...words: unknown[]): void;
    error(...words: unknown[]): void;
  }

  interface Registration {
    interfaceName: string;
    url: string;
  }

  interface ZookeeperRegistry {
    register(config: Registration): Promise<void>;
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

  export const registry: { ZookeeperRegistry: new (options: { logger: Logger; address: string }) => ZookeeperRegistry };
  export const client: { RpcClient: new (options: { logger: Logger; registry: ZookeeperRegistry }) => RpcClient };
  export const server: {
    RpcServer: new (options: {
      appName: string;
      logger: Logger;
      registry: ZookeeperRegistry;
      publishAddress: string;
      port: number;
    }) => RpcServer;
  };
}

declare module "dubbo2.js" {
  namespace dubbo2 {
    /** What a method of a proxied service resolves to; `dialled` is put there by the consumer's own middleware. */
    interface Reply<T> {
      readonly res: T | null;
      readonly err: Error | null;
      readonly dialled?: string;
    }

    interface Context {
      readonly invokeHost?: string;
      readonly invokePort?: number;
      body: Reply<unknown>;
    }

    interface Setting {
      match(service: string, to: { version: string }): Setting;
    }

    interface Dubbo<Services> {
      readonly service: Services;
      proxyService<T>(provider: {
        dubboInterface: string;
        methods: Record<string, (...input: never[]) => readonly unknown[]>;
      }): T;
      use(middleware: (context: Context, next: () => Promise<void>) => Promise<void>): void;
      ready(): Promise<void>;
    }

    interface Options<Services> {
      application: { name: string };
      register: string;
      dubboInvokeTimeout: number;
      dubboSetting: Setting;
      service: { [Name in keyof Services]: (dubbo: Dubbo<Services>) => Services[Name] };
    }
  }

  const dubbo2: {
    readonly Dubbo: { from<Services>(options: dubbo2.Options<Services>): dubbo2.Dubbo<Services> };
    readonly setting: dubbo2.Setting;
    readonly java: { Integer(value: number): unknown };
  };
  export = dubbo2;
}

declare module "hessian.js" {
  class EncoderV2 {
    write(value: unknown): this;
    get(): Buffer;
  }

  class DecoderV2 {
    constructor(bytes: Buffer);
    read(): unknown;
  }

  const hessian: { readonly EncoderV2: typeof EncoderV2; readonly DecoderV2: typeof DecoderV2 };
  export = hessian;
}

declare module "node-zookeeper-client" {
  namespace zookeeper {
    interface Exception extends Error {
      getCode(): number;
    }

    interface Client {
      once(event: "connected" | "expired", listener: () => void): void;
      connect(): void;
      close(): void;
      mkdirp(path: string, done: (error: Error | null) => void): void;
      remove(path: string, version: number, done: (error: Error | null) => void): void;
      create(path: string, mode: number, done: (error: Error | null) => void): void;
    }
  }

  const zookeeper: {
    createClient(registry: string, options: { sessionTimeout: number }): zookeeper.Client;
    readonly CreateMode: { readonly EPHEMERAL: number };
    readonly Exception: { new (code: number): zookeeper.Exception; readonly NO_NODE: number };
  };
  export = zookeeper;
}
