import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { type Applications, eurekaWorld, postedInstance } from "./testing.ts";

const provider = "/eureka/apps/FX-PROVIDER/192.0.2.2:fx-provider:18081";
const dirty = 1_700_000_000_100;
const native = (changes: object = {}) =>
  sampleInstance({ service: "http/orders::", application: "orders", appPort: 8_080, port: 8_080, ...changes });

test("what Spring posts is published, renewed, listed and cancelled", async () => {
  const { ask, directory, list, register } = await eurekaWorld();
  assert.equal((await register()).status, 204);
  const [instance] = directory.instances();
  assert.equal(instance?.service, "http/fx-provider::");
  assert.equal(`${instance?.application} ${instance?.address}:${instance?.port}`, "fx-provider 192.0.2.2:18081");
  assert.equal(instance?.incarnation, dirty);
  assert.deepEqual({ ...instance?.labels }, { "management.port": "18081" });
  const renewed = await ask(`${provider}?status=UP&lastDirtyTimestamp=${dirty}`, { method: "PUT" });
  assert.equal(`${renewed.status}${renewed.text}`, "200");
  assert.deepEqual(await list(), ["FX-PROVIDER 192.0.2.2:fx-provider:18081 192.0.2.2:18081"]);
  assert.equal((await ask(provider, { method: "DELETE" })).status, 200);
  assert.deepEqual(directory.instances(), []);
  assert.equal((await ask(provider, { method: "DELETE" })).status, 404);
  assert.equal((await ask(provider, { method: "PUT" })).status, 404);
});

test("a renewal that knows of a later state makes the client register again", async () => {
  const { ask, register } = await eurekaWorld();
  await register();
  const renew = async (at: number) => (await ask(`${provider}?lastDirtyTimestamp=${at}`, { method: "PUT" })).status;
  assert.deepEqual([await renew(dirty - 1), await renew(dirty), await renew(dirty + 1)], [200, 200, 404]);
});

test("the golden texts of the list and of the changes, in JSON and in XML", async () => {
  const { ask, directory } = await eurekaWorld();
  const labels = { "a_b<": "no name in XML", tier: "<1>" };
  await directory.publish(native({ labels, startedAt: 5, zone: "east", weight: 50 }));
  const json =
    '{"instanceId":"10.0.0.1:orders:8080","hostName":"10.0.0.1","app":"ORDERS","ipAddr":"10.0.0.1","status":"UP","overriddenStatus":"UNKNOWN","port":{"$":8080,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"countryId":1,"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":90,"registrationTimestamp":5,"lastRenewalTimestamp":5,"evictionTimestamp":0,"serviceUpTimestamp":5},"metadata":{"a_b<":"no name in XML","tier":"<1>","weight":"50","zone":"east"},"vipAddress":"orders","secureVipAddress":"orders","isCoordinatingDiscoveryServer":"false","lastUpdatedTimestamp":"5","lastDirtyTimestamp":"1"';
  const list = (instance: string) =>
    `{"applications":{"versions__delta":"1000000002","apps__hashcode":"UP_1_","application":[{"name":"ORDERS","instance":[${instance}]}]}}`;
  await ask("/eureka/apps");
  assert.equal((await ask("/eureka/apps/")).text, list(`${json}}`));
  assert.equal((await ask("/eureka/apps/delta")).text, list(`${json},"actionType":"ADDED"}`));
  const xml = await ask("/eureka/apps/delta", { headers: { accept: "application/xml" } });
  assert.equal(xml.headers["content-type"], "application/xml");
  assert.equal(
    xml.text,
    '<applications><versions__delta>1000000002</versions__delta><apps__hashcode>UP_1_</apps__hashcode><application><name>ORDERS</name><instance><instanceId>10.0.0.1:orders:8080</instanceId><hostName>10.0.0.1</hostName><app>ORDERS</app><ipAddr>10.0.0.1</ipAddr><status>UP</status><overriddenStatus>UNKNOWN</overriddenStatus><port enabled="true">8080</port><securePort enabled="false">443</securePort><countryId>1</countryId><dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo><leaseInfo><renewalIntervalInSecs>30</renewalIntervalInSecs><durationInSecs>90</durationInSecs><registrationTimestamp>5</registrationTimestamp><lastRenewalTimestamp>5</lastRenewalTimestamp><evictionTimestamp>0</evictionTimestamp><serviceUpTimestamp>5</serviceUpTimestamp></leaseInfo><metadata><tier>&#60;1&#62;</tier><weight>50</weight><zone>east</zone></metadata><vipAddress>orders</vipAddress><secureVipAddress>orders</secureVipAddress><isCoordinatingDiscoveryServer>false</isCoordinatingDiscoveryServer><lastUpdatedTimestamp>5</lastUpdatedTimestamp><lastDirtyTimestamp>1</lastDirtyTimestamp><actionType>ADDED</actionType></instance></application></applications>',
  );
});

test("a registration in XML is one in JSON, and one with a DTD is refused", async () => {
  const { ask, directory } = await eurekaWorld();
  const headers = { "content-type": "application/xml" };
  const instance =
    '<instance><hostName>192.0.2.7</hostName><app>stock</app><ipAddr>192.0.2.7</ipAddr><vipAddress>stock</vipAddress><port enabled="true">8080</port></instance>';
  assert.equal((await ask("/v2/apps/STOCK", { body: instance, headers })).status, 204);
  assert.equal(directory.instances()[0]?.service, "http/stock::");
  const hostile = await ask("/apps/STOCK", { body: `<!DOCTYPE x [<!ENTITY y "z">]>${instance}`, headers });
  assert.equal(hostile.status, 400);
  assert.match(hostile.text, /DTD/);
});

test("every path is answered under each prefix, with a slash at the end and without", async () => {
  const { ask, register } = await eurekaWorld();
  await register();
  const paths = [
    "apps",
    "apps/delta",
    "apps/fx-provider",
    "apps/FX-PROVIDER/192.0.2.2:fx-provider:18081",
    "apps/FX-PROVIDER/192.0.2.2%3Afx-provider%3A18081",
    "vips/FX-Provider",
    "instances/192.0.2.2:fx-provider:18081",
  ];
  for (const prefix of ["/eureka/", "/eureka/v2/", "/v2/", "/"]) {
    for (const path of paths) {
      for (const end of ["", "/", "?regions=x"]) {
        const answer = await ask(prefix + path + end);
        assert.equal(answer.status, 200, prefix + path + end);
        assert.match(answer.text, /18081/);
      }
    }
  }
  for (const path of ["/", "/eureka/nothing", "/eureka/svips/fx-provider", "/eureka/apps/NONE", "/eureka/apps/%zz"])
    assert.ok([400, 404].includes((await ask(path)).status), path);
});

test("the changes of three minutes bring a client to the whole list, and their hash is right after them", async () => {
  const { ask, clock, directory, list } = await eurekaWorld();
  const [one, two] = [native(), native({ host: "10.0.0.2", address: "10.0.0.2" })];
  const first = await directory.publish(one);
  const second = await directory.publish(two);
  await clock.advance(180_000);
  const client = new Map<string, string>();
  const fetch = async (part: string): Promise<void> => {
    const { applications } = (await ask(`/apps/${part}`)).json as unknown as { applications: Applications };
    for (const { instance } of applications.application) {
      for (const { instanceId, ipAddr, port, actionType } of instance) {
        if (actionType === "DELETED") client.delete(instanceId);
        else client.set(instanceId, `${ipAddr}:${port.$}`);
      }
    }
    const hash = client.size === 0 ? "" : `UP_${client.size}_`;
    assert.equal(applications.apps__hashcode, hash, "the client asks for everything only when these differ");
  };
  await fetch("");
  assert.deepEqual(await list("delta"), []);
  await first.update({ ...one, address: "10.0.0.9", port: 20_100, mode: "mesh" });
  await second.withdraw();
  await directory.publish(native({ host: "10.0.0.3", address: "10.0.0.3" }));
  assert.deepEqual(await list("delta"), [
    "ORDERS 10.0.0.1:orders:8080 10.0.0.9:20100 MODIFIED",
    "ORDERS 10.0.0.2:orders:8080 10.0.0.2:8080 DELETED",
    "ORDERS 10.0.0.3:orders:8080 10.0.0.3:8080 ADDED",
  ]);
  await fetch("delta");
  assert.deepEqual([...client.values()].sort(), ["10.0.0.3:8080", "10.0.0.9:20100"]);
  await fetch("delta");
  const before = (await ask("/apps/delta")).text;
  await clock.advance(100_000);
  assert.equal((await ask("/apps/delta")).text, before);
  await clock.advance(80_000);
  const after = (await ask("/apps/delta")).text;
  assert.match(after, /"application":\[\]/);
  await clock.advance(3_600_000);
  assert.equal((await ask("/apps/delta")).text, after, "nothing changes: nothing is said to have changed");
});

test("nothing is answered until the directory has: an empty list would empty its clients", async () => {
  const { ask, directory } = await eurekaWorld();
  await directory.publish(native());
  const silent = directory.view({});
  silent.answering = false;
  const started = await eurekaWorld({ directory: silent });
  const answer = await started.ask("/eureka/apps/");
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["retry-after"], "1");
  assert.equal((await started.ask("/eureka/apps/delta")).status, 503);
  silent.answering = true;
  await started.clock.advance(0);
  assert.match((await started.ask("/eureka/apps/delta")).text, /"apps__hashcode":"UP_1_"/);
  assert.equal((await ask("/eureka/apps/")).status, 200);
});

test("an instance that is not renewed is withdrawn, and a restart gives its whole time again", async () => {
  const { ask, clock, directory, journal, register, restart } = await eurekaWorld();
  await register();
  await clock.advance(14_000);
  await ask(provider, { method: "PUT" });
  await clock.advance(14_000);
  assert.equal(directory.instances().length, 1);
  await restart();
  assert.equal(directory.instances().length, 1, "the end of the door takes nothing back");
  assert.equal(directory.instances()[0]?.incarnation, dirty);
  await clock.advance(14_000);
  assert.equal((await ask(`${provider}?lastDirtyTimestamp=${dirty}`, { method: "PUT" })).status, 200);
  await clock.advance(15_000);
  assert.deepEqual(directory.instances(), []);
  assert.deepEqual([...journal.entries()], []);
});

test("a process that stood still itself ends no lease before it has heard its clients", async () => {
  const fake = new FakeClock();
  let stoodMs = 0;
  const stalling = {
    now: () => fake.now() + stoodMs,
    wall: () => fake.wall() + stoodMs,
    after: fake.after.bind(fake),
    every: fake.every.bind(fake),
  };
  const { directory, register } = await eurekaWorld({ clock: stalling });
  await register();
  stoodMs = 60_000;
  await fake.advance(15_000);
  assert.equal(directory.instances().length, 1);
  await fake.advance(15_000);
  assert.equal(directory.instances().length, 0, "who is silent from then on is withdrawn");
});

test("who is not up is withdrawn in order, keeps its lease, and comes back when it is up", async () => {
  const { ask, directory, list, register } = await eurekaWorld();
  await register();
  for (const [at, status] of ["DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"].entries()) {
    assert.equal((await register({ status, lastDirtyTimestamp: dirty + 1 + at })).status, 204);
    assert.deepEqual(directory.instances(), [], status);
    assert.deepEqual(await list(), []);
    assert.match((await ask(provider)).text, new RegExp(`"status":"${status}"`), "who asks for it by name sees it");
  }
  await register({ lastDirtyTimestamp: dirty + 9 });
  assert.equal(directory.instances()[0]?.incarnation, dirty + 9);
  assert.equal((await register({ status: "SLEEPING" })).status, 400);
});

test("a status set from outside holds over a restart and a new registration, until it is taken back", async () => {
  const { ask, directory, register, restart } = await eurekaWorld();
  await register();
  assert.equal((await ask(`${provider}/status?value=OUT_OF_SERVICE`, { method: "PUT" })).status, 200);
  assert.deepEqual(directory.instances(), []);
  await register({ lastDirtyTimestamp: dirty + 1 });
  await restart();
  assert.deepEqual(directory.instances(), []);
  assert.equal((await ask(`${provider}/status?value=UP`, { method: "DELETE" })).status, 200);
  assert.equal(directory.instances().length, 1);
  assert.equal((await ask(`${provider}/status`, { method: "PUT" })).status, 400);
  assert.equal((await ask("/apps/A/b/status?value=UP", { method: "PUT" })).status, 404);
});

test("metadata can be changed from outside, and a hostile name in it is a name", async () => {
  const { ask, directory, register } = await eurekaWorld();
  await register({ metadata: JSON.parse('{"__proto__":"x","constructor":"y","weight":"7","zone":"east"}') });
  const [instance] = directory.instances();
  assert.deepEqual(
    [instance?.weight, instance?.zone, Object.keys(instance?.labels ?? {})],
    [7, "east", ["__proto__", "constructor"]],
  );
  assert.equal((await ask(`${provider}/metadata?lane=blue&toString=z`, { method: "PUT" })).status, 200);
  assert.equal(directory.instances()[0]?.labels["lane"], "blue");
  assert.match((await ask("/apps/")).text, /"metadata":\{"__proto__":"x","constructor":"y",[^}]*"toString":"z"/);
  assert.equal((await ask(`${provider}/metadata?big=${"x".repeat(13_000)}`, { method: "PUT" })).status, 413);
  assert.equal(directory.instances()[0]?.labels["lane"], "blue");
});

test("each vip is a service, in lower case; where HTTPS alone is enabled the service is https", async () => {
  const { directory, ask, list, register } = await eurekaWorld();
  await register({ vipAddress: "Orders, STOCK,," });
  const secure = { port: { $: 80, "@enabled": "false" }, securePort: { $: "8443", "@enabled": "true" } };
  await register({ ...secure, instanceId: "secure", secureVipAddress: "Safe" });
  assert.deepEqual(
    directory.instances().map(({ service, port }) => `${service} ${port}`),
    ["http/orders:: 18081", "http/stock:: 18081", "https/safe:: 8443"],
  );
  assert.equal((await list()).length, 2, "an instance of two services is one instance");
  assert.match((await ask("/vips/stock")).text, /"vipAddress":"Orders, STOCK,,"/);
  assert.match((await ask("/svips/safe")).text, /"instanceId":"secure"/);
  await register({ vipAddress: "orders", lastDirtyTimestamp: dirty + 1 });
  assert.equal(directory.instances().length, 2);
});

test("what cannot be understood is refused with what, where and how to mend it", async () => {
  const { ask, directory, register } = await eurekaWorld({}, { limits: { instances: 2, apps: 1 } });
  const bodies: readonly (readonly [unknown, number, RegExp])[] = [
    ["{", 400, /JSON/],
    ["[]", 400, /instance/],
    [{ instance: 7 }, 400, /instance/],
    [`{"instance":{"a":${"[".repeat(3_000)}${"]".repeat(3_000)}}}`, 400, /nested/],
    [Buffer.from([0x7b, 0xff]), 400, /UTF-8/],
    [{ instance: postedInstance({ app: "OTHER" }) }, 400, /make them equal/],
    [{ instance: postedInstance({ app: null }) }, 400, /app is missing/],
    [{ instance: postedInstance({ ipAddr: "", hostName: "" }) }, 400, /ipAddr/],
    [{ instance: postedInstance({ ipAddr: "0.0.0.0" }) }, 400, /nobody can call/],
    [{ instance: postedInstance({ port: { $: 0, "@enabled": "true" } }) }, 400, /port/],
    [{ instance: postedInstance({ metadata: "x" }) }, 400, /metadata/],
    [{ instance: postedInstance({ instanceId: "x".repeat(300) }) }, 400, /instanceId/],
    [{ instance: postedInstance({ vipAddress: Array.from({ length: 17 }, (_, n) => n).join() }) }, 400, /vipAddress/],
    [{ instance: postedInstance({ metadata: { a: "x".repeat(13_000) } }) }, 413, /shorten its metadata/],
    [{ instance: postedInstance({ metadata: { a: "x".repeat(70_000) } }) }, 413, /shorten its metadata/],
  ];
  for (const [body, status, text] of bodies) {
    const answer = await ask("/eureka/apps/FX-PROVIDER", { body });
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, text);
  }
  assert.deepEqual(directory.instances(), []);
  await register();
  assert.equal((await register({ app: "OTHER" })).status, 503);
  await register({ instanceId: "two", port: { $: 2, "@enabled": "true" } });
  assert.equal((await register({ instanceId: "three" })).status, 503);
  assert.equal((await register()).status, 204, "who is there may register again");
});

test("other Eureka servers and web pages are refused clearly", async () => {
  const { ask, directory } = await eurekaWorld();
  const batch = await ask("/eureka/peerreplication/batch/", { body: { replicationList: [] } });
  assert.equal(batch.status, 501);
  assert.match(batch.text, /service-url/);
  const body = { instance: postedInstance() };
  const path = "/eureka/apps/FX-PROVIDER";
  assert.equal((await ask(path, { body, headers: { "x-netflix-discovery-replication": "true" } })).status, 501);
  assert.equal((await ask(path, { body, headers: { origin: "http://evil.example" } })).status, 403);
  assert.deepEqual(directory.instances(), []);
});

test("what the directory or the disk refuses is refused, and what was there before stays", async () => {
  const { directory, journal, register } = await eurekaWorld();
  await register();
  const publish = directory.publish.bind(directory);
  directory.publish = async () => {
    throw new MeshError("publish.own-port", "port 18099 is the sidecar's own");
  };
  const other = { port: { $: 18_099, "@enabled": "true" }, lastDirtyTimestamp: dirty + 1 };
  const refused = await register(other);
  assert.equal(`${refused.status} ${refused.text}`, "400 port 18099 is the sidecar's own\n");
  directory.publish = publish;
  assert.deepEqual(
    directory.instances().map(({ port }) => port),
    [18_081],
  );
  journal.failing = true;
  assert.equal((await register(other)).status, 503);
  assert.deepEqual(
    directory.instances().map(({ port }) => port),
    [18_081],
  );
  assert.equal((await register({ instanceId: "new", ...other })).status, 503);
  assert.equal([...journal.entries()].length, 1);
});

test("an instance that was registered elsewhere later is forgotten here", async () => {
  const { ask, directory, journal, register } = await eurekaWorld();
  await register();
  const [instance] = directory.instances();
  assert.ok(instance);
  await directory.publish({ ...instance, mode: "mesh" });
  assert.deepEqual([...journal.entries()], []);
  assert.equal((await ask(provider, { method: "DELETE" })).status, 404);
  assert.equal(directory.instances().length, 1, "the other one's is not taken back");
});

test("at a sidecar every service is one instance at its own loopback address, and is not followed", async () => {
  const watched: string[] = [];
  const first = await eurekaWorld();
  const { directory } = first;
  const seen = directory.view({});
  const watch = seen.watch.bind(seen);
  seen.watch = (service, listener) => {
    watched.push(service);
    return watch(service, listener);
  };
  const standIn = async (service: string) =>
    service === "http/full::" ? undefined : { address: `127.1.0.${service.length}`, port: 20_882 };
  const { ask, clock, list, register } = await eurekaWorld({ place: "sidecar", directory: seen, standIn });
  const one = await directory.publish(native());
  const two = await directory.publish(native({ host: "10.0.0.2", address: "10.0.0.2", application: "shop" }));
  await directory.publish(native({ service: "https/safe::", application: "safe", port: 8_443 }));
  await directory.publish(native({ service: "http/full::", application: "full" }));
  await directory.publish(native({ service: "http/orders:2.0:blue" }));
  await directory.publish(native({ service: "dubbo/fx.Greeter::" }));
  await clock.advance(0);
  const shown = [
    "ORDERS dualmesh:orders 127.1.0.13:20882",
    "SAFE 10.0.0.1:safe:8080 10.0.0.1:80",
    "FULL 10.0.0.1:full:8080 10.0.0.1:8080",
  ];
  await list();
  assert.deepEqual((await list()).toSorted(), shown.toSorted());
  assert.deepEqual(watched.toSorted(), ["http/full::", "https/safe::"]);
  const before = (await ask("/apps/")).text;
  assert.match(before, /"hostName":"127\.1\.0\.13"/);
  await two.withdraw();
  await clock.advance(0);
  assert.equal((await ask("/apps/")).text, before, "who provides it makes no difference");
  await one.withdraw();
  await clock.advance(0);
  assert.ok((await list("delta")).includes("ORDERS dualmesh:orders 127.1.0.13:20882 DELETED"));
  await register({ vipAddress: "FX-Provider" });
  await list();
  assert.match(
    (await ask("/vips/fx-provider")).text,
    /"vipAddress":"FX-Provider"/,
    "as it was registered, where that is known",
  );
});
