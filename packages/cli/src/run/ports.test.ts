/** What a second sidecar of a host does about ports, for real, in a network of its own where the usual ports are free. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const program = fileURLToPath(new URL("../main.ts", import.meta.url));
/** A process table of its own as well, so that nothing outlives the script, however it ends. */
const isolate = ["--net", "--pid", "--map-root-user", "--fork", "--kill-child"];
const upAndRun = (script: string): string[] => [...isolate, "sh", "-c", `ip link set lo up && ${script}`];
const isolator = "unshare";
const canIsolate = spawnSync(isolator, upAndRun("true")).status === 0;

interface Report {
  readonly admin: string;
  readonly state: string;
  readonly warnings: readonly string[];
  readonly status: {
    readonly inbound: number;
    readonly outbound: number;
    readonly doors: readonly { readonly dialect: string; readonly port: number }[];
  };
}

/** Runs two sidecars by the defaults, and says what `dualmesh status` and the standard error of each have of them. */
const script = `
  running() { while ! grep -q '"running"' "$1"; do kill -0 $2 || { cat "$1" >&2; exit 1; }; sleep 0.05; done; }
  "$NODE" "$PROGRAM" sidecar run --state first 2>first.log & first=$!
  running first.log $first
  "$NODE" "$PROGRAM" sidecar run --state second 2>second.log & second=$!
  running second.log $second
  "$NODE" "$PROGRAM" status --json >before.json
  "$NODE" "$PROGRAM" sidecar run --state first 2>locked.log; echo $? >locked.code
  printf 'doors: { mesh: { port: 14000 } }' >mesh.yaml
  "$NODE" "$PROGRAM" sidecar run --state third --config mesh.yaml 2>mesh.log; echo $? >mesh.code
  "$NODE" "$PROGRAM" sidecar run --state third --zookeeper-port 12181 2>door.log; echo $? >door.code
  kill -9 $first $second; wait $first $second
  "$NODE" "$PROGRAM" sidecar run --state second 2>again.log & again=$!
  running again.log $again
  "$NODE" "$PROGRAM" status --json >after.json
  kill -9 $again
  tail -n +1 before.json after.json *.code locked.log mesh.log door.log second.log | sed 's/^/|/'
`;

function parts(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let name = "";
  for (const line of text.split("\n").map((one) => one.slice(1))) {
    const head = /^==> (\S+) <==$/.exec(line);
    if (head === null) found.set(name, `${found.get(name) ?? ""}${line}\n`);
    else name = head[1] ?? "";
  }
  return found;
}

test("a second sidecar by the defaults takes the next free ports, keeps them, and leaves mesh:// to the first", {
  skip: canIsolate ? false : "a network of its own needs unshare and ip, and may not be had here",
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "dualmesh-ports-"));
  try {
    const { stdout } = await promisify(execFile)(isolator, upAndRun(script), {
      cwd: folder,
      env: { ...process.env, NODE: process.execPath, PROGRAM: program, XDG_STATE_HOME: folder },
      timeout: 60_000,
    });
    const files = parts(stdout);
    const reports = (file: string): Report[] => JSON.parse(files.get(file) ?? "");
    const [first, second] = reports("before.json").toSorted((a, b) => a.state.localeCompare(b.state));
    assert.ok(first !== undefined && second !== undefined);
    assert.deepEqual([first.status.inbound, first.status.outbound, first.admin], [20_881, 20_882, "127.0.0.1:20883"]);
    assert.deepEqual(
      first.status.doors.map(({ port }) => port),
      [12_181, 13_330, 18_761, 13_380],
    );
    assert.deepEqual(first.warnings, []);
    assert.deepEqual(
      [second.status.inbound, second.status.outbound, second.admin],
      [20_885, 20_886, "127.0.0.1:20887"],
    );
    assert.deepEqual(
      second.status.doors.map(({ port }) => port),
      [12_182, 18_762, 13_381],
    );
    assert.match(second.warnings.join(), /mesh:\/\/ is not served here: .*12220.*doors\.mesh: false/);
    assert.match(files.get("second.log") ?? "", /"doors\.zookeeper\.port","usual":12181,"port":12182/);

    assert.equal(files.get("locked.code")?.trim(), "4");
    assert.match(files.get("locked.log") ?? "", /--state/);
    assert.equal(files.get("mesh.code")?.trim(), "5");
    assert.match(
      files.get("mesh.log") ?? "",
      /doors\.mesh\.outboundPort: 127\.0\.0\.1:12220 .* set doors\.mesh to false/,
    );
    assert.equal(files.get("door.code")?.trim(), "5");
    assert.match(files.get("door.log") ?? "", /doors\.zookeeper\.port: 127\.0\.0\.1:12181 is in use/);

    const [again] = reports("after.json");
    assert.deepEqual(
      [again?.status.inbound, again?.admin, again?.status.doors.find(({ dialect }) => dialect === "zookeeper")?.port],
      [20_885, "127.0.0.1:20887", 12_182],
      "the first is gone, and the second keeps its ports",
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
