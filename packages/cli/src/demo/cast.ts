/** Who plays in the demo: two callers, one on Bolt and one on Dubbo, and two instances of what each of them calls. */

export interface Role {
  readonly name: string;
  readonly kind: "consumer" | "provider";
  readonly protocol: "Bolt" | "Dubbo";
  /** The program in `examples/services/`. */
  readonly program: string;
  /** For a consumer: the instances that it calls. */
  readonly calls: readonly string[];
}

export const cast: readonly Role[] = [
  { name: "price-1", kind: "provider", protocol: "Bolt", program: "bolt-provider.ts", calls: [] },
  { name: "price-2", kind: "provider", protocol: "Bolt", program: "bolt-provider.ts", calls: [] },
  { name: "stock-1", kind: "provider", protocol: "Dubbo", program: "dubbo-provider.ts", calls: [] },
  { name: "stock-2", kind: "provider", protocol: "Dubbo", program: "dubbo-provider.ts", calls: [] },
  { name: "shop", kind: "consumer", protocol: "Bolt", program: "bolt-consumer.ts", calls: ["price-1", "price-2"] },
  { name: "cart", kind: "consumer", protocol: "Dubbo", program: "dubbo-consumer.ts", calls: ["stock-1", "stock-2"] },
];

export function roleOf(name: string): Role {
  const role = cast.find((one) => one.name === name);
  if (role === undefined) throw new RangeError(`nobody in the demo is called ${name}`);
  return role;
}

export const providers: readonly string[] = cast.filter(({ kind }) => kind === "provider").map(({ name }) => name);
export const consumers: readonly string[] = cast.filter(({ kind }) => kind === "consumer").map(({ name }) => name);
