/** A service of bytes from the configuration: published while its port accepts, found by name, called through two sidecars. */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { eventually, metric, type Sidecar, World } from "../hostile/world.ts";

/** A server that greets, as MySQL and SMTP do, then repeats what it hears. */
async function greeter(world: World, port = 0): Promise<{ readonly port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.write("hello\n");
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  world.defer(close);
  return { port: (server.address() as net.AddressInfo).port, close };
}

interface Found {
  readonly address: string;
  readonly port: number;
}

/** Where a sidecar's HTTP door says that the service is called. */
async function found({ running }: Sidecar, service: string): Promise<Found> {
  const door = `http://127.0.0.1:${running.doors["http"]}`;
  let instances: readonly Found[] | undefined;
  await eventually("the door knows where it is called", async () => {
    ({ instances } = (await (await fetch(`${door}/v1/services/${service}`)).json()) as {
      instances?: readonly Found[];
    });
    return instances !== undefined;
  });
  return instances?.[0] as Found;
}

/** What a connection hears; undefined when it is broken off. */
async function say(world: World, { address, port }: Found, text: string): Promise<string | undefined> {
  const socket = net.connect({ host: address, port });
  socket.on("error", () => {}); // how it ends is what is asked
  world.defer(() => void socket.destroy());
  let heard = "";
  socket.on("data", (bytes) => {
    heard += String(bytes);
    if (heard === "hello\n") socket.end(text);
  });
  await new Promise((resolve) => socket.once("close", resolve));
  return heard === `hello\n${text}` ? heard : undefined;
}

test("a tcp service of the configuration is called through two sidecars while its port accepts", {
  timeout: 60_000,
}, async () => {
  await using world = await World.open();
  const server = await greeter(world);
  const tcp = [{ service: "greeter", port: server.port, application: "greeters", host: "127.0.0.1" }];
  await world.sidecar({ tcp });
  const near = await world.sidecar();
  const at = await found(near, "tcp/greeter");
  assert.match(at.address, /^127\.(?!0\.0\.1)/);
  await eventually("it is published", async () => (await say(world, at, "one")) !== undefined);
  assert.equal(await say(world, at, "two"), "hello\ntwo");

  const { ownAddresses } = near.running.status() as { readonly ownAddresses: readonly (Found & { service: string })[] };
  assert.deepEqual(ownAddresses, [{ service: "tcp/greeter::", address: at.address, port: near.running.outboundPort }]);
  const bytes =
    'dualmesh_tcp_sent_bytes_total{source="unknown",service="tcp/greeter::",protocol="tcp",direction="outbound"}';
  assert.ok((await metric(near.admin, bytes)) >= 2 * "hello\none".length);

  server.close();
  const door = `http://127.0.0.1:${near.running.doors["http"]}/v1/services?pattern=tcp/*`;
  const listed = async (): Promise<number> =>
    ((await (await fetch(door)).json()) as { services: readonly unknown[] }).services.length;
  await eventually("it is withdrawn", async () => (await listed()) === 0);
  assert.equal(await say(world, at, "nobody"), undefined);
  await greeter(world, server.port);
  await eventually("it is back", async () => (await say(world, at, "back")) === "hello\nback");
});

test("what never accepted is not published, and a sidecar that ends lets a connection end", {
  timeout: 60_000,
}, async () => {
  await using world = await World.open();
  const server = await greeter(world);
  const silent = await greeter(world);
  silent.close();
  const tcp = [
    { service: "there", port: server.port, host: "127.0.0.1" },
    { service: "missing", port: silent.port, host: "127.0.0.1" },
  ];
  const far = await world.sidecar({ tcp, drain: { idleMs: 0, lingerMs: 0, maxMs: 20_000 } });
  const near = await world.sidecar();
  const at = await found(near, "tcp/there");
  await eventually("it is published", async () => (await say(world, at, "one")) !== undefined);
  const door = `http://127.0.0.1:${near.running.doors["http"]}/v1/services?pattern=tcp/*`;
  const { services } = (await (await fetch(door)).json()) as { services: readonly { readonly service: string }[] };
  assert.deepEqual(
    services.map(({ service }) => service),
    ["tcp/there::"],
  );

  const long = net.connect({ host: at.address, port: at.port, allowHalfOpen: true });
  world.defer(() => void long.destroy());
  let heard = "";
  long.on("data", (bytes) => {
    heard += String(bytes);
  });
  await eventually("it is greeted", () => heard === "hello\n");
  let ended = false;
  const ending = far.running.close().then(() => {
    ended = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(ended, false);
  long.end("the last word");
  await eventually("it is heard to its end", () => heard === "hello\nthe last word" && long.readableEnded);
  await ending;
});
