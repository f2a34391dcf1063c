/** A service manager is told which process is ready and which one is the main one, however the sidecar was replaced. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { UpgradeEnd } from "@dualmesh/sidecar/upgrade/old-side";
import { upgradeSeed } from "./seed.ts";
import { UpgradeWorld } from "./world.ts";

const manager = `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listening", flush=True)
while True:
    data, control, flags, sender = s.recvmsg(1000, 1000)
    for level, kind, fds in control:
        if kind == socket.SCM_RIGHTS:
            for fd in array.array("i", fds[: len(fds) // 4 * 4]): os.close(fd)
    print(" ".join(data.decode().split()), flush=True)`;
const missing = [
  ["python3", "--version"],
  ["systemd-notify", "--version"],
].find(([program = "", ...words]) => spawnSync(program, words).error !== undefined)?.[0];
const skip = missing === undefined ? false : `${missing} is missing`;

for (const supervised of [false, true])
  test(`the service manager hears who is ready and which process is the main one, ${supervised ? "supervised" : "plain"}`, {
    skip,
    timeout: 120_000,
  }, async () => {
    const directory = mkdtempSync(join(tmpdir(), "notify-"));
    const socket = join(directory, "s");
    const listener = spawn("python3", ["-c", manager, socket], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const lines = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
      const next = async (): Promise<string> => String((await lines.next()).value);
      /** Passes over a barrier, which its program sends after each. */
      const told = async (): Promise<string> => {
        for (;;) {
          const line = await next();
          if (line !== "BARRIER=1") return line;
        }
      };
      assert.equal(await next(), "listening");
      const environment = { NOTIFY_SOCKET: socket };
      await using world = await UpgradeWorld.open({ seed: upgradeSeed, supervised, environment });
      assert.equal(await told(), "READY=1");
      for (const drain of [false, true]) {
        const end = await callControl(controlPath(world.sidecar.state), "upgrade", { drain }, { timeoutMs: 60_000 });
        const { pid } = end as UpgradeEnd;
        assert.equal(await told(), supervised ? "READY=1" : `READY=1 MAINPID=${pid}`);
        await world.sidecar.serves("the new process serves", 10_000);
        assert.equal(world.sidecar.pid, pid);
      }
    } finally {
      listener.kill("SIGKILL");
      rmSync(directory, { recursive: true, force: true });
    }
  });
