import assert from "node:assert/strict";
import { test } from "node:test";
import { dubboLayout } from "@dualmesh/dialects/zookeeper/dubbo-layout";
import { decodeName, parseProviderUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import { touchName } from "./touch-lists.ts";

test("the node that touches a list is a name of one part that says of itself that it is no provider", () => {
  const name = touchName("p4711-38127");
  assert.doesNotMatch(name, /[/?]/);
  // Clients of Dubbo look for this very text to find where the parameters begin.
  assert.ok(name.includes("%3F"));
  const url = parseProviderUrl(decodeName(name) ?? "");
  assert.deepEqual([url?.scheme, url?.port, url?.parameters.get("enabled")], ["empty", 0, "false"]);
  assert.equal(
    dubboLayout().readProvider("fx.Ledger", name, () => 0),
    undefined,
    "a sidecar does not take it for one either",
  );
});
