/**
 * dubbo2.js, as the Dubbo consumer uses it.
 * The library brings no types; these are of what is used here.
 */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** What a method of a proxied service resolves to; `dialled` is put there by the consumer's own middleware. */
export interface Reply<T> {
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

interface Dubbo2 {
  readonly Dubbo: { from<Services>(options: Options<Services>): Dubbo<Services> };
  readonly setting: Setting;
  readonly java: { Integer(value: number): unknown };
}

export const dubbo2: Dubbo2 = require("dubbo2.js");
