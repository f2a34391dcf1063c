import assert from "node:assert/strict";
import { test } from "node:test";
import { HttpWorld, RawServer } from "../request/http-testing.ts";

test("a connection whose response ended while the caller was behind listens to the next response", async () => {
  await using server = await RawServer.open();
  await using world = new HttpWorld({ ports: [server.port] });
  const caller = await world.caller();
  const requests = 100;
  const response = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n${"x".repeat(200_000)}`);
  let received = 0;
  caller.socket.removeAllListeners("data");
  caller.socket.on("data", (bytes) => {
    received += bytes.length;
  });
  caller.socket.pause();
  caller.send("GET / HTTP/1.1\r\nHost: o\r\n\r\n".repeat(requests));
  const app = await server.peer();
  let answered = 0;
  const answer = (text: string): void => {
    for (const _ of text.matchAll(/\r\n\r\n/g)) {
      app.send(response);
      answered++;
    }
  };
  answer(app.text);
  app.socket.on("data", (bytes) => answer(bytes.toString("latin1")));
  await app.until(() => answered > 10, "requests while the caller takes nothing");
  caller.socket.resume();
  await caller.until(() => answered === requests && received > requests * 200_000, "every answer");
  assert.equal(server.peers.length, 1, "all of them over one connection");
});
