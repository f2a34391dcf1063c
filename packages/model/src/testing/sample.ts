/** An instance as tests and benches need one: valid in every field, of which a test names those that it is about. Test support. */
import type { Instance } from "../instance.ts";

/** Published in SDK mode, where the application itself listens, unless `changes` say otherwise. */
export function sampleInstance(changes: Partial<Instance> = {}): Instance {
  const { host = "10.0.0.1", appPort = 12_200 } = changes;
  return {
    service: "bolt/demo.Greeter:1.0:",
    host,
    application: "greeter",
    appPort,
    address: host,
    port: appPort,
    weight: 100,
    warmupMs: 0,
    startedAt: 0,
    zone: "",
    labels: {},
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: 1,
    registration: { dialect: "native", text: "" },
    ...changes,
  };
}
