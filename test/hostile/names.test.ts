/** S12: names that JavaScript's objects have of their own, wherever a name may stand. Nothing is polluted, every page can be read. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { boltRequest } from "@dualmesh/sidecar/request/testing";
import { dubboEcho, dubboRequest } from "./dubbo.ts";
import { callOnce, type Dialect, dialects, type Sidecar, World } from "./world.ts";
import { dubboProviderPath, ephemeral, errorOf, openZooKeeper } from "./zookeeper.ts";

const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf", 'a"b\\c\nd', "\u2028", "$x"];
const pristine = Object.getOwnPropertyNames(Object.prototype).sort();
let world: World;
let sidecar: Sidecar;

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar();
  await world.provider("dubbo/test.Echo:1.0:", dubboEcho);
});
after(() => world[Symbol.asyncDispose]());

function assertPristine(): void {
  assert.deepEqual(Object.getOwnPropertyNames(Object.prototype).sort(), pristine);
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
}

/** Every line of Prometheus text is a comment, or a name with labels and a number. */
function assertMetrics(page: string): void {
  const label = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\n"])*"';
  const sample = new RegExp(
    `^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\\{${label}(?:,${label})*\\})? (?:[-+]?[0-9.]+(?:e[-+]?[0-9]+)?|\\+Inf|NaN)$`,
  );
  const seen = new Set<string>();
  for (const line of page.split("\n")) {
    if (line === "" || /^# (HELP|TYPE) /.test(line)) continue;
    assert.match(line, sample);
    const key = line.slice(0, line.lastIndexOf(" "));
    assert.ok(!seen.has(key), `twice: ${key}`);
    seen.add(key);
  }
}

test("S12: as service, application and header of a call each is answered, and the metrics page parses", {
  timeout: 30_000,
}, async () => {
  const bolt = await world.caller(sidecar.running.outboundPort);
  const dubbo = await world.caller(sidecar.running.outboundPort, "dubbo");
  for (const [index, name] of names.entries()) {
    bolt.send(boltRequest({ id: index + 1, service: `${name}:1.0`, app: name, timeoutMs: 1_500 }));
    dubbo.send(
      dubboRequest({
        id: index + 1,
        path: name,
        attachments: [
          ["group", name],
          [name, "polluted"],
          ["remote.application", name],
        ],
      }),
    );
  }
  await Promise.all([bolt.received(names.length), dubbo.received(names.length)]);
  for (const name of names) {
    const own = await world.caller(sidecar.running.outboundPort, "dubbo");
    own.send(dubboRequest({ id: 1, attachments: [["remote.application", name]] }));
    await own.received(1);
    assert.equal(own.frames[0]?.status, 20);
    own.socket.destroy();
  }
  assertPristine();
  for (const admin of [sidecar.admin, world.registryAdmin])
    assertMetrics(await (await fetch(`http://${admin.address}/metrics`)).text());
});

test("S12: as label, zone and application of an instance each comes back as it was given", {
  timeout: 30_000,
}, async () => {
  const labels = JSON.parse('{"__proto__":"polluted","constructor":"x","toString":"y"}') as Record<string, string>;
  for (const [index, application] of names.slice(0, 5).entries())
    await world.publish("bolt/test.Labels:1.0:", 1_000 + index, { application, labels, zone: application });
  const found = world.registry.instances("bolt/test.Labels:1.0:");
  assert.deepEqual(found.map(({ application }) => application).sort(), names.slice(0, 5).sort());
  assertPristine();
  assert.doesNotThrow(() => JSON.stringify([world.registry.status(), sidecar.running.status()]));
});

test("S12: in ZooKeeper's paths and URLs each is refused or kept, and doors, status and metrics go on", {
  timeout: 30_000,
}, async () => {
  for (const port of [sidecar.running.doors.zookeeper as number, world.registry.doors.zookeeper as number]) {
    const client = await openZooKeeper(await world.socket(port));
    for (const name of names.slice(0, 5)) {
      const xids = [
        client.create(`/${name}`),
        client.create(`/dubbo/${name}`),
        client.create(`/dubbo/mapping/${name}/${name}`),
        client.create(dubboProviderPath(name, 4_000, name, `&${name}=polluted&group=${name}`), ephemeral),
        client.create(
          dubboProviderPath(
            "test.Params",
            4_000,
            name,
            "&__proto__=polluted&__proto__.polluted=1&constructor.prototype.polluted=1",
          ),
          ephemeral,
        ),
      ];
      for (const xid of xids) assert.equal(typeof (await errorOf(client, xid)), "number");
      await errorOf(client, client.getData(`/dubbo/${name}/providers/${name}`));
      client.addWatch(`/${name}`, 1);
    }
  }
  assertPristine();
  const { renderReport } = await import("../../packages/cli/src/status/render.ts");
  const report = { part: "sidecar", version: "1", pid: 1, uptime: 1, warnings: [], status: sidecar.running.status() };
  const text = renderReport(report, systemClock.wall());
  assert.ok(text.includes("__proto__"));
  for (const admin of [sidecar.admin, world.registryAdmin])
    assertMetrics(await (await fetch(`http://${admin.address}/metrics`)).text());
  assert.equal((await callOnce(world, sidecar.running.outboundPort, dialects[1] as Dialect)).status, 20);
});

test("S12: over mesh:// each is answered below 500 or with a reason", { timeout: 30_000 }, async () => {
  for (const name of names) {
    for (const path of ["/configs/application", "/services/publish", "/services/subscribe"]) {
      const body = `{"appName":${JSON.stringify(name)},"__proto__":{"polluted":1},"dataId":${JSON.stringify(`${name}:1.0@DEFAULT`)},"serviceName":${JSON.stringify(`${name}:1.0`)},"protocolType":"DEFAULT"}`;
      const response = await fetch(`http://127.0.0.1:${sidecar.running.doors.mesh}${path}`, { method: "POST", body });
      await response.text();
      assert.ok(response.status <= 500);
    }
  }
  assertPristine();
});
