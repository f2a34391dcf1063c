import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { type PathEnds, wrongWay } from "./path.ts";
import { ways } from "./plan.ts";

const unknowable = process.platform === "linux" ? false : "only Linux tells who is connected";

test("a call that bypasses the sidecars is not taken for one through them", { skip: unknowable }, async () => {
  await using server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  // This process plays the consumer and holds a connection to the provider itself; the sidecars are processes that have none.
  const ends: Omit<PathEnds, "way"> = {
    consumer: process.pid,
    sidecarOfConsumers: undefined,
    sidecarOfProviders: undefined,
    outboundPorts: [1],
    providerPorts: [2, port],
  };
  const verdicts = ways.map((way) => wrongWay({ ...ends, way }));
  assert.equal(verdicts[0], undefined);
  for (const verdict of verdicts.slice(1)) assert.match(verdict ?? "", /past the sidecar/);
  assert.match(wrongWay({ ...ends, way: ways[0]!, providerPorts: [2] }) ?? "", /no connection to the provider/);
  socket.destroy();
});

test("a way through a sidecar needs each of its connections", { skip: unknowable }, async () => {
  await using server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const self = process.pid;
  const [, sdkToMesh, meshToSdk, meshToMesh] = ways;
  const ends = {
    consumer: undefined,
    sidecarOfConsumers: undefined,
    sidecarOfProviders: undefined,
    outboundPorts: [1],
    providerPorts: [port],
  };
  assert.equal(wrongWay({ ...ends, way: sdkToMesh!, sidecarOfProviders: self }), undefined);
  assert.match(wrongWay({ ...ends, way: sdkToMesh! }) ?? "", /provider's sidecar has no connection/);
  assert.match(wrongWay({ ...ends, way: meshToSdk!, sidecarOfConsumers: self }) ?? "", /no connection to its sidecar/);
  const called = { ...ends, consumer: self, outboundPorts: [port], providerPorts: [1] };
  assert.match(wrongWay({ ...called, way: meshToSdk! }) ?? "", /consumer's sidecar has no connection/);
  assert.match(wrongWay({ ...called, way: meshToMesh! }) ?? "", /provider's sidecar has no connection/);
  socket.destroy();
});
