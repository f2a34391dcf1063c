/** Who plays in the demo: a caller on each of Bolt, Dubbo and HTTP, and two instances of what each of them calls. */

export type Language = "Node" | "Python";

export interface Program {
  /** In `examples/`. */
  readonly file: string;
  readonly language: Language;
  /** What it is told to register and look up with: ZooKeeper's protocol, the HTTP door, or the SDK, which takes the registry's stream or a door. */
  readonly finds: "zookeeper" | "http" | "sdk";
}

export interface Role {
  readonly name: string;
  readonly kind: "consumer" | "provider";
  readonly protocol: "Bolt" | "Dubbo" | "HTTP";
  readonly program: Program;
  /** What plays the role where nothing runs the first program's language. */
  readonly understudy?: Program;
  /** For a consumer: the instances that it calls. */
  readonly calls: readonly string[];
}

const onZooKeeper = (file: string): Program => ({ file: `services/${file}`, language: "Node", finds: "zookeeper" });
const onSdk = (file: string): Program => ({ file: `node/${file}`, language: "Node", finds: "sdk" });

const price = { kind: "provider", protocol: "Bolt", program: onZooKeeper("bolt-provider.ts"), calls: [] } as const;
const stock = { kind: "provider", protocol: "Dubbo", program: onZooKeeper("dubbo-provider.ts"), calls: [] } as const;
const rating = {
  kind: "provider",
  protocol: "HTTP",
  program: { file: "python/rating.py", language: "Python", finds: "http" },
  understudy: onSdk("rating.ts"),
  calls: [],
} as const;

export const cast: readonly Role[] = [
  { name: "price-1", ...price },
  { name: "price-2", ...price },
  { name: "stock-1", ...stock },
  { name: "stock-2", ...stock },
  { name: "rating-1", ...rating },
  { name: "rating-2", ...rating },
  {
    name: "shop",
    kind: "consumer",
    protocol: "Bolt",
    program: onZooKeeper("bolt-consumer.ts"),
    calls: ["price-1", "price-2"],
  },
  {
    name: "cart",
    kind: "consumer",
    protocol: "Dubbo",
    program: onZooKeeper("dubbo-consumer.ts"),
    calls: ["stock-1", "stock-2"],
  },
  { name: "page", kind: "consumer", protocol: "HTTP", program: onSdk("page.ts"), calls: ["rating-1", "rating-2"] },
];

export function roleOf(name: string): Role {
  const role = cast.find((one) => one.name === name);
  if (role === undefined) throw new RangeError(`nobody in the demo is called ${name}`);
  return role;
}

/** The program of a role on a machine that runs these languages. */
export function programOf(name: string, languages: ReadonlySet<Language>): Program {
  const { program, understudy } = roleOf(name);
  return understudy === undefined || languages.has(program.language) ? program : understudy;
}

export const providers: readonly string[] = cast.filter(({ kind }) => kind === "provider").map(({ name }) => name);
export const consumers: readonly string[] = cast.filter(({ kind }) => kind === "consumer").map(({ name }) => name);
