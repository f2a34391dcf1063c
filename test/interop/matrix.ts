/**
 * Plays the matrix. One world holds all four ways at once, since each provider offers a service of its own: a consumer in either
 * mode asks for the service of a provider in either mode. The protocol families go one after the other, to spare memory.
 */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { wrongWay } from "./path.ts";
import {
  type Case,
  type Cell,
  casesOf,
  families,
  type Implementation,
  type Mode,
  type Row,
  rows,
  serviceOf,
  skipReason,
  wordOf,
} from "./plan.ts";
import { type Answer, eventually, type Program } from "./program.ts";
import { freePort, type RegistryKind, World } from "./world.ts";

export interface MatrixOptions {
  readonly registry?: RegistryKind;
  /** Which cells are played; the others do not appear. */
  readonly wanted?: (cellName: string) => boolean;
  /** Why a row cannot be played on this machine. */
  readonly missing?: (row: Row) => string | undefined;
  readonly onCell?: (cell: Cell) => void;
  /** Told what a person needs to find out why a row failed. */
  readonly onTrouble?: (text: string) => void;
}

/** How long a consumer may take until its first call succeeds: SDKs try a lost first connection again after 10 s. */
const reachLimitMs = 25_000;
/** A second delivery of a oneway call would have come by then. */
const settleMs = 200;

export async function playMatrix(options: MatrixOptions = {}): Promise<readonly Cell[]> {
  const cells: Cell[] = [];
  const tell = (cell: Cell): void => {
    cells.push(cell);
    options.onCell?.(cell);
  };
  const wanted = options.wanted ?? (() => true);
  const control = options.registry === "real-zookeeper";
  const played: PlayedRow[] = [];
  for (const row of rows()) {
    const names = casesOf(row).filter((name) => wanted(`${row.name}/${name}`));
    const reason = skipReason(row) ?? (control ? beyondZooKeeper(row) : undefined) ?? options.missing?.(row);
    if (reason === undefined && names.length > 0) played.push({ row, names });
    else
      for (const name of names)
        tell({ name: `${row.name}/${name}`, row: row.name, case: name, result: "skipped", reason: reason ?? "" });
  }
  if (played.length === 0) return cells;
  const isMeshed = played.some(({ row }) => row.way.name !== "SDK>SDK");
  await using world = await World.start({
    registry: options.registry ?? "dualmesh",
    ...(isMeshed ? {} : { sidecars: [] }),
  });
  for (const family of families) {
    const ofFamily = played.filter(({ row }) => row.consumer.family === family);
    if (ofFamily.length > 0)
      await playFamily(world, ofFamily, { tell, trouble: options.onTrouble ?? (() => undefined) });
  }
  return cells;
}

function beyondZooKeeper({ consumer, way }: Row): string | undefined {
  if (consumer.family === "http") return "skipped: a real ZooKeeper is not asked for HTTP services";
  return way.name === "SDK>SDK" ? undefined : "skipped: a real ZooKeeper has no sidecars";
}

interface PlayedRow {
  readonly row: Row;
  readonly names: readonly Case[];
}

interface Report {
  readonly tell: (cell: Cell) => void;
  readonly trouble: (text: string) => void;
}

/** Programs that were started, or why they could not be. */
type Started = Running | { readonly failure: string };

interface Running {
  readonly programs: readonly Program[];
  /** Those on which a provider takes calls. */
  readonly ports: readonly number[];
}

async function playFamily(world: World, played: readonly PlayedRow[], report: Report): Promise<void> {
  const providers = await startEach(
    played.map(({ row }) => [row.provider, row.way.provider] as const),
    (implementation, mode) => startProviders(world, implementation, mode),
    report.trouble,
  );
  const consumers = await startEach(
    played.map(({ row }) => [row.consumer, row.way.consumer] as const),
    async (implementation, mode) => ({ programs: [await world.startConsumer(implementation, mode)], ports: [] }),
    report.trouble,
  );
  // Consumers work side by side, each on its own rows in turn.
  await Promise.all(
    [...consumers].map(async ([key, consumer]) => {
      for (const { row, names } of played) {
        if (keyOf(row.consumer, row.way.consumer) !== key) continue;
        const provider = providers.get(keyOf(row.provider, row.way.provider)) as Started;
        await playRow(world, { row, names }, consumer, provider, report);
      }
    }),
  );
  await world.endApplications();
}

async function startEach(
  wanted: readonly (readonly [Implementation, Mode])[],
  start: (implementation: Implementation, mode: Mode) => Promise<Running>,
  trouble: (text: string) => void,
): Promise<ReadonlyMap<string, Started>> {
  const distinct = new Map(wanted.map((pair) => [keyOf(...pair), pair]));
  const started = await Promise.all(
    [...distinct].map(async ([key, pair]): Promise<[string, Started]> => {
      try {
        return [key, await start(...pair)];
      } catch (error) {
        const { message, cause } = error as Error;
        trouble(`${message}\n${String(cause)}`);
        return [key, { failure: message }];
      }
    }),
  );
  return new Map(started);
}

/** Two instances, each a process of its own. */
async function startProviders(world: World, implementation: Implementation, mode: Mode): Promise<Running> {
  const service = serviceOf(implementation, mode);
  const ports =
    implementation.registry === "mesh"
      ? world.meshApplications.map(({ boltPort }) => boltPort)
      : [await freePort(), await freePort()];
  const programs = await Promise.all(
    ports.map((port, index) =>
      world.startProvider(implementation, mode, { service, port, name: `${implementation.name}-${mode}-${index}` }),
    ),
  );
  return { programs, ports };
}

async function playRow(
  world: World,
  { row, names }: PlayedRow,
  consumer: Started,
  provider: Started,
  report: Report,
): Promise<void> {
  const fail = (name: Case, reason: string): void =>
    report.tell({ name: `${row.name}/${name}`, row: row.name, case: name, result: "failed", reason });
  if ("failure" in consumer || "failure" in provider) {
    const reason = "failure" in consumer ? consumer.failure : (provider as { failure: string }).failure;
    for (const name of names) fail(name, reason);
    return;
  }
  const [program] = consumer.programs as [Program];
  const service = serviceOf(row.provider, row.way.provider);
  const ends = { ...world.carriers, way: row.way, consumer: program.pid, providerPorts: provider.ports };
  const reached = await reach(program, service);
  const reason = reached.ok ? wrongWay(ends) : `not reached within ${reachLimitMs} ms: ${reached.reason}`;
  let failed = reason !== undefined;
  for (const name of names) {
    if (reason !== undefined) {
      fail(name, reason);
      continue;
    }
    const ticket = `${row.name}/${name}/中文`.replaceAll(" ", "-");
    const answer = await program.ask(`case ${name} ${service} ${ticket} ${wordOf(row)}`.trim());
    const arrived = answer.ok ? await atProvider(name, ticket, provider.programs) : answer;
    const outcome = arrived.ok ? inSerialization(row.provider.serialization, provider.programs) : arrived;
    failed ||= !outcome.ok;
    if (outcome.ok) report.tell({ name: `${row.name}/${name}`, row: row.name, case: name, result: "ok" });
    else fail(name, outcome.reason);
  }
  if (failed) report.trouble(`${row.name}\n${world.tails(program, ...provider.programs)}`);
}

async function reach(consumer: Program, service: string): Promise<Answer> {
  const end = systemClock.now() + reachLimitMs;
  for (;;) {
    const answer = await consumer.ask(`case reach ${service}`);
    if (answer.ok || systemClock.now() > end) return answer;
    await sleep(systemClock, 250);
  }
}

/** What only the provider can tell: a oneway call arrived, and once. */
async function atProvider(name: Case, ticket: string, providers: readonly Program[]): Promise<Answer> {
  if (name !== "oneway") return { ok: true, reason: "" };
  const received = (): number => providers.flatMap(({ said }) => said).filter((line) => line["note"] === ticket).length;
  await eventually("the oneway call arrives", 3_000, () => received() > 0).catch(() => undefined);
  await sleep(systemClock, settleMs);
  return { ok: received() === 1, reason: `the oneway call was received ${received()} times` };
}

/** A consumer that falls back to another serialization would still be answered: only its providers see it. */
function inSerialization(wanted: number | undefined, providers: readonly Program[]): Answer {
  if (wanted === undefined) return { ok: true, reason: "" };
  const told = providers.flatMap(({ said }) => said).flatMap((line) => line["serialization"] ?? []);
  const ok = told.length > 0 && told.every((id) => id === wanted);
  return {
    ok,
    reason: `requests came in the serializations ${told.join(", ") || "that nobody told"}, not in ${wanted}`,
  };
}

function keyOf(implementation: Implementation, mode: Mode): string {
  return `${implementation.name}/${mode}`;
}
