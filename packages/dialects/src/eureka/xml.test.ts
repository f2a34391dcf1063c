import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isMembers, readInstanceBody, xmlMembers } from "./document.ts";
import { Refusal } from "./refusal.ts";
import { postedInstance } from "./testing.ts";
import { readXml } from "./xml.ts";

const read = (xml: string): unknown => readInstanceBody(Buffer.from(xml), "application/xml");
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test("an instance in XML is the same as in JSON", () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<instance>
  <instanceId>a:b:1</instanceId><app>B</app><!-- a comment -->
  <port enabled="true">18081</port><securePort enabled='false'>443</securePort>
  <dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo>
  <leaseInfo><durationInSecs>15</durationInSecs></leaseInfo>
  <metadata><zone>east &amp; &#x77;est</zone><a__b>1</a__b><cost_->2</cost_-><raw><![CDATA[<x>]]></raw></metadata>
  <countryId>1</countryId><statusPageUrl/>
</instance>`;
  assert.deepEqual(plain(read(xml)), {
    instanceId: "a:b:1",
    app: "B",
    port: { $: 18081, "@enabled": "true" },
    securePort: { $: 443, "@enabled": "false" },
    dataCenterInfo: { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", name: "MyOwn" },
    leaseInfo: { durationInSecs: 15 },
    metadata: { zone: "east & west", a_b: "1", cost$: "2", raw: "<x>" },
    countryId: 1,
    statusPageUrl: "",
  });
});

test("DTDs, entities, processing instructions, depth and numbers without end are refused", () => {
  for (const xml of [
    '<!DOCTYPE instance [<!ENTITY x "y">]><instance>&x;</instance>',
    '<!DOCTYPE instance SYSTEM "file:///etc/passwd"><instance/>',
    "<instance>&x;</instance>",
    "<instance>&</instance>",
    "<instance>&#0;</instance>",
    "<instance>&#xd800;</instance>",
    "<instance><?php x?></instance>",
    `${"<a>".repeat(9)}${"</a>".repeat(9)}`,
    `<instance>${"<a/>".repeat(2_001)}</instance>`,
    `<instance ${Array.from({ length: 9 }, (_, n) => `a${n}="1"`).join(" ")}/>`,
    "<instance>",
    "<instance></other>",
    "<instance/><instance/>",
    "<instance a=1/>",
    "<instance/>text",
    "",
    "<",
  ])
    assert.throws(() => read(xml), Refusal, xml.slice(0, 60));
});

test("law: no text makes the reader fail otherwise, and what it takes it took in one pass", () => {
  const piece = fc.constantFrom(
    "<",
    ">",
    "</",
    "/>",
    "<a",
    "<a>",
    "</a>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "&amp;",
    "&",
    "=",
    '"',
    " ",
    "x",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join("")),
      ),
      (text) => {
        try {
          readXml(text);
        } catch (error) {
          assert.ok(error instanceof Refusal);
        }
      },
    ),
  );
});

test("law: what is written in XML is read as it was, for every name that XML can say", () => {
  const key = fc.stringMatching(/^[A-Za-z][A-Za-z0-9._$-]{0,20}$/);
  const text = fc.string({ unit: "grapheme" }).filter((value) => value.trim() === value && value.isWellFormed());
  const readable = (value: string): boolean => !/[\p{Cc}\ufffe\uffff]/u.test(value);
  fc.assert(
    fc.property(fc.dictionary(key, text.filter(readable), { noNullPrototype: false }), (metadata) => {
      const written = xmlMembers(postedInstance({ metadata }));
      const got = read(`<instance>${written}</instance>`);
      assert.ok(isMembers(got));
      assert.deepEqual(plain(got["metadata"]), plain(metadata));
      assert.deepEqual(plain(got["port"]), { $: 18081, "@enabled": "true" });
    }),
  );
});

test("__proto__ is a name like any other", () => {
  const got = read("<instance><metadata><____proto____>x</____proto____></metadata></instance>");
  assert.equal(JSON.stringify(got), '{"metadata":{"__proto__":"x"}}');
  assert.equal(({} as Record<string, unknown>)["x"], undefined);
});
