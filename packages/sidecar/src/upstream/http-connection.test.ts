import assert from "node:assert/strict";
import { test } from "node:test";
import { HttpWorld, RawServer } from "../request/http-testing.ts";

const get = "GET / HTTP/1.1\r\nHost: o\r\n\r\n";

test("a connection whose response ended while its caller was behind listens to the response of the next caller", async () => {
  // Small enough to come in one piece: it is over in the very moment in which it is too much.
  const response = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n${"x".repeat(60_000)}`);
  let answered = 0;
  await using server = await RawServer.open(({ socket }) =>
    socket.on("data", (bytes) => {
      for (const _ of bytes.toString("latin1").matchAll(/\r\n\r\n/g)) {
        socket.write(response);
        answered++;
      }
    }),
  );
  await using world = new HttpWorld({ ports: [server.port] });
  const behind = await world.caller();
  behind.socket.pause();
  behind.send(get.repeat(400));
  let [last, unchanged] = [0, 0];
  await behind.until(() => {
    unchanged = answered > 0 && answered === last ? unchanged + 1 : 0;
    last = answered;
    return unchanged === 3;
  }, "its queue to be full");
  const next = await world.caller();
  next.send(get);
  await next.until(() => next.text.length > 60_000, "the next caller's answer");
  assert.equal(server.peers.length, 1, "over the same connection");
});
