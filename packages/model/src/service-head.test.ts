import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type ServiceName, serviceText } from "./service.ts";
import { headOf, serviceOf } from "./service-head.ts";

const part = fc.stringMatching(/^[a-zA-Z0-9.$_%*/ -]{1,20}$/);

test("a service is found again from the head that its requests carry", () => {
  const services = fc.oneof(
    fc.record({
      protocol: fc.constant("bolt"),
      name: part,
      version: fc.constant("1.0"),
      group: fc.oneof(fc.constant(""), part),
    }),
    fc.record({
      protocol: fc.constantFrom("dubbo", "line"),
      name: part,
      version: fc.oneof(fc.constant(""), part),
      group: fc.oneof(fc.constant(""), part),
    }),
  );
  fc.assert(
    fc.property(services, (service: ServiceName) => {
      const { head, group } = headOf(service);
      assert.equal(serviceOf(service.protocol, head, group), serviceText(service));
    }),
  );
});

test("a head without a name means no service", () => {
  assert.equal(serviceOf("bolt", ":1.0", ""), undefined);
  assert.equal(serviceOf("dubbo", "x".repeat(2_000), ""), undefined);
});
