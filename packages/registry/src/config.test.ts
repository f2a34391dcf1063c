import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { registryConfigShape } from "./config.ts";

describe("the registry's configuration", () => {
  it("is whole when nothing is written, and binds to loopback", () => {
    const config = registryConfigShape.parse({});
    assert.equal(config.listen, "127.0.0.1");
    assert.deepEqual([config.stream.port, config.admin.port], [7_710, 7_711]);
    assert.deepEqual(config.doors.zookeeper, { port: 2_181 });
    assert.equal(config.graceMs, 15_000);
  });

  it("shuts a door with false and refuses unknown keys and ports", () => {
    assert.equal(registryConfigShape.parse({ doors: { zookeeper: false } }).doors.zookeeper, false);
    for (const wrong of [{ prot: 1 }, { stream: { port: 65_536 } }, { doors: { zookeeper: true } }, { graceMs: 0 }]) {
      assert.equal(registryConfigShape.safeParse(wrong).success, false, JSON.stringify(wrong));
    }
  });
});
