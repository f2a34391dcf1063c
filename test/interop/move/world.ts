/**
 * A company with an existing ZooKeeper, on hosts of its own: the server or an ensemble of three, applications that were told its address, one of
 * which will be moved, a consumer behind a sidecar, and a subscriber that records every list. Nothing in it knows of a move.
 */
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CommandLine, javaCommand } from "../fixtures.ts";
import { repository } from "../product.ts";
import { eventually, Program, temporary } from "../program.ts";
import { openCheckout } from "./checkout.ts";
import { contained } from "./container.ts";
import { type Host, Network, root, type Somebody, writeNames } from "./hosts.ts";
import { calledBy, isContained, type Operator, prepareMovesOf } from "./operators.ts";
import type { Framework, SelectedBy } from "./plan.ts";
import { Recorder } from "./recorder.ts";

export interface WorldOptions {
  readonly framework: Framework;
  /** Of the service of the application that moves, itself among them. */
  readonly providers?: 1 | 3;
  readonly servers?: 1 | 3;
  readonly selectedBy?: SelectedBy;
  /** Its host asks a name server, and not a file: `slowNames` then makes that one silent. */
  readonly asksNames?: boolean;
  /** A second application that will move, on the same host. */
  readonly twin?: boolean;
  /** Who will call `dualmesh`; root when left out. */
  readonly operator?: Operator;
  /** The application that moves calls what it provides itself, and nothing else. */
  readonly callsItself?: boolean;
}

export interface SidecarOptions {
  /** As in the sidecar's configuration. */
  readonly doors?: Readonly<Record<string, unknown>>;
  readonly somebody?: Somebody;
  /** Modules that are loaded before it. */
  readonly imports?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A process that provides one service and calls another. */
export interface Application {
  readonly name: string;
  readonly program: Program;
  /** As the operator sees it. */
  readonly pid: number;
  readonly host: Host;
  readonly port: number;
  readonly somebody: Somebody;
  /** As it stands in the lists. */
  readonly address: string;
}

export interface Caller {
  readonly name: string;
  readonly program: Program;
  readonly service: string;
}

const registryPort = 2_181;
const noDoors = { zookeeper: false, mesh: false, eureka: false, http: false };
const adminPort = 9_000;
const readinessRequest = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const memory = "-Xmx128m";
const launchLimitMs = 90_000;

export class World implements AsyncDisposable {
  readonly framework: Framework;
  readonly operator: Operator;
  /** The service that the applications that move call. */
  readonly called: string;
  /** Not in the folder for temporary files, which may be closed to the users that the applications run as. */
  readonly directory = mkdtempSync("/tmp/dualmesh-move-");
  readonly network = Network.open();
  readonly #programs: Program[] = [];
  readonly #hosts = new Map<string, Host>();
  readonly #servers: { readonly host: Host; program: Program }[] = [];
  #counter = 0;
  #moved: Application | undefined;
  #twin: Application | undefined;
  #callers: readonly Caller[] = [];
  #recorder: Recorder | undefined;
  #beside: string | undefined;

  private constructor({ framework, operator = "root", callsItself = false }: WorldOptions) {
    this.framework = framework;
    this.operator = operator;
    this.called = callsItself ? framework.provided : framework.consumed;
    temporary.add(this.directory);
    chmodSync(this.directory, 0o755);
    prepareMovesOf(operator, this.moves);
  }

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.#startAll(options);
      return world;
    } catch (error) {
      const tails = world.tails();
      await world[Symbol.asyncDispose]();
      throw new Error(`the world does not start: ${(error as Error).message}\n${tails}`, { cause: error });
    }
  }

  get moved(): Application {
    return must(this.#moved, "no application to move");
  }

  get twin(): Application {
    return must(this.#twin, "no second application to move");
  }

  /** Those that move. */
  get applications(): readonly Application[] {
    return [this.#moved, this.#twin].filter((one) => one !== undefined);
  }

  /** The SDK's consumer, the one behind a sidecar, and the applications that move: all that call. */
  get callers(): readonly Caller[] {
    return this.#callers;
  }

  /** Where the records of moves are. */
  get moves(): string {
    return join(this.directory, "moves");
  }

  get recorder(): Recorder {
    return must(this.#recorder, "no recorder");
  }

  get servers(): readonly Host[] {
    return this.#servers.map(({ host }) => host);
  }

  /** `host:port` of every server. */
  get addresses(): readonly string[] {
    return this.servers.map(({ address }) => `${address}:${registryPort}`);
  }

  listOf(service: string): string {
    return `/${this.framework.root}/${service}/providers`;
  }

  // --- what happens to it

  /** Which of the servers leads; the only one when there is one. */
  leader(): number {
    if (this.#servers.length === 1) return 0;
    const modes = this.#servers.map(({ host }) => this.#serverMode(host));
    const at = modes.indexOf("leader");
    if (at < 0) throw new Error(`no server leads: ${modes.join(", ")}`);
    return at;
  }

  async killServer(index: number): Promise<void> {
    await must(this.#servers[index], "no such server").program.end();
  }

  /** At the same address, with the data that it left. */
  async startServer(index: number): Promise<void> {
    const server = must(this.#servers[index], "no such server");
    server.program = await this.#launchServer(index).ready(launchLimitMs);
  }

  /** From now on, nobody answers what the moved application's host asks about names. */
  silenceNames(): void {
    const rule = "table inet silence { chain input { type filter hook input priority 0; udp dport 53 drop; }; }";
    this.moved.host.run("nft", rule);
  }

  // --- programs

  /** A program of the harness or the product on one of the hosts. */
  launch(
    name: string,
    host: Host,
    line: CommandLine,
    as: Somebody = root,
    env: Readonly<Record<string, string>> = {},
  ): Program {
    return this.launchOnMachine(name, host.on(line, as), { HOME: this.folder(`${name}-home`, as.uid), ...env });
  }

  /** A program on none of the hosts, as somebody's who is logged in on the machine below them. */
  launchOnMachine(name: string, line: CommandLine, env: Readonly<Record<string, string>> = {}): Program {
    const checkout = openCheckout();
    const program = new Program({
      name,
      command: line.command.replaceAll(repository, checkout),
      words: line.words.map((word) => word.replaceAll(repository, checkout)),
      cwd: checkout,
      log: join(this.directory, `${name}-${++this.#counter}.log`),
      env: { HOME: this.folder("home", 0), XDG_STATE_HOME: this.folder("state", 0), CI: "true", ...env },
    });
    this.#programs.push(program);
    return program;
  }

  /** `dualmesh` as the operator calls it, or somebody else who has no moves. */
  dualmesh(name: string, words: readonly string[], as: Operator = this.operator): Program {
    const { directory, moves } = this;
    const { host, program, somebody } = this.moved;
    const { uid, cgroup = "" } = somebody;
    const besideCgroup = isContained(as) ? this.#besideCgroup() : "";
    const where = { pid: program.pid ?? -1, uid, host, cgroup, besideCgroup, directory };
    const all = [...words, "--moves", as === this.operator ? moves : join(this.folder("others", uid), "moves")];
    return this.launchOnMachine(name, calledBy(as, all, where));
  }

  /** A sidecar as somebody else runs it. Resolves, when it is ready, to its state directory. */
  async startSidecar(name: string, host: Host, options: SidecarOptions = {}): Promise<string> {
    const { doors = noDoors, somebody = root, imports = [], env = {} } = options;
    const state = join(this.folder(`${name}-state`, somebody.uid), "sidecar");
    const config = {
      directory: "zookeeper",
      zookeeper: { addresses: this.addresses },
      advertise: host.address,
      admin: { port: adminPort },
      doors,
      state,
    };
    const file = join(this.directory, `${name}.yaml`);
    writeFileSync(file, JSON.stringify(config, undefined, 2)); // JSON is YAML as well
    const imported = imports.flatMap((path) => ["--import", path]);
    const words = [...imported, join(repository, "packages/cli/src/main.ts"), "sidecar", "run", "--config", file];
    const program = this.launch(name, host, { command: process.execPath, words }, somebody, env);
    await eventually(`${name} is ready`, launchLimitMs, () => {
      if (!program.running) throw new Error(`it ended: ${program.tail()}`);
      return host.ask("127.0.0.1", adminPort, readinessRequest).startsWith("HTTP/1.1 200");
    });
    return state;
  }

  /** A subscriber of the ensemble itself, who records the nodes below these. */
  async record(lists: readonly string[]): Promise<Recorder> {
    const words = [join(import.meta.dirname, "recording.ts"), this.addresses.join(","), ...lists];
    const line = { command: process.execPath, words };
    return new Recorder(await this.launch("recorder", this.#host("sdk"), line).ready());
  }

  folder(name: string, uid: number): string {
    const folder = join(this.directory, name);
    mkdirSync(folder, { recursive: true });
    if (uid !== 0) chmodSync(folder, 0o777);
    return folder;
  }

  /** The ends of all logs, those of what movers started as well. */
  tails(): string {
    const own = this.#programs.map((program) => `--- ${program.name}\n${program.tail()}`);
    const logs = globSync("moves/*.log", { cwd: this.directory });
    const started = logs.map((log) => `--- ${log}\n${readFileSync(join(this.directory, log), "utf8").slice(-20_000)}`);
    return [...own, ...started].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.end()));
    await this.network[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
    temporary.delete(this.directory);
  }

  // --- how it starts

  async #startAll(options: WorldOptions): Promise<void> {
    const { framework, providers = 1, servers = 1, selectedBy = "uid", twin = false } = options;
    const serverNames = Array.from({ length: servers }, (_, index) => `registry-${index + 1}`);
    for (const name of [...serverNames, "moved", "first", "second", "sdk", "mesh"]) this.#addHost(name);
    for (const host of this.#hosts.values()) writeNames(this.#names(host), host, [...this.#hosts.values()]);
    serverNames.forEach((name, index) => {
      const host = this.#host(name);
      this.#servers.push({ host, program: this.#launchServer(index) });
    });
    await eventually("the registry serves", launchLimitMs, () =>
      this.#servers.every(({ host }) => ["standalone", "leader", "follower"].includes(this.#serverMode(host))),
    );
    // The service that the application calls is provided by others, who in a world of three provide its own as well.
    const theirs = providers === 3 ? [framework.provided, framework.consumed] : [framework.consumed];
    const others = providers === 3 ? ["first", "second"] : ["first"];
    const starting = [
      ...others.map((name) => this.#startProvider(name, theirs)),
      this.#startMoved("moved", framework.port, 4_001, selectedBy, options.asksNames === true),
      ...(twin ? [this.#startMoved("twin", framework.port + 10, 4_002, selectedBy, false)] : []),
    ];
    const started = await Promise.all(starting);
    this.#moved = started.find((one) => one?.name === "moved");
    this.#twin = started.find((one) => one?.name === "twin");
    this.#recorder = await this.record([framework.provided, framework.consumed].map((service) => this.listOf(service)));
    const sdk = this.#startConsumer("sdk", this.addresses);
    const doors = { ...noDoors, zookeeper: { port: registryPort } };
    const meshSidecar = this.startSidecar("mesh-sidecar", this.#host("mesh"), { doors });
    const mesh = meshSidecar.then(() => this.#startConsumer("mesh", [`127.0.0.1:${registryPort}`]));
    const own = this.applications.map(({ name, program }) => ({ name, program, service: this.called }));
    this.#callers = [...(await Promise.all([sdk, mesh])), ...own];
  }

  #launchServer(index: number): Program {
    const name = `registry-${index + 1}`;
    const host = this.#host(name);
    const data = this.folder(`${name}-data`, 0);
    const hosts = [...this.#hosts.values()].filter((one) => one.name.startsWith("registry-"));
    const ensemble =
      hosts.length > 1 ? { id: String(index + 1), servers: hosts.map(({ address }) => address).join(",") } : {};
    const words = { host: host.address, port: String(registryPort), data, ...ensemble };
    return this.launch(name, host, this.#java(name, "zookeeper", "interop.Server", words, host));
  }

  /** What a server says that it is; empty while it serves nobody. */
  #serverMode(host: Host): string {
    return /^Mode: (\w+)/m.exec(host.ask(host.address, registryPort, "srvr\n"))?.[1] ?? "";
  }

  async #startProvider(name: string, services: readonly string[]): Promise<undefined> {
    const host = this.#host(name);
    const words = {
      ...this.#told(name, this.addresses),
      service: services.join(","),
      port: String(this.framework.port),
    };
    const line = this.#java(name, this.framework.fixture, "interop.Provider", { ...words, provider: name }, host);
    await this.launch(name, host, line).ready(launchLimitMs);
  }

  async #startMoved(
    name: string,
    port: number,
    uid: number,
    selectedBy: SelectedBy,
    asksNames: boolean,
  ): Promise<Application> {
    const host = this.#host("moved");
    const isInContainer = isContained(this.operator);
    const cgroup = selectedBy === "cgroup" || isInContainer ? this.network.cgroup(name) : undefined;
    const somebody: Somebody = { uid, cgroup, resolver: asksNames ? this.#resolver() : undefined };
    const { provided, fixture } = this.framework;
    const words = { ...this.#told(name, this.addresses), service: provided, provider: name, port: String(port) };
    const line = this.#java(name, fixture, "interop.Both", words, host, asksNames);
    const started = isInContainer
      ? this.launch(name, host, contained(line, uid), { ...somebody, uid: 0 })
      : this.launch(name, host, line, somebody);
    const program = await started.ready(launchLimitMs);
    const pid = isInContainer ? 1 : (program.pid ?? -1);
    return { name, program, pid, host, port, somebody, address: `${host.address}:${port}` };
  }

  async #startConsumer(name: string, registry: readonly string[]): Promise<Caller> {
    const host = this.#host(name);
    const line = this.#java(name, this.framework.fixture, "interop.Consumer", this.#told(name, registry), host);
    const program = await this.launch(name, host, line).ready(launchLimitMs);
    return { name, program, service: this.framework.provided };
  }

  #told(application: string, registry: readonly string[]): Readonly<Record<string, string>> {
    return { application: `move-${application}`, registry: this.framework.registry(registry) };
  }

  /** Each program has a home of its own, since SDKs keep files there and may not write those of another user. */
  #java(
    name: string,
    fixture: Parameters<typeof javaCommand>[0],
    main: string,
    properties: Readonly<Record<string, string>>,
    host: Host,
    asksNames = false,
  ): CommandLine {
    const home = this.folder(`${name}-java`, 1);
    const names = asksNames ? {} : { "jdk.net.hosts.file": this.#names(host) };
    const { command, words } = javaCommand(fixture, main, home, { ...properties, ...names });
    return { command, words: [...words.slice(0, -3), memory, ...words.slice(-3)] };
  }

  /** Nobody listens there, so that an answer comes at once until the questions themselves are dropped. */
  #resolver(): string {
    const file = join(this.directory, "resolv.conf");
    writeFileSync(file, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n");
    return file;
  }

  #besideCgroup(): string {
    this.#beside ??= must(this.network.cgroup("beside"), "this machine makes no control groups for containers");
    return this.#beside;
  }

  #names(host: Host): string {
    return join(this.directory, `${host.name}.names`);
  }

  #addHost(name: string): void {
    this.#hosts.set(name, this.network.host(name));
  }

  #host(name: string): Host {
    return must(this.#hosts.get(name), `no host ${name}`);
  }
}

function must<Value>(value: Value | undefined, otherwise: string): Value {
  if (value === undefined) throw new Error(otherwise);
  return value;
}
