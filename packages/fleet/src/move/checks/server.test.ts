import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import fc from "fast-check";
import { askServer, isOld, readAnswer } from "./server.ts";
import { membersIn } from "./tree.ts";

const answer =
  "Zookeeper version: 3.8.4-9316c2a, built on 2024-02-12\nLatency min/avg/max: 0/0.5/3\nMode: follower\nNode count: 5\n";

test("a server says its version and mode, or that it may not, and what is no server says nothing", () => {
  assert.deepEqual(readAnswer(answer), { version: "3.8.4", mode: "follower" });
  assert.deepEqual(readAnswer("srvr is not executed because it is not in the whitelist.\n"), { version: "", mode: "" });
  assert.equal(readAnswer("HTTP/1.1 400 Bad Request\r\n\r\n"), undefined);
  fc.assert(
    fc.property(fc.string(), (text) => readAnswer(text) === undefined || /Zookeeper version|whitelist/.test(text)),
  );
  const old = ["3.4.14", "3.5.9"].map((version) => isOld({ version, mode: "" }));
  const fresh = ["3.6.0", "3.9.3", "4.0.0", ""].map((version) => isOld({ version, mode: "" }));
  assert.deepEqual(
    [old, fresh],
    [
      [true, true],
      [false, false, false, false],
    ],
  );
});

test("members of an ensemble are read with the address that clients call", () => {
  const text = [
    "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181",
    "server.2=zk-2:2888:3888:observer;10.0.0.2:2182",
    "server.3=[fd00::3]:2888:3888:participant;[::]:2181",
    "server.4=10.0.0.4:2888:3888:participant;2181",
    "server.5=10.0.0.5:2888:3888:participant",
    "version=100000000",
  ].join("\n");
  assert.deepEqual(membersIn(text), ["10.0.0.1:2181", "10.0.0.2:2182", "[fd00::3]:2181", "10.0.0.4:2181"]);
  fc.assert(fc.property(fc.string(), (garbage) => membersIn(garbage).length >= 0));
});

test("a real connection is asked and left; one that nobody takes is no server", async () => {
  let heard = "";
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (piece) => {
      heard += piece;
      if (heard === "srvr") socket.end(answer);
    });
  });
  const port = await portOf(server);
  assert.deepEqual(await askServer({ host: "127.0.0.1", port }, systemClock), { version: "3.8.4", mode: "follower" });
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await askServer({ host: "127.0.0.1", port }, systemClock), undefined);
});

function portOf(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { readonly port: number }).port));
  });
}
