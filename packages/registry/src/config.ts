/** The registry's configuration file: its shape, its defaults and its limits. */
import { z } from "zod";

const port = z.number().int().min(0).max(65_535);
const milliseconds = (smallest: number, largest: number): z.ZodNumber => z.number().int().min(smallest).max(largest);

const limitsShape = z
  .strictObject({
    /** Connections of the stream; further ones are refused at once. */
    connections: z.number().int().min(1).max(1_000_000).default(20_000),
    /** Connections of each door. */
    doorConnections: z.number().int().min(1).max(1_000_000).default(10_000),
    /** Instances that one session may publish. */
    sessionInstances: z.number().int().min(1).max(1_000_000).default(10_000),
    /** Services and patterns that one connection may watch. */
    subscriptions: z.number().int().min(1).max(1_000_000).default(10_000),
    /** Patterns of the catalogue that one connection may watch: a sidecar has one for each interface that its applications list. */
    patterns: z.number().int().min(1).max(1_000_000).default(10_000),
    /** Instances of all sessions together. */
    instances: z.number().int().min(1).max(20_000_000).default(1_000_000),
    services: z.number().int().min(1).max(10_000_000).default(200_000),
  })
  .prefault({});

export const registryConfigShape = z.strictObject({
  /** Where stream, doors and admin listen. */
  listen: z.string().min(1).default("127.0.0.1"),
  /** 0 takes any free port. */
  stream: z.strictObject({ port: port.default(7_710) }).prefault({}),
  admin: z.strictObject({ port: port.default(7_711) }).prefault({}),
  /** `false` keeps a door shut. */
  doors: z
    .strictObject({
      zookeeper: z.union([z.literal(false), z.strictObject({ port: port.default(2_181) })]).prefault({}),
      /** Eureka, for Spring Cloud. */
      eureka: z.union([z.literal(false), z.strictObject({ port: port.default(8_761) })]).prefault({}),
      /** HTTP/JSON, for any language. */
      http: z.union([z.literal(false), z.strictObject({ port: port.default(7_712) })]).prefault({}),
    })
    .prefault({}),
  /** How long a session that lost its connection keeps its instances. */
  graceMs: milliseconds(100, 3_600_000).default(15_000),
  /** How long after a start nobody is judged: what was loaded stays until its owner reports or this has passed. */
  restartWindowMs: milliseconds(100, 3_600_000).default(60_000),
  /** Changes within this time go out together. */
  tickMs: milliseconds(1, 1_000).default(10),
  /** How often each connection is asked, and told what proves that it is fresh. */
  pingMs: milliseconds(100, 60_000).default(5_000),
  /** A consumer whose socket took nothing for this long is cut. */
  slowConsumerMs: milliseconds(100, 600_000).default(10_000),
  limits: limitsShape,
});

export type RegistryConfig = z.output<typeof registryConfigShape>;
