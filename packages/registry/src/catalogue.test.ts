import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { servicePattern } from "@dualmesh/model/service";
import fc from "fast-check";
import { Catalogue } from "./catalogue.ts";

const services = ["dubbo/a::", "tri/a:1.0:", "bolt/a:1.0:red", "bolt/b:1.0:", "bolt/a%2Ab:1.0:", "dubbo/ab::x"];
const patterns = ["*", "bolt/*", "*/a:*:*", "*/b:*:*", "*/a%2Ab:*:*", "*/*:*:*", "*/a:1.0:*", "bolt/b:1.0:"];

describe("the catalogue", () => {
  it("finds what a pattern matches whatever its shape, as services come and go", () => {
    const step = fc.record({ service: fc.constantFrom(...services), add: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.array(fc.constantFrom(...patterns)), (steps, watched) => {
        const catalogue = new Catalogue();
        let counter = 0;
        const revision = () => ({ epoch: 1, counter: ++counter });
        for (const pattern of watched) catalogue.open(pattern, revision());
        const counts = new Map<string, number>();
        for (const { service, add } of steps) {
          const count = counts.get(service) ?? 0;
          if (!add && count === 0) continue;
          counts.set(service, count + (add ? 1 : -1));
          const touched = catalogue.count(service, "app", add ? 1 : -1, revision).map((feed) => feed.name);
          const changed = add ? count === 0 : count === 1;
          const concerned = [...new Set(watched)].filter((pattern) => servicePattern(pattern)(service));
          assert.deepEqual(touched.sort(), changed ? concerned.sort() : []);
        }
        const present = [...counts].filter(([, count]) => count > 0).map(([service]) => service);
        for (const pattern of patterns) {
          const expected = present.filter(servicePattern(pattern)).sort();
          assert.deepEqual([...catalogue.rows(pattern)].map(({ service }) => service).sort(), expected);
          assert.equal(catalogue.open(pattern, revision()).size, expected.length);
        }
      }),
    );
  });
});
