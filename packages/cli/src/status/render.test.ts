import assert from "node:assert/strict";
import { test } from "node:test";
import type { Crossing } from "@dualmesh/model/crossing";
import { renderReport } from "./render.ts";

const wall = 1_795_486_790_000;
const part = { part: "sidecar", version: "1", pid: 7, uptime: 93_784, state: "/s", admin: "127.0.0.1:1", warnings: [] };

test("status reads what a part adds without knowing it, and foreign text cannot move the cursor", () => {
  const text = renderReport(
    {
      ...part,
      warnings: ["open\u001b[2J"],
      status: {
        newFact: 3,
        upstream: { open: 1 },
        services: [
          { name: "a\u001b[31mb", bypassed: "", size: 1 },
          { name: "c", extra: { d: 1 }, size: 2 },
        ],
        none: [],
        constructor: 1,
      },
    },
    wall,
  );
  assert.match(text, /constructor +1/);
  assert.match(text, /uptime +1d 2h/);
  assert.match(text, /new fact +3/);
  assert.match(text, /upstream open +1/);
  assert.match(text, /services \(2\)/);
  assert.match(text, /NAME/);
  assert.ok(!text.includes("BYPASSED"));
  assert.ok(!text.includes("none"));
  assert.ok(!text.includes("\u001b"));
});

test("times are ages, truths are words, and a time that has not come is nothing", () => {
  const feed = { kind: "service", name: "bolt/a:1.0:", size: 2, digest: "0f", answered: true, held: false };
  const text = renderReport(
    {
      ...part,
      status: {
        directory: {
          settled: true,
          feeds: [
            { ...feed, freshSince: wall - 12_000 },
            { ...feed, freshSince: 0 },
            { ...feed, freshSince: wall - 600_000 },
            { ...feed, freshSince: wall - 3 * 86_400_000 },
            { ...feed, freshSince: wall + 5_000 },
          ],
          counts: { connects: 1, gaps: 0, heldAnswers: 2 },
        },
      },
    },
    wall,
  );
  assert.match(text, /directory restart window over {2}yes/);
  assert.match(text, /directory subscriptions \(5\)\n {4}KIND +NAME +SIZE +ANSWERED +HELD BACK +FRESH SINCE\n/);
  for (const age of ["12 s ago", "10 min ago", "3 days ago", " 0 s ago"]) assert.ok(text.includes(age), age);
  assert.match(text, /directory counts: connects 1, held answers 2\n/);
  assert.ok(!text.includes(String(wall).slice(0, 6)));
  assert.ok(!/DIGEST|true|false|gaps/.test(text));
});

test("no cell holds JSON: what a row holds becomes a table of its own, or a few words", () => {
  const text = renderReport(
    {
      ...part,
      status: {
        face: {
          provided: [
            { service: "bolt/a:1.0:", appPort: 1, health: { state: "accepting", host: "h", port: 1, since: wall } },
          ],
          wanted: [
            {
              service: "dubbo/b::",
              subscribers: 1,
              bypassed: [
                { address: "10.0.0.1:1", reason: "protocol tri" },
                { address: "10.0.0.2:1", reason: "" },
              ],
              shown: Array.from({ length: 30 }, (_, at) => `10.0.1.${at}:20880`),
            },
          ],
        },
        doors: [
          {
            dialect: "zookeeper",
            port: 12_181,
            sessions: [{ id: "1", remote: "r", application: "shop", bypassed: [] }],
          },
          { dialect: "mesh", port: 13_330, sessions: [] },
        ],
      },
    },
    wall,
  );
  assert.ok(!/[{}[\]"]/.test(text), text);
  assert.match(text, /provided services \(1\)\n.*HEALTH\n.*accepting\n/);
  assert.match(text, /consumed services \(1\)/);
  assert.match(text, /10\.0\.0\.1:1 \(protocol tri\), 10\.0\.0\.2:1/);
  assert.match(text, /10\.0\.1\.2:20880 and 27 more/);
  assert.match(text, /doors \(2\)\n {4}DOOR +PORT\n {4}zookeeper {2}12181\n {4}mesh +13330\n/);
  assert.match(text, /zookeeper sessions \(1\)\n {4}ID +REMOTE +APPLICATION\n {4}1 +r +shop\n/);
});

test("an HTTP service is shown with its loopback address, and each application's port with the one that is published for it", () => {
  const service = "http/rating::";
  const inbound = (port: number) => ({
    host: "10.0.0.7",
    port,
    services: [{ service, application: "rating", host: "10.0.0.7", appPort: port - 12_900 }],
  });
  const text = renderReport(
    {
      ...part,
      status: {
        face: {
          inbound: [inbound(20_900), inbound(20_901)],
          ports: [{ service, host: "10.0.0.7", appPort: 8_000, port: 20_900, active: true }],
        },
        ownAddresses: [{ service, address: "127.16.0.1", port: 20_882 }],
      },
    },
    wall,
  );
  assert.match(
    text,
    /published ports \(1\)\n.*APPLICATION'S PORT +PORT.*\n +http\/rating:: +10\.0\.0\.7 +8000 +20900 +yes\n/,
  );
  assert.match(text, /address of their own \(1\)\n.*\n +http\/rating:: +127\.16\.0\.1 +20882\n/);
  for (const port of [20_900, 20_901]) assert.ok(text.includes(`10.0.0.7:${port} services (1)`), "told apart");
});

test("a crossing shows its doors, the sessions that come through, and where each registration stands", () => {
  const registration = { session: "1000a", path: "/dubbo/a/providers/dubbo%3A", application: "shop", host: "10.0.0.9" };
  const crossing: Crossing = {
    name: "p4711-38127",
    doors: [
      { server: "10.0.0.5:2181", port: 21_100 },
      { server: "10.0.0.6:2181", port: 21_101 },
    ],
    chroots: [],
    host: "10.0.0.9",
    provides: "mesh",
    consumes: "direct",
    sessions: [
      { id: "1000a", remote: "10.0.0.9:43210", connected: true, consumes: "both", lists: ["/dubbo/b/providers"] },
    ],
    registrations: [
      {
        ...registration,
        service: "dubbo/a::",
        appPort: 20_880,
        published: "10.0.0.9:20881",
        bypassed: "",
        state: "mesh",
      },
      { ...registration, service: "tri/a::", appPort: 50_051, published: "", bypassed: "TLS", state: "direct" },
    ],
    connections: 1,
  };
  const text = renderReport({ ...part, status: { crossings: [crossing] } }, wall);
  assert.match(text, /NAME +DOORS +HOST +IS CALLED +CALLS +CONNECTIONS\n/);
  assert.match(
    text,
    /p4711-38127 +10\.0\.0\.5:2181 \(21100\), 10\.0\.0\.6:2181 \(21101\) +10\.0\.0\.9 +mesh +direct +1\n/,
  );
  assert.match(text, /p4711-38127 sessions \(1\)\n.*\n +1000a +10\.0\.0\.9:43210 +yes +both +\/dubbo\/b\/providers\n/);
  assert.match(text, /p4711-38127 registrations \(2\)\n/);
  assert.match(text, /1000a +shop +10\.0\.0\.9 +dubbo\/a:: +20880 +10\.0\.0\.9:20881 +mesh\n/);
  assert.match(text, /1000a +shop +10\.0\.0\.9 +tri\/a:: +50051 +TLS +direct\n/);
  assert.ok(!text.includes("dubbo%3A"), "the whole node is in the JSON");
});
