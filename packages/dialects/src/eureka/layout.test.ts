import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { instancesOf, readRegistration, shownInstance } from "./layout.ts";
import { postedInstance } from "./testing.ts";

const times = { incarnation: 1, registeredAt: 2 };
const read = (posted: Record<string, unknown>) => readRegistration(posted, String(posted["app"]));
const text = fc.string({ unit: "grapheme", maxLength: 20 }).filter((value) => value.isWellFormed());
const vip = fc.stringMatching(/^[A-Za-z][A-Za-z0-9.:_-]{0,20}$/);

const posted = fc
  .record({
    vips: fc.array(vip, { minLength: 1, maxLength: 4 }),
    metadata: fc.dictionary(text, text, { maxKeys: 6, noNullPrototype: false }),
    port: fc.integer({ min: 1, max: 65_535 }),
    host: fc.ipV4(),
    extra: fc.oneof(fc.constant(undefined), text),
  })
  .filter(({ host }) => host !== "0.0.0.0")
  .map(({ vips, metadata, port, host, extra }) =>
    postedInstance({
      vipAddress: vips.join(","),
      metadata,
      port: { $: port, "@enabled": "true" },
      ipAddr: host,
      hostName: host,
      homePageUrl: `http://${host}:${port}/`,
      ...(extra === undefined ? {} : { somethingNew: extra }),
    }),
  );

test("law: a registration is given back but for where it is reached", () => {
  fc.assert(
    fc.property(posted, fc.ipV4(), fc.integer({ min: 1, max: 65_535 }), (one, address, port) => {
      for (const instance of instancesOf(read(one), times)) {
        const shown = JSON.parse(shownInstance({ ...instance, address, port, mode: "mesh" }).json) as object;
        const { host, appPort } = instance;
        const expected = JSON.parse(JSON.stringify(one)) as Record<string, unknown>;
        Object.assign(expected, { ipAddr: address, hostName: address, port: { $: port, "@enabled": "true" } });
        for (const key of ["homePageUrl", "statusPageUrl", "healthCheckUrl"]) {
          const url = String(expected[key]);
          expected[key] = url.startsWith(`http://${host}:${appPort}/`)
            ? url.replace(`${host}:${appPort}`, `${address}:${port}`)
            : url.replace(`//${host}:`, `//${address}:`);
        }
        assert.deepEqual(shown, expected);
      }
    }),
  );
});

test("law: a service is its vip in lower case, whatever the case it was written in", () => {
  fc.assert(
    fc.property(posted, (one) => {
      const upper = { ...one, vipAddress: String(one["vipAddress"]).toUpperCase() };
      assert.deepEqual(read(one).services, read(upper).services);
      for (const service of read(one).services) assert.match(service, /^http\/[^A-Z%]*(%[0-9A-F]{2}[^A-Z%]*)*::$/);
    }),
  );
});

test("law: equal registrations have equal texts, in whatever order they were written", () => {
  fc.assert(
    fc.property(posted, (one) => {
      const reversed = Object.fromEntries(Object.entries(one).reverse());
      assert.equal(read(reversed).text, read(one).text);
    }),
  );
});

test("the address of its management stays, since its port is no part of the service", () => {
  const healthCheckUrl = "http://192.0.2.2:9090/actuator/health";
  const secureHealthCheckUrl = "https://elsewhere:1/x";
  const [instance] = instancesOf(read(postedInstance({ healthCheckUrl, homePageUrl: secureHealthCheckUrl })), times);
  assert.ok(instance);
  const shown = JSON.parse(shownInstance({ ...instance, address: "2001:db8::1", port: 7 }).json) as Record<
    string,
    unknown
  >;
  assert.equal(shown["healthCheckUrl"], "http://[2001:db8::1]:9090/actuator/health");
  assert.equal(shown["statusPageUrl"], "http://[2001:db8::1]:7/actuator/info");
  assert.equal(shown["homePageUrl"], "https://elsewhere:1/x");
  assert.equal(shown["hostName"], "[2001:db8::1]");
});

test("a host that is a name is kept where there is no address, and a lease keeps its bounds", () => {
  const lease = (durationInSecs: unknown) => read(postedInstance({ leaseInfo: { durationInSecs } })).leaseMs;
  assert.deepEqual(
    [lease(1), lease(15), lease(1e9), lease("20"), lease(-1)],
    [5_000, 15_000, 3_600_000, 20_000, 90_000],
  );
  assert.equal(read(postedInstance({ ipAddr: "", hostName: "shop.internal" })).host, "shop.internal");
});
