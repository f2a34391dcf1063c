/**
 * A service in the mesh and its caller on Node, with the SDK. `DUALMESH` is the door of a sidecar, or the stream of the registry as
 * `registry:HOST:PORT`; nothing else changes between the two.
 *
 *     DUALMESH=http://127.0.0.1:13380 NAME=hello-1 PORT=9001 node hello.ts provider
 *     DUALMESH=registry:127.0.0.1:7710 NAME=caller RATE=5 node hello.ts consumer
 */
import { createServer } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { connect } from "@dualmesh/client/sdk";

const { DUALMESH: door = "", NAME: name = "hello", PORT: port = "9001", RATE: rate = "1" } = process.env;
const mesh = connect(door.startsWith("registry:") ? { registry: door.slice("registry:".length) } : { sidecar: door });
const say = (line: object): void => console.log(JSON.stringify(line));
const ending = Promise.withResolvers<void>();
let over = false;
void ending.promise.then(() => (over = true));
process.once("SIGTERM", ending.resolve);
process.stdin.resume().once("end", ending.resolve);

if (process.argv[2] === "provider") await provide();
else await consume();
process.exit(0);

async function provide(): Promise<void> {
  const server = createServer((request, response) => {
    if (request.method === "POST") request.pipe(response);
    else response.end(JSON.stringify({ by: name, hello: request.url?.split("/").at(-1) }));
  });
  server.listen(Number(port));
  const offered = mesh.register({ service: "hello", port: Number(port), application: name });
  await Promise.race([offered.inForce, ending.promise]);
  if (!over) say({ event: "ready" });
  await ending.promise;
  await offered.withdraw();
  await wait(1_000); // who has not heard of it yet is served still
  say({ event: "ended", started: 0 });
}

async function consume(): Promise<void> {
  const hello = mesh.subscribe("hello");
  while (hello.pick() === undefined && !over) await wait(50);
  if (!over) say({ event: "ready" });
  let started = 0;
  for (; !over; await wait(1_000 / Number(rate))) {
    const url = hello.pick()?.url ?? "";
    const at = Date.now();
    started += 1;
    const one = { at, dialled: url, by: "", error: "" };
    try {
      one.by = ((await (await fetch(`${url}/hello/${started}`)).json()) as { by: string }).by;
    } catch (error) {
      one.error = String(error);
    }
    say({ event: "calls", calls: [{ ...one, ms: Date.now() - at }] });
  }
  await mesh.close();
  say({ event: "ended", started });
}
