import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { maxServiceTextLength, parseServiceText, type ServiceName, servicePattern, serviceText } from "./service.ts";

const part = (minLength: number) => fc.string({ unit: "grapheme", minLength, maxLength: 40 });
const services: fc.Arbitrary<ServiceName> = fc.record({
  protocol: part(1),
  name: part(1),
  version: part(0),
  group: part(0),
});

test("each service has exactly one text, and the text gives the service back", () => {
  fc.assert(
    fc.property(services, (service) => {
      const text = serviceText(service);
      if (text.length > maxServiceTextLength) return;
      assert.deepEqual(parseServiceText(text), { ...service });
      assert.equal(serviceText(parseServiceText(text) as ServiceName), text);
    }),
  );
});

test("different services have different texts", () => {
  fc.assert(
    fc.property(services, services, (one, other) => {
      const same = JSON.stringify(one) === JSON.stringify(other);
      assert.equal(serviceText(one) === serviceText(other), same);
    }),
  );
});

test("texts as they are written in configuration and commands", () => {
  assert.equal(serviceText({ protocol: "dubbo", name: "fx.Greeter", version: "", group: "" }), "dubbo/fx.Greeter::");
  assert.equal(
    serviceText({ protocol: "bolt", name: "fx.Greeter", version: "1.0", group: "blue" }),
    "bolt/fx.Greeter:1.0:blue",
  );
  assert.equal(
    serviceText({ protocol: "dubbo", name: "a:b/c*d %", version: "", group: "" }),
    "dubbo/a%3Ab%2Fc%2Ad%20%25::",
  );
});

test("what is not canonical is no service text", () => {
  for (const text of [
    "",
    "dubbo",
    "dubbo/",
    "dubbo/a",
    "dubbo/a:b",
    "/a::",
    "dubbo/a:::",
    "dubbo/a%3a::",
    "dubbo/%41::",
    "dubbo/a%::",
    "dubbo/a b::",
    `dubbo/${"x".repeat(2_000)}::`,
  ])
    assert.equal(parseServiceText(text), undefined, text);
});

test("names of object members are plain names", () => {
  for (const name of ["__proto__", "constructor", "toString"]) {
    const text = serviceText({ protocol: "dubbo", name, version: "", group: "" });
    assert.equal(parseServiceText(text)?.name, name);
  }
});

test("a pattern matches as its stars allow, and goes over a text once", (t) => {
  const greeter = "dubbo/fx.Greeter:1.0:blue";
  for (const pattern of ["*", greeter, "dubbo/*", "*/fx.Greeter:*:*", "*Greeter*", "dubbo/*:1.0:*", "**"])
    assert.ok(servicePattern(pattern)(greeter), pattern);
  for (const pattern of ["", "bolt/*", "*/fx.Greeter:*:red", "dubbo/fx", "*x*x*", "dubbo/fx.Greeter:1.0:blue*:blue"])
    assert.ok(!servicePattern(pattern)(greeter), pattern);
  assert.ok(!servicePattern("ab*ba")("aba"), "the ends do not overlap");
  const hostile = servicePattern(`${"a*".repeat(500)}x*b`);
  const indexOf = t.mock.method(String.prototype, "indexOf");
  const matches = hostile(`${"a".repeat(1_000)}b`);
  indexOf.mock.restore();
  assert.equal(matches, false);
  const starts = indexOf.mock.calls.map((call) => call.arguments[1] as number);
  assert.equal(starts.length, 500, "each piece is looked for once");
  assert.deepEqual(
    starts,
    starts.toSorted((one, other) => one - other),
    "and never before the one in front of it",
  );
});

test("every text that is made of the pieces of a pattern matches it", () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{0,4}$/), { minLength: 1, maxLength: 6 }),
      fc.array(fc.stringMatching(/^[a-z]{0,4}$/), { minLength: 6, maxLength: 6 }),
      (pieces, fillings) => {
        const text = pieces.map((piece, index) => (index === 0 ? piece : `${fillings[index - 1]}${piece}`)).join("");
        assert.ok(servicePattern(pieces.join("*"))(text), `${pieces.join("*")} ${text}`);
      },
    ),
  );
});
