import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { HttpDoor } from "../http-door.ts";
import { ask, follow } from "../testing/http-client.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { openHttpDoor } from "./door.ts";
import { openApiDocument } from "./openapi.ts";

type Schema = Readonly<Record<string, unknown>>;

function open(): Promise<HttpDoor> {
  const clock = new FakeClock();
  const directory = new MemoryDirectory({ clock });
  const common = { clock, directory, journal: new MemoryJournal(), random: seededRandom(1), log: silentLog };
  return openHttpDoor({ ...common, place: "registry", epoch: 1 });
}

/** Why `value` is not as `schema` says; as much of JSON Schema as the document uses, and an error for anything else. */
function faults(value: unknown, schema: Schema, at = "$"): string[] {
  const known = new Set(["$ref", "type", "enum", "oneOf", "required", "properties", "additionalProperties", "items"]);
  const bounds = ["minimum", "maximum", "minLength", "maxLength", "maxProperties", "default", "description"];
  for (const word of Object.keys(schema)) {
    if (!known.has(word) && !bounds.includes(word)) throw new Error(`the test does not know ${word} in ${at}`);
  }
  const { $ref, type, enum: among, oneOf } = schema;
  if (typeof $ref === "string") {
    const target = (openApiDocument.components.schemas as Record<string, Schema>)[$ref.split("/").at(-1) ?? ""];
    return target === undefined ? [`${at}: ${$ref} leads nowhere`] : faults(value, target, at);
  }
  if (Array.isArray(among)) return among.includes(value) ? [] : [`${at}: none of ${among}`];
  if (Array.isArray(oneOf)) {
    const right = oneOf.filter((one: Schema) => faults(value, one, at).length === 0);
    return right.length === 1 ? [] : [`${at}: ${right.length} of oneOf`];
  }
  if (type === "string")
    return typeof value === "string" ? lengthFaults(value.length, schema, at) : [`${at}: no string`];
  if (type === "boolean") return typeof value === "boolean" ? [] : [`${at}: no boolean`];
  if (type === "integer") {
    const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
    const right =
      Number.isInteger(value) && (value as number) >= Number(minimum) && (value as number) <= Number(maximum);
    return right ? [] : [`${at}: ${value} is no such integer`];
  }
  if (type === "array") {
    if (!Array.isArray(value)) return [`${at}: no array`];
    const items = schema["items"] as Schema | undefined;
    return items === undefined ? [] : value.flatMap((item, index) => faults(item, items, `${at}[${index}]`));
  }
  if (type === "object") return objectFaults(value, schema, at);
  throw new Error(`${at} has no type`);
}

function lengthFaults(length: number, { minLength = 0, maxLength = length }: Schema, at: string): string[] {
  return length >= Number(minLength) && length <= Number(maxLength) ? [] : [`${at}: ${length} characters`];
}

function objectFaults(value: unknown, schema: Schema, at: string): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${at}: no object`];
  const { properties = {}, required = [], additionalProperties = true, maxProperties = 1e9 } = schema;
  const found = (required as string[]).filter((key) => !Object.hasOwn(value, key)).map((key) => `${at}: no ${key}`);
  if (Object.keys(value).length > Number(maxProperties)) found.push(`${at}: too many properties`);
  for (const [key, member] of Object.entries(value)) {
    const one = (properties as Record<string, Schema>)[key] ?? additionalProperties;
    if (one === false) found.push(`${at}: ${key} is not known`);
    else if (one !== true) found.push(...faults(member, one as Schema, `${at}.${key}`));
  }
  return found;
}

const schemas = openApiDocument.components.schemas as Record<string, Schema>;

function assertIs(value: unknown, schema: string): void {
  assert.deepEqual(faults(value, schemas[schema] as Schema), [], `${JSON.stringify(value)} is no ${schema}`);
}

test("every path and method of the document is answered, and no other method", async () => {
  const door = await open();
  for (const [path, methods] of Object.entries(openApiDocument.paths)) {
    const target = path.replace("{id}", "1234").replace("{service}", "orders");
    for (const method of ["get", "post", "put", "delete", "patch"]) {
      const request = { method: method.toUpperCase(), headers: { "content-type": "application/json" } };
      const answer =
        target.endsWith("/events") && method === "get"
          ? await follow(door.handle, target)
          : await ask(door.handle, target, request);
      assert.equal(answer.status !== 405, method in methods, `${method} ${path}`);
      const described = (methods as Record<string, { responses: object }>)[method]?.responses ?? {};
      if (method in methods)
        assert.ok(String(answer.status) in described, `${method} ${path} answers ${answer.status}`);
    }
  }
});

test("every reference leads somewhere, and every schema can be read", () => {
  const references = JSON.stringify(openApiDocument).match(/#\/components\/schemas\/\w+/g) ?? [];
  for (const reference of references) assert.ok(Object.hasOwn(schemas, reference.split("/").at(-1) ?? ""), reference);
  for (const schema of Object.values(schemas)) faults({}, schema);
});

test("examples and answers are as the document says", async () => {
  const door = await open();
  const { example } = openApiDocument.paths["/v1/instances"].post.requestBody.content["application/json"];
  assertIs(example, "Registration");
  const registered = await ask(door.handle, "/v1/instances", { body: example });
  assert.equal(registered.status, 201);
  assertIs(registered.json, "Registered");
  assertIs((await ask(door.handle, `/v1/instances/${registered.json?.["id"]}`, { method: "PUT" })).json, "Registered");
  assertIs((await ask(door.handle, "/v1/services")).json, "Services");
  assertIs((await ask(door.handle, "/v1/services/orders")).json, "Instances");
  assertIs((await ask(door.handle, "/v1/instances", { body: {} })).json, "Problem");
  const services = await follow(door.handle, "/v1/services/events");
  const instances = await follow(door.handle, "/v1/services/orders/events?incremental");
  const held = await follow(door.handle, "/v1/instances?follow", { body: { service: "orders", port: 1 } });
  await ask(door.handle, "/v1/services/orders");
  await ask(door.handle, "/v1/services");
  assertIs(services.events[0]?.data, "Services");
  assertIs(instances.events[0]?.data, "Instances");
  assertIs(instances.events[1]?.data, "Changed");
  assertIs(held.events[0]?.data, "Registered");
});

test("the schema of a registration takes what the door takes", async () => {
  const door = await open();
  const bodies: readonly unknown[] = [
    { service: "orders", port: 1 },
    { service: { name: "orders", version: "1" }, port: 65_535, weight: 0, zone: "" },
    { service: { name: "" }, port: 1 },
    { service: { title: "orders" }, port: 1 },
    { service: "orders", port: "1" },
    { service: "orders", port: 65_536 },
    { service: "orders", port: 1, labels: { a: 1 } },
    { service: "orders", port: 1, labels: { a: "b" }, more: 1 },
    { service: "orders", port: 1, application: "" },
    { service: "", port: 1 },
    { service: 7, port: 1 },
    { port: 1 },
    [],
  ];
  for (const body of bodies) {
    const { status } = await ask(door.handle, "/v1/instances", { body: body as object });
    const valid = faults(body, schemas["Registration"] as Schema).length === 0;
    assert.equal(status === 201, valid, JSON.stringify(body));
  }
});

test("the page for people has a line of curl for each thing to do", async () => {
  const door = await open();
  const { status, text } = await ask(door.handle, "/");
  assert.equal(status, 200);
  for (const path of ["/v1/instances", "/v1/services", "/v1/openapi.json"])
    assert.ok(text.includes(`$DUALMESH${path}`));
});
