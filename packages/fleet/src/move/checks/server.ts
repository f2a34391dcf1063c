/** Whether a server is a ZooKeeper, and of which version: by the word `srvr`, which every server since 3.5 answers unless it was told otherwise. */
import { connect } from "node:net";
import type { Clock } from "@dualmesh/base/clock";
import type { HostAddress } from "../../host/host.ts";

export interface ServerAnswer {
  /** As in `3.8.4`; empty when it does not say. */
  readonly version: string;
  /** `leader`, `follower`, `standalone`; empty when it does not say. */
  readonly mode: string;
}

const answerMs = 3_000;
const maxAnswerLength = 16_384;

/** Undefined for what is no ZooKeeper, or does not answer. */
export function askServer({ host, port }: HostAddress, clock: Clock): Promise<ServerAnswer | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host, port });
    const end = (): void => {
      timer.cancel();
      socket.destroy();
      resolve(readAnswer(text));
    };
    const timer = clock.after(answerMs, end, true);
    socket.setEncoding("latin1");
    socket.on("connect", () => void socket.write("srvr"));
    socket.on("data", (piece: string) => {
      text += piece;
      if (text.length > maxAnswerLength) end();
    });
    socket.on("end", end);
    socket.on("error", end);
  });
}

export function readAnswer(text: string): ServerAnswer | undefined {
  // One that may not say more is known by this very sentence.
  if (/not executed because it is not in the whitelist/.test(text)) return { version: "", mode: "" };
  const [, version] = /^Zookeeper version: (\d+\.\d+\.\d+)/m.exec(text) ?? [];
  if (version === undefined) return undefined;
  return { version, mode: /^Mode: (\w+)/m.exec(text)?.[1] ?? "" };
}

/** Whether watches of this version stay until they are taken back; older ones tell once. */
export function isOld({ version }: ServerAnswer): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return version !== "" && (major < 3 || (major === 3 && minor < 6));
}
