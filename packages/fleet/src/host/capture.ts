/**
 * A look at the calls that pass, by tcpdump, which reads packets in the kernel and cannot change any. When the one who asks is root, it
 * runs as a user that nobody else is, with the one capability that it needs. The kernel ends it with the one who asks, however that dies, and its
 * memory in the kernel has a limit: what does not fit there is not seen.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { unusedUser } from "./accounts.ts";
import { hasCapability } from "./capabilities.ts";
import type { Capture, CaptureOptions, User } from "./host.ts";
import { readCaptureRequest, wholePacketBytes } from "./inputs.ts";
import type { Namespace } from "./namespace.ts";
import { findProgram, firstLine, missingText, needProgram, runProgram, startProgram } from "./programs.ts";

const linkType = "LINUX_SLL2";
/** Each packet takes as much of it as `snapBytes`: a thousand packets of 16 KiB, for when tcpdump does not get to run for a while. */
const kernelBufferKiB = 16_384;
/** On loopback, which is interface 1 everywhere, each packet passes as it leaves and as it arrives. */
const loopbackTwice = "(ifindex 1 and outbound)";
const maxSaidLength = 4_096;
/** Users that a mover does not come to be: the first that it looks at are others. */
const firstUser = 60_950;
/** The head of the file is written as soon as it looks. */
const beginsWithinMs = 10_000;

/** Why it cannot be done; undefined when it can. */
export async function whyNoCapture(namespace: Namespace): Promise<string | undefined> {
  const missing = (["tcpdump", "setpriv"] as const).find((program) => findProgram(program) === undefined);
  if (missing !== undefined) return missingText(missing);
  const words = confined(["-i", "any", "-L"], await captureUser());
  const { code, output, said } = await namespace.at((entrance) => runProgram({ program: "setpriv", words }, entrance));
  if (code !== 0) {
    return `tcpdump may not look (${firstLine(said)}): it needs root (or --sudo), or the capability CAP_NET_RAW in that network namespace`;
  }
  if (!`${output}${said}`.includes(linkType)) return `tcpdump is too old for ${linkType}: it must be 4.99 or later`;
  return undefined;
}

/** Rejects with `host.not-permitted` and the like when it does not begin. */
export async function openCapture(options: CaptureOptions, namespace: Namespace, clock: Clock): Promise<Capture> {
  const { onBytes, onEnd, ...asked } = options;
  const { ports, snapBytes = wholePacketBytes } = readCaptureRequest(asked);
  const filter = `tcp and (${ports.map((port) => `port ${port}`).join(" or ")}) and not ${loopbackTwice}`;
  const limits = ["-s", `${snapBytes}`, "-B", `${kernelBufferKiB}`];
  const looks = ["-i", "any", "-y", linkType, "-n", ...limits, "--immediate-mode", "-U", "-w", "-", filter];
  const words = confined(looks, await captureUser());
  const child = await namespace.at(async (entrance) => startProgram({ program: "setpriv", words }, entrance));
  child.stdin.on("error", () => undefined); // it reads nothing from there
  child.stdin.end();
  let closing = false;
  let began = false;
  let said = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (piece: string) => {
    said = `${said}${piece}`.slice(-maxSaidLength);
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      said = error.message;
      resolve();
    });
    child.once("close", () => resolve());
  });
  await new Promise<void>((resolve, reject) => {
    const late = clock.after(beginsWithinMs, () => {
      said = `it did not look within ${beginsWithinMs} ms`;
      child.kill("SIGKILL");
    });
    child.stdout.on("data", (bytes: Buffer) => {
      began = true;
      late.cancel();
      resolve();
      if (closing) return;
      const taken = onBytes(bytes);
      if (taken === undefined) return;
      child.stdout.pause();
      void taken.finally(() => child.stdout.resume());
    });
    void ended.then(() => {
      late.cancel();
      if (!began) reject(new MeshError("host.failed", `tcpdump did not begin: ${firstLine(said)}`));
      else if (!closing) onEnd(`tcpdump ended: ${firstLine(said)}`);
    });
  });
  return {
    async close() {
      closing = true;
      child.stdout.resume();
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Undefined for who cannot become anybody else, which root in a container may not be able to, either. */
async function captureUser(): Promise<User | undefined> {
  const may = (["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] as const).every(hasCapability);
  return process.geteuid?.() === 0 && may ? unusedUser(firstUser) : undefined;
}

/** The words of setpriv that run tcpdump with what it needs and no more, and end it with its parent. */
function confined(words: readonly string[], user: User | undefined): readonly string[] {
  const become =
    user === undefined
      ? []
      : ["--reuid", `${user.uid}`, "--regid", `${user.gid}`, "--clear-groups", "--bounding-set=-all,+net_raw"];
  const rights = ["--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--no-new-privs", "--pdeathsig", "KILL"];
  return [...become, ...rights, "--", needProgram("tcpdump"), ...words];
}
