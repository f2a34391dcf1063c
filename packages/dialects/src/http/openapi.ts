/** What the HTTP door says of itself: an OpenAPI document for programs, and a page with curl for people. A test holds both against the door. */
import type { DoorContext } from "../door.ts";
import { instanceLimits } from "./layout.ts";

const text = (maxLength: number, description: string): object => ({ type: "string", maxLength, description });
const whole = (minimum: number, maximum: number, description: string): object => ({
  type: "integer",
  minimum,
  maximum,
  description,
});
const ref = (name: string): object => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: object, description: string): object => ({
  description,
  content: { "application/json": { schema } },
});
const events = (description: string): object => ({
  description,
  content: { "text/event-stream": { schema: { type: "string" } } },
});
const problem = (description: string): object => ({
  description,
  content: { "application/problem+json": { schema: ref("Problem") } },
});
const query = (name: string, schema: object, description: string): object => ({
  name,
  in: "query",
  required: false,
  schema,
  description,
});
const inPath = (name: string, description: string): object => ({
  name,
  in: "path",
  required: true,
  schema: { type: "string" },
  description,
});
const object = (required: readonly string[], properties: Readonly<Record<string, object>>): object => ({
  type: "object",
  additionalProperties: false,
  required,
  properties,
});

const lastEventId = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  schema: { type: "string" },
  description: "The id of the last event that this client has: what it has already is not sent again.",
};
const service = inPath(
  "service",
  "PROTOCOL/NAME:VERSION:GROUP, percent-encoded as one segment or as it stands; orders and http/orders are short for http/orders::",
);
const timeoutMs = query("timeoutMs", { type: "integer", minimum: 0 }, "How long this client lets a call take.");
const application = query(
  "application",
  { type: "string", maxLength: 255 },
  "Who follows: its calls are counted under this name at a sidecar where nothing else is registered or follows.",
);
const incremental = query(
  "incremental",
  { type: "boolean" },
  "After the first snapshot send changed events, with what was added, changed and removed.",
);

const serviceParts = object(["name"], {
  protocol: { type: "string", maxLength: 64, default: "http" },
  name: { type: "string", minLength: 1 },
  version: { type: "string" },
  group: { type: "string" },
});

const schemas: Readonly<Record<string, object>> = {
  Registration: object(["service", "port"], {
    service: { oneOf: [{ type: "string", minLength: 1 }, serviceParts] },
    version: { type: "string", description: "Of a service that is given by its name." },
    group: { type: "string", description: "Of a service that is given by its name." },
    port: whole(1, 65_535, "The port at which the application itself listens."),
    host: { ...text(instanceLimits.hostBytes, "As others reach it; by default this client's address."), minLength: 1 },
    application: { ...text(instanceLimits.applicationBytes, "By default the name of the service."), minLength: 1 },
    weight: whole(0, instanceLimits.weight, "Relative share of calls; 100 by default."),
    warmupMs: whole(0, instanceLimits.warmupMs, "How long it takes from a small share to its whole weight."),
    zone: text(instanceLimits.zoneBytes, "Where it runs."),
    labels: {
      type: "object",
      maxProperties: instanceLimits.labels,
      additionalProperties: { type: "string", maxLength: instanceLimits.labelValueBytes },
    },
    ttlMs: whole(
      instanceLimits.shortestTtlMs,
      instanceLimits.longestTtlMs,
      "How long it lives after its last heartbeat; 30 s by default. Not with follow.",
    ),
  }),
  Registered: object(["id", "service", "host", "application", "appPort", "url", "inForce"], {
    id: text(64, "Who knows it may renew and withdraw."),
    service: { type: "string" },
    host: { type: "string" },
    application: { type: "string" },
    appPort: { type: "integer" },
    url: { type: "string" },
    inForce: { type: "boolean", description: "False while the registry has not acknowledged it." },
    ttlMs: { type: "integer" },
  }),
  Instance: object(
    [
      "host",
      "application",
      "appPort",
      "address",
      "port",
      "url",
      "weight",
      "warmupMs",
      "startedAt",
      "zone",
      "labels",
      "mode",
    ],
    {
      host: { type: "string" },
      application: { type: "string" },
      appPort: { type: "integer" },
      address: { type: "string", description: "Where to connect." },
      port: { type: "integer" },
      url: { type: "string", description: "PROTOCOL://ADDRESS:PORT, ready to call." },
      weight: { type: "integer" },
      warmupMs: { type: "integer" },
      startedAt: { type: "integer", description: "Milliseconds since 1970; 0 when unknown." },
      zone: { type: "string" },
      labels: { type: "object", additionalProperties: { type: "string" } },
      mode: { enum: ["sdk", "mesh"] },
      registration: {
        type: "object",
        description: "What was posted at such a door, with address and port in place of its own.",
      },
    },
  ),
  Instances: object(["service", "revision", "instances"], {
    service: { type: "string" },
    revision: { type: "string" },
    freshSince: {
      type: "integer",
      description: "Milliseconds since 1970 up to which it was proven to be right; 0 when it was not.",
    },
    instances: { type: "array", items: ref("Instance") },
  }),
  Service: object(["service", "protocol", "name", "version", "group", "applications"], {
    service: { type: "string" },
    protocol: { type: "string" },
    name: { type: "string" },
    version: { type: "string" },
    group: { type: "string" },
    applications: { type: "array", items: { type: "string" } },
  }),
  Services: object(["revision", "services"], {
    pattern: { type: "string" },
    revision: { type: "string" },
    services: { type: "array", items: ref("Service") },
  }),
  Changed: object(["from", "revision", "added", "changed", "removed"], {
    from: { type: "string" },
    revision: { type: "string" },
    added: { type: "array" },
    changed: { type: "array" },
    removed: { type: "array" },
  }),
  Problem: object(["type", "title", "status", "detail"], {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string", description: "What is wrong, where, and how to mend it." },
    key: { type: "string" },
  }),
};

const example = {
  service: "orders",
  host: "192.0.2.7",
  port: 8080,
  application: "shop",
  weight: 100,
  warmupMs: 10_000,
  zone: "east",
  labels: { version: "3" },
  ttlMs: 30_000,
};

const paths = {
  "/": { get: { operationId: "welcome", responses: { 200: { description: "What this is, with curl." } } } },
  "/v1/openapi.json": { get: { operationId: "openApi", responses: { 200: { description: "This document." } } } },
  "/v1/instances": {
    post: {
      operationId: "register",
      summary: "Registers an instance, for the life of this connection (follow) or with heartbeats.",
      parameters: [
        query(
          "follow",
          { type: "boolean" },
          "Answer with an event stream: while it stands, the instance is registered.",
        ),
        lastEventId,
      ],
      requestBody: { required: true, content: { "application/json": { schema: ref("Registration"), example } } },
      responses: {
        200: events("With follow: registered, and at an end that is not the client's failed, superseded or withdrawn."),
        201: json(ref("Registered"), "Registered, and in force."),
        202: json(ref("Registered"), "Taken; the registry has not acknowledged it yet."),
        400: problem("A key is unknown, missing or wrong."),
        413: problem("The body is too large."),
        415: problem("The content type is not application/json."),
        503: problem("A limit is reached, or the registry refuses."),
      },
    },
  },
  "/v1/instances/{id}": {
    put: {
      operationId: "renew",
      summary: "A heartbeat.",
      parameters: [inPath("id", "As the registration was answered.")],
      responses: {
        200: json(ref("Registered"), "Renewed."),
        404: problem("Not known (any more): register again."),
        410: problem("Registered again elsewhere: do not register it again by yourself."),
      },
    },
    delete: {
      operationId: "withdraw",
      parameters: [inPath("id", "As the registration was answered.")],
      responses: {
        204: { description: "Withdrawn." },
        404: problem("Not known."),
        410: problem("Registered elsewhere."),
      },
    },
  },
  "/v1/services": {
    get: {
      operationId: "listServices",
      parameters: [query("pattern", { type: "string", default: "*" }, "A service with * for any run of characters.")],
      responses: { 200: json(ref("Services"), "The services."), 503: problem("Nothing is known yet.") },
    },
  },
  "/v1/services/events": {
    get: {
      operationId: "followServices",
      parameters: [
        query("pattern", { type: "string", default: "*" }, "As above."),
        application,
        incremental,
        lastEventId,
      ],
      responses: { 200: events("snapshot events with Services, or changed ones."), 503: problem("Too many streams.") },
    },
  },
  "/v1/services/{service}": {
    get: {
      operationId: "instances",
      parameters: [service, timeoutMs],
      responses: {
        200: json(ref("Instances"), "Its instances now; at a sidecar one that stands for all."),
        400: problem("The path names no service."),
        503: problem("Nothing is known yet: ask again after Retry-After."),
      },
    },
  },
  "/v1/services/{service}/events": {
    get: {
      operationId: "followInstances",
      parameters: [service, timeoutMs, application, incremental, lastEventId],
      responses: { 200: events("snapshot events with Instances, or changed ones."), 503: problem("Too many streams.") },
    },
  },
} as const;

export const openApiDocument = {
  openapi: "3.1.0",
  info: {
    title: "dualmesh door for any language",
    version: "1",
    description: "Register instances, list services, follow instances. Errors are problem details (RFC 9457).",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  paths,
  components: { schemas },
} as const;

export function welcome(place: DoorContext["place"]): string {
  const where =
    place === "sidecar"
      ? "a sidecar: instances are given at loopback addresses"
      : "the registry: instances are given at their own addresses";
  return `dualmesh: the HTTP door of ${where}.

register with heartbeats, renew, withdraw
  curl -H 'content-type: application/json' -d '{"service":"orders","port":8080}' $DUALMESH/v1/instances
  curl -X PUT $DUALMESH/v1/instances/ID
  curl -X DELETE $DUALMESH/v1/instances/ID
register for as long as the connection stands
  curl -N -H 'content-type: application/json' -d '{"service":"orders","port":8080}' "$DUALMESH/v1/instances?follow"
list services, find instances, follow them
  curl "$DUALMESH/v1/services?pattern=http/*"
  curl $DUALMESH/v1/services/orders
  curl -N $DUALMESH/v1/services/orders/events
everything else
  curl $DUALMESH/v1/openapi.json
`;
}
