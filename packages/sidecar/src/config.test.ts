import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig, parsePlacedConfig } from "@dualmesh/base/config/config";
import { printConfig } from "@dualmesh/base/config/print";
import { isMeshError } from "@dualmesh/base/errors";
import { placeModules, sidecarConfig } from "./config.ts";
import { boltPortOf, meshDoorOf, registryAddresses, zooKeeperAddresses } from "./settings.ts";

const read = (text: string) => parseConfig(sidecarConfig, text, "sidecar.yaml");

function problems(text: string): string {
  try {
    read(text);
  } catch (error) {
    assert.ok(isMeshError(error, "config.invalid"));
    return error.message;
  }
  return assert.fail("was accepted");
}

test("an empty file is a whole configuration", () => {
  const config = read("");
  assert.equal(config.directory, "registry");
  assert.deepEqual(registryAddresses(config), ["127.0.0.1:7710"]);
  assert.deepEqual(config.inbound, {});
  assert.deepEqual(config.outbound, { host: "127.0.0.1" });
  assert.deepEqual(config.publishedPorts, { from: 20_900, to: 20_999 });
  assert.deepEqual(config.doors, { zookeeper: {}, eureka: {}, http: {} });
  assert.deepEqual(meshDoorOf(config), { port: undefined, outboundPort: 12_220, isAskedFor: false });
  assert.deepEqual(config.admin, { host: "127.0.0.1" });
  assert.equal(config.timeouts.defaultMs, 60_000);
  assert.equal(config.limits.stageBytes, 1_048_576);
});

test("a part of a group leaves the rest of it at its defaults, and a door can be shut", () => {
  const config = read("doors: { mesh: false, zookeeper: { port: 0 } }\ntimeouts: { connectMs: 50 }\n");
  assert.deepEqual(config.doors, { zookeeper: { port: 0 }, mesh: false, eureka: {}, http: {} });
  assert.equal(meshDoorOf(config), undefined);
  assert.equal(meshDoorOf(read("doors: { mesh: {} }"))?.isAskedFor, true);
  assert.equal(config.timeouts.connectMs, 50);
  assert.equal(config.timeouts.defaultMs, 60_000);
});

test("a host is an address or a name without a port, and where others call is not every address", () => {
  for (const fine of ["10.0.0.5", "fd00::2", "web-1.example.org", "fx_1"]) {
    assert.equal(read(`advertise: "${fine}"`).advertise, fine);
    assert.equal(read(`admin: { host: "${fine}" }`).admin.host, fine);
  }
  assert.equal(read("inbound: { host: 0.0.0.0 }").inbound.host, "0.0.0.0");
  for (const wrong of ["10.0.0.5:80", "http://a", "[::1]", "a b"])
    assert.match(
      problems(`advertise: "${wrong}"`),
      /advertise: expected an IP address or the name of a host, without a port/,
    );
  for (const everywhere of ["0.0.0.0", "::"]) {
    assert.match(problems(`advertise: "${everywhere}"`), /advertise: nobody can call all addresses/);
    assert.match(problems(`tcp: [{ service: a, port: 1, host: "${everywhere}" }]`), /tcp\[0\]\.host: nobody can call/);
  }
});

test("the registry may have several addresses", () => {
  const config = read("registry: { address: ['10.0.0.1:7710', '[::1]:7710'] }");
  assert.deepEqual(registryAddresses(config), ["10.0.0.1:7710", "[::1]:7710"]);
});

test("an address that is none is one problem: what, where, and how it should look", () => {
  const asIn = 'as in 10.0.0.5:7710, got "';
  for (const [wrong, expected] of [
    ["nohost", `1:13: registry.address: expected HOST:PORT of the registry's stream, ${asIn}nohost"`],
    ["10.0.0.1:0", `1:13: registry.address: expected a port from 1 to 65535 after the colon, ${asIn}10.0.0.1:0"`],
    ["a:99999", `1:13: registry.address: expected a port from 1 to 65535 after the colon, ${asIn}a:99999"`],
  ])
    assert.equal(
      problems(`registry: { address: "${wrong}" }`),
      `the configuration has 1 problem:\n  sidecar.yaml:${expected}`,
    );
  assert.match(
    problems("registry: { address: ['a:1', nohost] }"),
    /has 1 problem:\n.*registry\.address\[1\]: expected HOST/,
  );
});

test("a default deadline that is longer than the longest is refused, with both keys and their lines", () => {
  const text = problems("timeouts:\n  defaultMs: 100\n  maxMs: 50\n");
  assert.match(text, /sidecar\.yaml:2:3: timeouts\.defaultMs: 100 ms are more than timeouts\.maxMs allows \(50\)/);
  assert.match(text, /sidecar\.yaml:3:3: timeouts\.maxMs: 50 ms are less than timeouts\.defaultMs asks for \(100\)/);
  assert.match(problems("timeouts: { maxMs: 50 }"), /timeouts\.defaultMs: 60000 ms are more than/);
});

test("directories that come later are named as such", () => {
  assert.match(problems("directory: xds"), /later version/);
  assert.match(problems("directory: etcd"), /directory/);
});

test("an existing ZooKeeper is named by its servers, and its credentials are shown to nobody", () => {
  const text = "directory: zookeeper\nzookeeper: { addresses: 'a:2181,b:2181', auth: { credentials: 'me:secret' } }";
  const config = read(text);
  assert.deepEqual(zooKeeperAddresses(config), ["a:2181", "b:2181"]);
  assert.deepEqual(zooKeeperAddresses(read("zookeeper: { addresses: ['a:1', 'b:2'] }")), ["a:1", "b:2"]);
  assert.deepEqual([config.zookeeper.dubboRoot, config.zookeeper.sofaRoot], ["/dubbo", "/sofa-rpc"]);
  const printed = printConfig(sidecarConfig, config);
  assert.match(printed, /credentials: "?\[redacted\]/);
  assert.doesNotMatch(printed, /secret/);
  assert.match(problems("directory: zookeeper"), /zookeeper\.addresses: directory: zookeeper needs/);
  assert.match(
    problems("zookeeper: { addresses: 'a:1,b' }"),
    /zookeeper\.addresses: expected HOST:PORT of a ZooKeeper/,
  );
  assert.match(problems("zookeeper: { chroot: a/b }"), /zookeeper\.chroot: expected the path/);
  assert.match(problems("zookeeper: { auth: { credentials: nocolon } }"), /USER:PASSWORD/);
  assert.match(
    problems("directory: zookeeper\nzookeeper: { addresses: 'a:1' }\ntcp: [{ service: db, port: 1 }]"),
    /3:1: tcp: services that pass bytes/,
  );
});

test("an application's Bolt port is said where its registry does not say it", () => {
  const config = read("apps: [{ name: shop, boltPort: 12300 }, { name: stock }]");
  assert.equal(boltPortOf(config, "shop"), 12_300);
  assert.equal(boltPortOf(config, "stock"), 12_200);
  assert.equal(boltPortOf(config, "unheard-of"), 12_200);
  assert.match(problems("apps: [{ name: a }, { name: a }]"), /named twice/);
});

test("mistakes are told with their place", () => {
  assert.match(problems("zone: east\ninbund: { port: 1 }"), /sidecar\.yaml:2:\d+: inbund: .*inbound/);
  assert.match(problems("outbound:\n  host: 0.0.0.0"), /sidecar\.yaml:2:\d+: outbound\.host/);
  assert.match(problems("publishedPorts: { from: 30, to: 20 }"), /publishedPorts\.to/);
  assert.match(problems("timeouts: { connectMs: soon }"), /timeouts\.connectMs/);
  assert.match(problems("limits: { connections: -1 }"), /limits\.connections/);
});

test("tcp services have a name each, which is told where it stands twice", () => {
  const { tcp, timeouts, limits } = read("tcp: [{ service: redis, port: 6379 }, { service: db, port: 3306, host: h }]");
  assert.deepEqual(tcp, [
    { service: "redis", port: 6_379 },
    { service: "db", port: 3_306, host: "h" },
  ]);
  assert.equal(timeouts.tcpIdleMs, 3_600_000);
  assert.equal(limits.tcpConnections, 4_096);
  assert.match(
    problems("tcp:\n  - { service: redis, port: 1 }\n  - { service: redis, port: 2 }\n"),
    /sidecar\.yaml:3:\d+: tcp\[1\]\.service: redis is given twice; remove one/,
  );
  assert.match(problems("tcp: [{ service: 'tcp/redis::', port: 1 }]"), /expected a name without/);
});

test("modules are found from the folder of the file, and what is wrong with them has a place", () => {
  const text = "protocols:\n  - module: ./own/codec.ts\n  - module: /opt/codec.mjs\n";
  const { config, whereOf } = parsePlacedConfig(sidecarConfig, text, "sidecar.yaml");
  assert.deepEqual(placeModules(config, { folder: "/etc/dualmesh", whereOf }).protocols, [
    { module: "/etc/dualmesh/own/codec.ts", where: "sidecar.yaml:2:5" },
    { module: "/opt/codec.mjs", where: "sidecar.yaml:3:5" },
  ]);
  assert.match(problems("protocols: [{ module: codec }]"), /expected the file of a module: \.ts, \.js or \.mjs/);
});
