import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { encodeName } from "@dualmesh/dialects/zookeeper/provider-url";
import type { CrossingList } from "@dualmesh/model/crossing";
import type { Host, HostAddress, Privileged, StateDirectory } from "../../host/host.ts";
import type { ProcessFacts } from "../../process/facts.ts";
import { defaultWatchBounds } from "../../watch/watching.ts";
import { addressText } from "../addresses.ts";
import { processId } from "../processes.ts";
import type { MoveRecord, ProcessId } from "../record.ts";
import { recordOf } from "../testing/sim-world.ts";
import type { Check } from "./check.ts";
import { type Examination, examine, type Means, type Wish } from "./examine.ts";
import type { Reader } from "./reader.ts";
import type { ServerAnswer } from "./server.ts";

const own = "10.1.1.2";
const address = (text: string): HostAddress => ({
  host: text.split(":")[0] as string,
  port: Number(text.split(":")[1]),
});
let localPort = 40_000;
/** As whom the mover runs, and the account of the product. */
const operator = 60_710;
const account = 990;
const to = (remote: string) => ({ local: { host: own, port: localPort++ }, remote: address(remote) });

const facts: ProcessFacts = {
  pid: 4711,
  started: 99,
  uid: 1_000,
  cgroup: "/pay",
  netns: 5,
  command: ["/usr/bin/java", "-cp", "x", "com.pay.Main"],
  listening: [{ host: "0.0.0.0", port: 20_880 }],
  connections: [to("10.1.1.9:2181"), to("10.1.1.3:20880")],
  exact: true,
};

const wish: Wish = {
  named: { kind: "pid", pid: 4711 },
  zookeeper: [],
  chroot: undefined,
  host: undefined,
  state: undefined,
  only: undefined,
  first: "provider",
  watchBeforeMs: 60_000,
  watchMs: 60_000,
  bounds: defaultWatchBounds,
};

const greeter = "dubbo://10.1.1.2:20880/fx.Greeter?application=pay&release=2.7.23&pid=4711&version=1.0.0";
const rates = "dubbo://10.1.1.3:20880/fx.Rates?application=rates&release=3.3.6&pid=7";
const consumer = "consumer://10.1.1.2/fx.Rates?application=pay&release=2.7.23&pid=4711&side=consumer";

/** An ensemble: its nodes by path, and when they came to be. */
interface Ensemble {
  readonly nodes: ReadonlyMap<string, string>;
  readonly born: number;
}

function ensemble(entries: readonly string[], { born = 1, chroot = "", config = "" } = {}): Ensemble {
  const nodes = new Map<string, string>();
  for (const entry of [...entries, ...(config === "" ? [] : ["/zookeeper/config"])]) {
    const path = entry.startsWith("/zookeeper") ? entry : `${chroot}${entry}`;
    const parts = path.split("/").slice(1);
    for (let length = 1; length <= parts.length; length++) nodes.set(`/${parts.slice(0, length).join("/")}`, "");
  }
  if (config !== "") nodes.set("/zookeeper/config", config);
  return { nodes, born };
}

const provider = (url: string): string => `/dubbo/${/fx\.\w+/.exec(url)?.[0]}/providers/${encodeName(url)}`;
const usual = ensemble([
  provider(greeter),
  provider(rates),
  `/dubbo/fx.Rates/consumers/${encodeName(consumer)}`,
  // Of other processes: the same port on another host, the same id on another host.
  provider(greeter.replace("10.1.1.2", "10.1.1.7")),
  provider("dubbo://10.1.1.8:20880/fx.Other?pid=4711"),
]);

interface Site {
  readonly means?: Partial<Means>;
  readonly unreadable?: Awaited<ReturnType<Means["records"]["unreadable"]>>;
  readonly facts?: Partial<ProcessFacts>;
  readonly wish?: Partial<Wish>;
  /** By server; the usual ensemble at 10.1.1.9:2181 when left out. */
  readonly servers?: Readonly<Record<string, Ensemble>>;
  readonly answer?: ServerAnswer;
  readonly sidecars?: Readonly<Record<string, CrossingList>>;
  /** Of the sidecars, what is not as root's. */
  readonly directories?: Readonly<Record<string, Partial<StateDirectory>>>;
  readonly warnings?: readonly string[];
  /** Is told who is asked whether it is a ZooKeeper, and which sidecar. */
  readonly asked?: string[];
  readonly others?: readonly ProcessFacts[];
  readonly refused?: readonly string[];
  readonly cgroup?: string;
  readonly uid?: number;
  readonly moved?: Partial<MoveRecord>;
}

async function look(site: Site = {}): Promise<Examination & { readonly text: (what: string) => string }> {
  const process = { ...facts, ...site.facts };
  const examination = await examine(process, { ...wish, ...site.wish }, { ...meansOf(process, site), ...site.means });
  const text = (what: string): string =>
    examination.checks
      .filter((check) => check.what === what)
      .map(({ level, text: said }) => `${level}: ${said}`)
      .join("\n");
  return { ...examination, text };
}

function meansOf(process: ProcessFacts, site: Site): Means {
  const {
    servers = { "10.1.1.9:2181": usual },
    answer = { version: "3.9.3", mode: "standalone" },
    sidecars = {},
  } = site;
  const host = {
    check: async () => site.refused ?? [],
    warnings: async () => site.warnings ?? [],
    whyNoCapture: async () => undefined,
  } as Partial<Host> as Host;
  const privileged = {
    facts: async () => [process, ...(site.others ?? [])],
    host: async () => host,
    stateDirectories: async () =>
      Object.keys(sidecars).map((path) => ({ path, uid: 0, gid: 0, isPrivate: true, ...site.directories?.[path] })),
  } as Partial<Privileged> as Privileged;
  const record = recordOf({ pid: 4711, started: 99 } as Parameters<typeof recordOf>[0], { pid: 1, started: 1 });
  return {
    privileged,
    records: {
      list: async () => (site.moved === undefined ? [] : [{ ...record, ...site.moved }]),
      unreadable: async () => site.unreadable ?? [],
    },
    clock: new FakeClock(),
    self: { pid: 1, started: 1 },
    cgroup: site.cgroup ?? "/operator",
    moves: "/moves",
    user: { uid: site.uid ?? operator, gid: operator },
    trusted: [0, site.uid ?? operator, account],
    surroundings: () => ({ addresses: [own, "127.0.0.1"], pids: [4711] }),
    room: async () => ({ bytes: 1e9, files: 1e6 }),
    askServer: async (server) => {
      site.asked?.push(addressText(server));
      return Object.hasOwn(servers, addressText(server)) ? answer : undefined;
    },
    resolve: async (name) => [name === "registry" ? "10.1.1.9" : name],
    reading: (addresses, read) => {
      const found = servers[addresses[0] as string];
      if (found === undefined) throw new MeshError("move.no-registry", "nobody answers");
      return read(readerOf(found));
    },
    list: async (state) => {
      site.asked?.push(state);
      const found = sidecars[state];
      if (found === undefined) throw new MeshError("control.unreachable", "nothing answers");
      return found;
    },
    ownConfiguration: async () => undefined,
    movesOf: async () => undefined,
    pidOf: async () => undefined,
  };
}

function readerOf({ nodes, born }: Ensemble): Reader {
  const stat = { czxid: BigInt(born), ctime: born } as Awaited<ReturnType<Reader["exists"]>> & object;
  return {
    async children(path) {
      if (path !== "/" && !nodes.has(path)) return undefined;
      const prefix = path === "/" ? "/" : `${path}/`;
      const children = [...nodes.keys()]
        .filter((one) => one.startsWith(prefix) && !one.slice(prefix.length).includes("/"))
        .map((one) => one.slice(prefix.length));
      return { children, stat };
    },
    exists: async (path) => (nodes.has(path) ? stat : undefined),
    data: async (path) => (nodes.has(path) ? { data: Buffer.from(nodes.get(path) ?? ""), stat } : undefined),
  };
}

const stops = (checks: readonly Check[]): readonly string[] =>
  checks.flatMap(({ level, text }) => (level === "stops" ? [text] : []));

test("a process whose registry is known is ready to be moved, and what is its own is told from what is others'", async () => {
  const { checks, record, text } = await look();
  assert.deepEqual(stops(checks), []);
  assert.ok(record !== undefined);
  assert.deepEqual(record.servers, ["10.1.1.9:2181"]);
  assert.equal(record.name, "p4711-99");
  assert.equal(text("provides"), "ok: dubbo/fx.Greeter:1.0.0:");
  assert.equal(text("consumes"), "ok: dubbo/fx.Rates::");
  assert.equal(text("client"), "ok: Dubbo 2.7.23");
  assert.equal(text("host"), "ok: others reach it at 10.1.1.2");
  assert.deepEqual(record.calls, [{ service: "dubbo/fx.Rates::", direct: [{ host: "10.1.1.3", port: 20_880 }] }]);
  assert.deepEqual([record.selection, record.exclusive], [{ kind: "cgroup", path: "/pay" }, true]);
  assert.match(record.sidecar.state, /^\/moves\/sidecar-[0-9a-f]{8}\/state$/);
  assert.match(record.sidecar.own?.configuration ?? "", /addresses: \["10\.1\.1\.9:2181"\]/);
});

test("a consumer of Dubbo 3 that says nothing of itself is known by whom it is connected to", async () => {
  const { record, text } = await look({ servers: { "10.1.1.9:2181": ensemble([provider(rates)]) } });
  assert.equal(text("consumes"), "ok: dubbo/fx.Rates::");
  assert.equal(text("provides"), "ok: nothing");
  assert.equal(record?.host, own, "from its connection to the registry");
});

test("its registry is told by the usual port, else by the operator, and nobody else is asked whether it is one", async () => {
  const asked: string[] = [];
  const elsewhere = {
    facts: { connections: [to("10.1.1.9:5000"), to("10.1.1.3:20880")] },
    servers: { "10.1.1.9:5000": usual },
    asked,
  };
  const none = await look(elsewhere);
  assert.match(
    stops(none.checks)[0] ?? "",
    /none of its connections leads to a ZooKeeper at port 2181, and who is at other ports is asked only when it is named: .* --zookeeper HOST:PORT/,
  );
  assert.deepEqual(asked, []);
  const named = await look({ ...elsewhere, wish: { zookeeper: ["10.1.1.9:5000"] } });
  assert.deepEqual(named.record?.servers, ["10.1.1.9:5000"]);
  assert.deepEqual(new Set(asked), new Set(["10.1.1.9:5000"]));
  const silent = await look({ servers: {} });
  assert.match(stops(silent.checks)[0] ?? "", /10\.1\.1\.9:2181 does not answer as ZooKeeper does/);
  const wrong = await look({ wish: { zookeeper: ["10.1.1.77:2181"] } });
  assert.match(
    stops(wrong.checks)[0] ?? "",
    /no connection to 10\.1\.1\.77:2181; it is connected to 10\.1\.1\.9:2181, 10\.1\.1\.3:20880/,
  );
  assert.deepEqual((await look({ wish: { zookeeper: ["registry:2181"] } })).record?.servers, ["10.1.1.9:2181"]);
});

test("every server of its ensemble gets a way, those it is not connected to now as well", async () => {
  const config =
    "server.1=10.1.1.9:2888:3888:participant;0.0.0.0:2181\nserver.2=10.1.1.10:2888:3888:participant;10.1.1.10:2181\nversion=0";
  const one = ensemble([provider(greeter)], { config });
  const stranger = ensemble([provider(greeter)], { born: 2 });
  const servers = { "10.1.1.9:2181": one, "10.1.1.10:2181": one, "10.1.1.11:2181": one, "10.1.1.12:2181": stranger };
  const command = ["java", "-Dregistry=zookeeper://10.1.1.9:2181?backup=10.1.1.11:2181,10.1.1.12:2181", "Main"];
  const { record, text } = await look({ servers, facts: { command } });
  assert.deepEqual([...(record?.servers ?? [])].sort(), ["10.1.1.10:2181", "10.1.1.11:2181", "10.1.1.9:2181"]);
  assert.match(text("registry"), /10\.1\.1\.11:2181 is ZooKeeper 3\.9\.3, standalone, not connected to now/);
});

test("two registries at once stop a move until one is chosen", async () => {
  const servers = { "10.1.1.9:2181": usual, "10.1.2.9:2181": ensemble([provider(rates)], { born: 2 }) };
  const connections = [to("10.1.1.9:2181"), to("10.1.2.9:2181"), to("10.1.1.3:20880")];
  const both = await look({ servers, facts: { connections } });
  assert.match(stops(both.checks)[0] ?? "", /uses several registries \(10\.1\.1\.9:2181, 10\.1\.2\.9:2181\)/);
  const chosen = await look({ servers, facts: { connections }, wish: { zookeeper: ["10.1.1.9:2181"] } });
  assert.deepEqual(chosen.record?.servers, ["10.1.1.9:2181"]);
});

test("its root node is found, and several are asked about", async () => {
  const deep = ensemble([provider(greeter)], { chroot: "/teams/pay" });
  const found = await look({ servers: { "10.1.1.9:2181": deep } });
  assert.deepEqual([found.record?.chroots, found.text("chroot")], [["/teams/pay"], "ok: its root node is /teams/pay"]);
  const two = { nodes: new Map([...deep.nodes, ...usual.nodes]), born: 1 };
  const several = await look({ servers: { "10.1.1.9:2181": two } });
  assert.match(stops(several.checks)[0] ?? "", /several root nodes \(\/ and \/teams\/pay\)/);
  const chosen = await look({ servers: { "10.1.1.9:2181": two }, wish: { chroot: "/teams/pay" } });
  assert.deepEqual(chosen.record?.chroots, ["/teams/pay"]);
});

test("what stays as it is is said: other protocols, addresses of its own, clients that were not tried", async () => {
  const tree = ensemble([
    provider(greeter),
    provider("tri://10.1.1.2:20880/fx.Triple?release=3.3.6"),
    provider("dubbo://10.1.1.2:20880/fx.Old?release=2.6.0"),
  ]);
  const connections = [to("10.1.1.9:2181"), to("10.1.7.7:3306")];
  const { record, text } = await look({ servers: { "10.1.1.9:2181": tree }, facts: { connections } });
  assert.ok(record !== undefined);
  assert.match(text("protocol"), /^warning: tri\/fx\.Triple:: is offered by tri/);
  assert.match(text("peers"), /^warning: it is connected to 10\.1\.7\.7:3306/);
  assert.match(text("client"), /warning: Dubbo 2\.6\.0 was not tried/);
  const nothing = await look({ servers: { "10.1.1.9:2181": ensemble(["/dubbo/fx.Other/providers"]) } });
  assert.match(stops(nothing.checks)[0] ?? "", /nothing that it provides or consumes can be carried/);
  const noConsumer = await look({
    servers: { "10.1.1.9:2181": tree },
    facts: { connections },
    wish: { only: "consumer" },
  });
  assert.match(stops(noConsumer.checks)[0] ?? "", /nothing that it consumes can be carried/);
});

test("an address that nobody else reaches, or nobody can listen at, stops it", async () => {
  const loopback = ensemble([provider(greeter.replace("10.1.1.2", "127.0.0.1"))]);
  assert.match(
    stops((await look({ servers: { "10.1.1.9:2181": loopback } })).checks)[0] ?? "",
    /only this machine reaches/,
  );
  assert.deepEqual(stops((await look({ wish: { host: "10.9.9.9" } })).checks), [
    "10.9.9.9, which --host says, is no address of its network namespace, so that nobody can listen there: name one that others reach (it has 10.1.1.2)",
  ]);
  assert.match(
    stops((await look({ wish: { host: "pay.example" } })).checks)[0] ?? "",
    /^--host expects an IP address, got "pay\.example": name one that others reach \(it has 10\.1\.1\.2\)$/,
  );
  assert.equal((await look({ wish: { host: own } })).text("host"), "ok: others reach it at 10.1.1.2, as --host says");
  const several = {
    means: { surroundings: () => ({ addresses: ["10.1.1.2", "127.0.0.1", "::1", "fd00::2"], pids: [4711] }) },
  };
  assert.match(
    stops((await look({ ...several, wish: { host: "127.0.0.1" } })).checks)[0] ?? "",
    /^127\.0\.0\.1, which --host says, is reached from this host only, and it registers itself at 10\.1\.1\.2 for others/,
  );
  assert.match(stops((await look({ ...several, wish: { host: "::1" } })).checks)[0] ?? "", /from this host only/);
  assert.match(stops((await look({ ...several, wish: { host: "fd00::2" } })).checks)[0] ?? "", /of another family/);
  const moved = { means: { surroundings: () => ({ addresses: ["10.1.1.5", "127.0.0.1"], pids: [4711] }) } };
  const tree = ensemble([provider(rates)]);
  assert.match(
    stops((await look({ ...moved, servers: { "10.1.1.9:2181": tree } })).checks)[0] ?? "",
    /registers itself at 10\.1\.1\.2, which is no address .*: name one that others reach \(it has 10\.1\.1\.5\) with --host/,
  );
});

test("a sidecar beside it is used when it is at the same registry, and named when it is not", async () => {
  const at = (kind: string, addresses: readonly string[], chroot = ""): CrossingList => ({
    crossings: [],
    directory: { kind, addresses, chroot },
    outbound: "127.0.0.1:20882",
    figures: [],
  });
  const sidecars = {
    "/a": at("registry", []),
    "/b": at("zookeeper", ["10.5.5.5:2181"]),
    "/c": at("zookeeper", ["registry:2181"]),
  };
  const found = await look({ sidecars });
  assert.deepEqual(found.record?.sidecar, { state: "/c", own: undefined });
  assert.equal(found.text("sidecar"), "ok: the one at /c, which root runs, serves registry:2181");
  const wrong = async (state: string): Promise<string> =>
    stops((await look({ sidecars, wish: { state } })).checks)[0] ?? "";
  assert.match(await wrong("/a"), /at \/a has its instances from "registry"/);
  assert.match(await wrong("/b"), /at \/b is at another registry \(10\.5\.5\.5:2181\)/);
  assert.match(await wrong("/d"), /no sidecar answers at \/d/);
  const other = { "/c": at("zookeeper", ["10.1.1.9:2181"], "/x") };
  assert.match(stops((await look({ sidecars: other, wish: { state: "/c" } })).checks)[0] ?? "", /root node/);
});

test("a sidecar that somebody else may have put there is not asked anything, and used only when it is named", async () => {
  const list: CrossingList = {
    crossings: [],
    directory: { kind: "zookeeper", addresses: ["10.1.1.9:2181"], chroot: "" },
    outbound: "127.0.0.1:20882",
    figures: [],
  };
  const sidecars = { "/home/eve/x": list, "/tmp/y": list };
  const directories = { "/home/eve/x": { uid: 1_666, gid: 1_666 }, "/tmp/y": { isPrivate: false } };
  const asked: string[] = [];
  const { record, text } = await look({ sidecars, directories, asked });
  assert.match(record?.sidecar.state ?? "", /^\/moves\/sidecar-/);
  assert.deepEqual(
    asked.filter((one) => one.startsWith("/")),
    [],
  );
  assert.match(text("sidecar"), /not asked, .*: \/home\/eve\/x of user 1666, \/tmp\/y of root; name it with --state/);
  assert.match(text("sidecar"), /one is started, as user 60710, with its state in \/moves/);
  const named = await look({ sidecars, directories, wish: { state: "/home/eve/x" } });
  assert.deepEqual(named.record?.sidecar, { state: "/home/eve/x", own: undefined });
  assert.match(named.text("sidecar"), /at \/home\/eve\/x, which user 1666 runs, serves/);
  for (const uid of [0, operator, account]) {
    const trusted = await look({ sidecars, directories: { ...directories, "/home/eve/x": { uid } } });
    assert.equal(trusted.record?.sidecar.state, "/home/eve/x", String(uid));
  }
});

test("what does not stand against rules and should be known is a warning", async () => {
  const { record, text } = await look({ warnings: ["many connections"] });
  assert.ok(record !== undefined);
  assert.equal(text("tracking"), "warning: many connections");
});

test("a full disk below the moves directory stops it, for a sidecar that is started earlier than for a record alone", async () => {
  const means = { room: async () => ({ bytes: 16 * 1024 * 1024, files: 1e6 }) };
  assert.match(stops((await look({ means })).checks)[0] ?? "", /^16 MiB are free for \/moves, and 32 MiB are needed/);
  const list: CrossingList = {
    crossings: [],
    directory: { kind: "zookeeper", addresses: ["10.1.1.9:2181"], chroot: "" },
    outbound: "127.0.0.1:20882",
    figures: [],
  };
  const beside = await look({ means, sidecars: { "/c": list } });
  assert.equal(beside.text("room"), "ok: 16 MiB are free for /moves");
});

test("its connections must be told from the sidecar's, and the rule must be possible", async () => {
  const same = await look({ facts: { cgroup: "/" }, uid: 1_000 });
  assert.equal(same.record, undefined);
  assert.match(
    stops(same.checks).join("\n"),
    /no control group of its own[\s\S]*runs as the user of the process, 1000/,
  );
  const byUser = await look({ facts: { cgroup: "/" } });
  assert.deepEqual(byUser.record?.selection, { kind: "uid", uid: 1_000 });
  const refused = await look({ refused: ["there is no nft on this machine: install nftables"] });
  assert.deepEqual(stops(refused.checks), ["there is no nft on this machine: install nftables"]);
  const beside: ProcessFacts = { ...facts, pid: 4712, connections: [to("10.1.1.9:2181")] };
  const shared = await look({ others: [beside] });
  assert.equal(shared.record?.exclusive, false);
  assert.match(shared.text("rule"), /^warning: .* in which others are as well/);
});

test("the ports of a sidecar that will be started are said, and who has them already", async () => {
  assert.match((await look()).text("ports"), /takes 20881 and 20882/);
  const beside: ProcessFacts = { ...facts, pid: 4712, cgroup: "/x", listening: [{ host: "0.0.0.0", port: 20_882 }] };
  assert.match(
    (await look({ others: [beside] })).text("ports"),
    /process 4712 has 20881 or 20882: .* the next free pair/,
  );
});

test("a process that is moved already is not moved again", async () => {
  const said = async (moved: Partial<MoveRecord>): Promise<string> => stops((await look({ moved })).checks)[0] ?? "";
  assert.match(await said({ state: "in" }), /process 4711 is in the mesh already: dualmesh move out/);
  const mover = processId("self") as ProcessId;
  const out = await said({ state: "leaving", mover });
  assert.ok(out.startsWith(`process 4711 is on its way out; process ${mover.pid} is at it: wait for it`), out);
  assert.match(
    await said({ state: "undoing", mover: { ...mover, started: mover.started + 1 } }),
    /is being taken back; its mover has died: dualmesh move recover completes it/,
  );
});

test("servers whose watches tell once are warned of", async () => {
  const { text, record } = await look({ answer: { version: "3.4.14", mode: "standalone" } });
  assert.ok(record !== undefined);
  assert.match(text("registry"), /^warning: 10\.1\.1\.9:2181 is ZooKeeper 3\.4\.14, standalone: its watches tell once/);
});

test("a record that cannot be read stops a move of its process, and of no other", async () => {
  const of = (name: string) => look({ unreadable: [{ name, pid: 4711, why: "x is damaged: move it away" }] });
  assert.deepEqual(stops((await of("p4711-99")).checks), [
    "the record of a move of process 4711 cannot be read: x is damaged: move it away",
  ]);
  assert.ok((await of("p4711-98")).record !== undefined, "of a process that had the number before");
});

test("where /proc hides the process from the user that moves it, its ports tell what is its own, and that is said", async () => {
  const { record, text } = await look({
    means: { surroundings: () => ({ addresses: [own, "127.0.0.1"], pids: undefined }) },
  });
  assert.ok(record !== undefined);
  assert.equal(text("provides"), "ok: dubbo/fx.Greeter:1.0.0:");
  assert.match(text("process"), /warning: \/proc hides processes of others from user \d+ \(hidepid\)/);
});

test("a sidecar that a mover started is the next mover's own as well, though it was started for other servers of the ensemble", async () => {
  const state = "/moves/sidecar-0badcafe/state";
  const list: CrossingList = {
    crossings: [],
    directory: { kind: "zookeeper", addresses: ["10.1.1.9:2181", "10.1.1.10:2181"], chroot: "" },
    outbound: "127.0.0.1:20882",
    figures: [],
  };
  const sidecars = { [state]: list };
  const means = { ownConfiguration: async (path: string) => (path === state ? "directory: zookeeper" : undefined) };
  for (const named of [undefined, state]) {
    const { record } = await look({ sidecars, means, wish: { state: named } });
    assert.equal(record?.sidecar.state, state);
    assert.equal(record?.sidecar.own?.configuration, "directory: zookeeper");
  }
});

test("a sidecar that the movers of another moves directory started is refused, with what to do, named or found", async () => {
  const state = "/elsewhere/moves/sidecar-0badcafe/state";
  const list: CrossingList = {
    crossings: [],
    directory: { kind: "zookeeper", addresses: ["10.1.1.9:2181"], chroot: "" },
    outbound: "127.0.0.1:20882",
    figures: [],
  };
  const sidecars = { [state]: list };
  const means = { movesOf: async (path: string) => (path === state ? "/elsewhere/moves" : undefined) };
  for (const named of [undefined, state]) {
    const { record, checks } = await look({ sidecars, means, wish: { state: named } });
    assert.equal(record, undefined);
    assert.deepEqual(stops(checks), [
      `the one at ${state} was started for the moves in /elsewhere/moves, and ends with the last of them: move this process with --moves /elsewhere/moves as well, or by another sidecar, which --state names`,
    ]);
  }
  const own = { movesOf: async () => "/moves" };
  assert.equal((await look({ sidecars, means: own })).record?.sidecar.state, state);
});
