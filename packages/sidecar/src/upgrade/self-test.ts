/** A process that is to take over proves first that it carries: it calls itself over loopback, through a data plane of its own. */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { SidecarConfig } from "../config.ts";
import { DataSide } from "../data-side.ts";
import { type Listener, listen } from "../transport/listener.ts";
import { dialTransport } from "../transport/tcp.ts";
import type { Transport, TransportEvents } from "../transport/transport.ts";

export interface SelfTestOptions {
  readonly config: SidecarConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const service = "tcp/self-test::";
const host = "127.0.0.1";
const limitMs = 5_000;
const sentBytes = 64;

/** Rejects with `upgrade.self-test`. */
export async function selfTest(options: SelfTestOptions): Promise<void> {
  const data = await DataSide.open({ ...options, config: { ...options.config, protocols: [] } });
  const listeners: Listener[] = [];
  const port = async (accept: (transport: Transport) => void): Promise<number> => {
    const listener = await listen({ host, port: 0, maxConnections: 8, accept, dropped: () => {} });
    listeners.push(listener);
    return listener.port;
  };
  try {
    const echo = await port((transport) => transport.open(echoes(transport)));
    const front = await port((transport) => data.plane.accept(transport, { service }));
    const endpoint = { address: host, port: echo, weight: 100, warmupMs: 0, startedAt: 0 };
    const cell = {
      revision: 1,
      known: true,
      endpoints: [{ ...endpoint, security: "plain" as const, mode: "sdk" as const }],
    };
    const route = { service, protocol: "tcp", head: "self-test:", group: "", timeoutMs: 0, cell };
    data.plane.apply({ revision: 1, defaultTimeoutMs: limitMs, outbound: [route], inbound: [] });
    await answers(front, options);
  } finally {
    await data.close();
    for (const listener of listeners) await listener.close();
  }
}

function echoes(transport: Transport): TransportEvents {
  return {
    onBytes: (bytes, size) => transport.write(bytes, 0, size),
    onDrain() {},
    onPeerEnd: () => undefined,
    onClose() {},
  };
}

function answers(port: number, { clock, random }: SelfTestOptions): Promise<void> {
  const sent = Buffer.from(random.bytes(sentBytes));
  return new Promise((resolve, reject) => {
    const failed = (why: string): void => {
      timer.cancel();
      reject(new MeshError("upgrade.self-test", `this process did not answer itself over loopback: ${why}`));
    };
    const timer = clock.after(limitMs, () => failed(`nothing came for ${limitMs} ms`));
    let heard = Buffer.alloc(0);
    dialTransport({ host, port, timeoutMs: limitMs }, (transport, reason) => {
      if (transport === undefined) return failed(reason);
      transport.open({
        onBytes(bytes, size) {
          heard = Buffer.concat([heard, bytes.subarray(0, size)]);
          if (heard.length < sent.length) return;
          timer.cancel();
          if (heard.equals(sent)) resolve();
          else failed("other bytes came than were sent");
          transport.destroy("the test is over");
        },
        onDrain() {},
        onPeerEnd: () => undefined,
        onClose: (why) => failed(why),
      });
      transport.write(sent, 0, sent.length);
    });
  });
}
