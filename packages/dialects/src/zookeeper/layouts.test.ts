import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Instance } from "@dualmesh/model/instance";
import fc from "fast-check";
import { dubboLayout } from "./dubbo-layout.ts";
import {
  decodeName,
  dialledLoopback,
  encodeName,
  nameWithAddress,
  parseProviderUrl,
  registrationText,
} from "./provider-url.ts";
import { sofaLayout } from "./sofa-layout.ts";

const dubbo = dubboLayout();
const sofa = sofaLayout();
const noCounter = (): number => 7;

const dubboUrl =
  "dubbo://192.0.2.2:20880/fx.Greeter?application=fx-provider&deprecated=false&dubbo=2.0.2&dynamic=true&generic=false&group=blue&interface=fx.Greeter&methods=boom,echoMap&prefer.serialization=hessian2,fastjson2&release=3.3.6&side=provider&timestamp=1795475652816&version=1.2";
const sofaUrl =
  "bolt://127.0.0.1:12200?version=1.0&accepts=100000&appName=fx-provider&weight=50&language=java&pid=7490&interface=fx.Greeter&timeout=0&serialization=hessian2&protocol=bolt&delay=-1&dynamic=true&startTime=1795475698583&id=rpc-cfg-0&uniqueId=red&rpcVer=51302";

function read(layout: typeof dubbo, url: string): Instance {
  const instance = layout.readProvider("fx.Greeter", encodeName(url), noCounter);
  assert.ok(instance !== undefined);
  return instance;
}

describe("provider URLs", () => {
  it("are encoded as Java does it", () => {
    assert.equal(encodeName("a b*c~d!'()é/?"), "a+b*c%7Ed%21%27%28%29%C3%A9%2F%3F");
  });

  it("are given back identical whatever encoded them, when the address is the same", () => {
    const character = fc.constantFrom(..."abZ09-_.*~!'() &=/?%+é");
    const query = fc.string({ unit: character, maxLength: 30 });
    fc.assert(
      fc.property(query, fc.constantFrom(encodeName, encodeURIComponent), fc.boolean(), (text, encode, path) => {
        const name = encode(`dubbo://10.0.0.1:20880${path ? "/fx.Greeter" : ""}?a=${text}`);
        const instance = dubbo.readProvider("fx.Greeter", name, noCounter);
        assert.ok(instance !== undefined);
        assert.equal(dubbo.nameOf(instance), name);
        const moved = dubbo.nameOf({ ...instance, address: "10.0.0.2", port: 20881 });
        assert.equal(moved.replace("10.0.0.2", "10.0.0.1").replace("20881", "20880"), name);
      }),
    );
  });

  it("keep everything but host and port when the address changes, IPv6 and user names included", () => {
    const changed = (url: string, host: string, port: number): string | undefined =>
      decodeName(nameWithAddress(registrationText(encodeName(url)), host, port) ?? "");
    assert.equal(changed("dubbo://[fe80::1]:1/a?x=1", "10.0.0.1", 2), "dubbo://10.0.0.1:2/a?x=1");
    assert.equal(changed("dubbo://me:word@h:1/a?x=h:1", "::1", 2), "dubbo://me:word@[::1]:2/a?x=h:1");
    assert.equal(changed("bolt://h?x=1", "g", 2), "bolt://g:2?x=1");
  });

  it("are refused when they cannot name an endpoint", () => {
    for (const text of ["", "fx", "dubbo://h:99999/a", "dubbo://h/a", "dubbo://:1/a", "://h:1", "%ZZ"]) {
      assert.equal(dubbo.readProvider("fx.Greeter", encodeURIComponent(text), noCounter), undefined, text);
    }
    assert.equal(dubbo.readProvider("fx.Greeter", "%ZZ", noCounter), undefined);
    assert.equal(parseProviderUrl("dubbo://h:1/a?__proto__=x")?.parameters.get("__proto__"), "x");
  });

  it("survive any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        for (const layout of [dubbo, sofa]) {
          const instance = layout.readProvider("fx.Greeter", text, noCounter);
          layout.readConsumer("fx.Greeter", text);
          if (instance !== undefined) layout.nameOf(instance);
        }
      }),
    );
  });
});

describe("the layout of Dubbo", () => {
  it("reads a provider's node", () => {
    const instance = read(dubbo, dubboUrl);
    assert.deepEqual(instance, {
      service: "dubbo/fx.Greeter:1.2:blue",
      host: "192.0.2.2",
      application: "fx-provider",
      appPort: 20880,
      address: "192.0.2.2",
      port: 20880,
      weight: 100,
      warmupMs: 600_000,
      startedAt: 1795475652816,
      zone: "",
      labels: {},
      mode: "sdk",
      security: "plain",
      identity: "",
      bypassed: "",
      incarnation: 1795475652816,
      registration: { dialect: "dubbo", text: dubboUrl },
    });
    const plain = read(dubbo, "tri://10.0.0.1:50051/fx.Greeter?version=0.0.0&dubbo.tag=gray&weight=99999");
    assert.equal(plain.service, "tri/fx.Greeter::");
    assert.equal(plain.warmupMs, 0);
    assert.equal(plain.weight, 10_000);
    assert.equal(plain.incarnation, 7);
    assert.deepEqual(plain.labels, { tag: "gray" });
  });

  it("writes a loopback address as the number that Dubbo dials", () => {
    const name = dubbo.nameOf({ ...read(dubbo, dubboUrl), address: "127.0.0.1", port: 20882 });
    assert.equal(decodeName(name), dubboUrl.replace("192.0.2.2:20880", "2130706433:20882"));
    assert.equal(dialledLoopback("127.1.2.3"), String(127 * 2 ** 24 + 65_536 + 512 + 3));
    assert.equal(dialledLoopback("128.0.0.1"), "128.0.0.1");
  });

  it("builds a name for what another dialect registered, which reads as the same instance", () => {
    const instance = { ...read(dubbo, dubboUrl), weight: 30, registration: { dialect: "native", text: "" } };
    const name = dubbo.nameOf(instance);
    const { registration, ...again } = dubbo.readProvider("fx.Greeter", name, noCounter) as Instance;
    assert.equal(registration.dialect, "dubbo");
    assert.deepEqual({ ...again, registration: instance.registration }, instance);
  });

  it("knows what a consumer wants", () => {
    const wanted = (parameters: string) =>
      dubbo.readConsumer("fx.Greeter", encodeName(`consumer://192.0.2.2/fx.Greeter?application=c&${parameters}`))
        ?.services;
    assert.deepEqual(wanted(""), ["dubbo/fx.Greeter::"]);
    assert.deepEqual(wanted("version=1.2&group=blue"), ["dubbo/fx.Greeter:1.2:blue"]);
    assert.deepEqual(wanted("version=0.0.0&group=a,b"), ["dubbo/fx.Greeter::a", "dubbo/fx.Greeter::b"]);
    assert.deepEqual(wanted("group=*"), []);
    assert.deepEqual(wanted("protocol=tri"), ["tri/fx.Greeter::"]);
  });

  it("knows which paths are what", () => {
    const kind = (path: string) => dubbo.place(path.slice(1).split("/"))?.kind;
    assert.equal(kind("/dubbo/fx.Greeter/providers"), "providers");
    assert.equal(kind("/dubbo/fx.Greeter/providers/x"), "provider");
    assert.equal(kind("/dubbo/fx.Greeter/consumers/x"), "consumer");
    assert.equal(kind("/dubbo/fx.Greeter/configurators/x"), "plain");
    assert.equal(kind("/dubbo/metadata/fx.Greeter"), "private");
    assert.equal(kind("/dubbo/mapping/fx.Greeter"), "private");
    assert.equal(kind("/dubbo/config/dubbo/x.tag-router"), "private");
    assert.equal(kind("/services/app/10.0.0.1:20880"), "private");
    assert.equal(kind("/sofa-rpc/x"), undefined);
  });
});

describe("the layout of SOFA-RPC", () => {
  it("reads a provider's node and a consumer's", () => {
    const instance = read(sofa, sofaUrl);
    assert.equal(instance.service, "bolt/fx.Greeter:1.0:red");
    assert.equal(instance.application, "fx-provider");
    assert.equal(instance.weight, 50);
    assert.equal(instance.startedAt, 1795475698583);
    assert.deepEqual(instance.registration, { dialect: "sofa", text: sofaUrl });
    assert.equal(sofa.nameOf(instance), encodeName(sofaUrl));
    const consumer = sofa.readConsumer("fx.Greeter", encodeName("bolt://192.0.2.2?version=1.0&uniqueId=red&appName=c"));
    assert.deepEqual(consumer, { application: "c", services: ["bolt/fx.Greeter:1.0:red"], timeoutMs: 0 });
  });

  it("writes a loopback address as it is, and builds a name for what came over mesh://", () => {
    const instance: Instance = {
      ...read(sofa, sofaUrl),
      address: "127.0.0.1",
      port: 20882,
      registration: { dialect: "mesh", text: "{}" },
    };
    assert.equal(
      decodeName(sofa.nameOf(instance)),
      "bolt://127.0.0.1:20882?version=1.0&accepts=100000&appName=fx-provider&weight=50&language=java&interface=fx.Greeter&timeout=0&serialization=hessian2&protocol=bolt&delay=-1&dynamic=true&startTime=1795475698583&uniqueId=red&rpcVer=51302",
    );
  });
});
