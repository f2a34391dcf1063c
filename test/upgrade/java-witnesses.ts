/** What can be seen of an upgrade of sidecars by who is no part of it: a subscriber of the registry, the registry itself, and clients of the doors. */
import { request } from "node:http";
import { systemClock, type Timer } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { openRegistryDirectory, type RegistryDirectory } from "@dualmesh/client/directory";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import type { Instance } from "@dualmesh/model/instance";

/** Hears everything that the registry says of these services. */
export class RegistryWitness implements AsyncDisposable {
  readonly #directory: RegistryDirectory;
  readonly #lists = new Map<string, readonly Instance[]>();
  /** Lists that it was told. */
  told = 0;
  /** Those without an instance. */
  emptied = 0;

  constructor(port: number, services: readonly string[]) {
    const directory = openRegistryDirectory({
      ...{ clock: systemClock, random: systemRandom, log: silentLog },
      addresses: [`127.0.0.1:${port}`],
      nodeId: "witness",
      kind: "sdk",
      journal: new MemoryJournal(),
    });
    for (const service of services)
      directory.watch(service, ({ instances, freshSince }) => {
        if (freshSince === 0) return; // not answered yet
        this.#lists.set(service, instances);
        this.told += 1;
        if (instances.length === 0) this.emptied += 1;
      });
    this.#directory = directory;
  }

  /** How many services have an instance. */
  get offered(): number {
    return [...this.#lists.values()].filter((list) => list.length > 0).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory.close({ orderly: true });
  }
}

/** What the registry says of itself. */
export interface RegistryCounts {
  readonly revision: string;
  readonly services: readonly string[];
  /** What became of registrations. */
  readonly instances: Readonly<Record<string, number>>;
  /** What happened to connections: among others, how many sessions were taken over. */
  readonly stream: Readonly<Record<string, number>>;
}

/** `admin` is the address of its admin port. */
export async function registryCounts(admin: string): Promise<RegistryCounts> {
  const [status, metrics] = await Promise.all(
    ["status", "metrics"].map(async (page) => (await fetch(`http://${admin}/${page}`)).text()),
  );
  const { status: shown } = JSON.parse(status ?? "") as {
    readonly status: { readonly revision: string; readonly services: readonly { readonly service: string }[] };
  };
  const { revision, services } = shown;
  return {
    revision,
    services: services.map(({ service }) => service),
    instances: counted(metrics ?? "", "dualmesh_registry_instance_events_total"),
    stream: counted(metrics ?? "", "dualmesh_registry_stream_events_total"),
  };
}

function counted(page: string, metric: string): Readonly<Record<string, number>> {
  const lines = page.matchAll(new RegExp(`^${metric}\\{\\w+="(\\w+)"\\} (\\d+)$`, "gm"));
  return Object.fromEntries([...lines].map(([, name = "", count]) => [name, Number(count)]));
}

/** Counts connections that end, of those that `all` gives by their ports. */
export class ConnectionWitness implements Disposable {
  readonly #all: () => readonly number[];
  readonly #timer: Timer;
  #standing: ReadonlySet<number> = new Set();
  /** Those that have been there since the beginning. */
  #lasting: ReadonlySet<number>;
  ended = 0;

  constructor(all: () => readonly number[], everyMs = 100) {
    this.#all = all;
    this.#lasting = new Set(all());
    this.#timer = systemClock.every(everyMs, () => this.#look());
  }

  get lasting(): number {
    return this.#lasting.size;
  }

  [Symbol.dispose](): void {
    this.#timer.cancel();
  }

  #look(): void {
    const now = new Set(this.#all());
    this.ended += this.#standing.difference(now).size;
    this.#standing = now;
    this.#lasting = this.#lasting.intersection(now);
  }
}

/** Asks a Eureka door for one application, over and over, on a connection of its own each time, as many clients would. */
export class EurekaWitness implements Disposable {
  readonly #url: string;
  readonly #timer: Timer;
  #isAsking = false;
  /** Answers with the application and an instance that is up. */
  seen = 0;
  /** What was answered instead. */
  readonly others: string[] = [];
  /** Connections that ended without an answer: a client asks again. */
  unanswered = 0;

  constructor(port: number, application: string, everyMs = 40) {
    this.#url = `http://127.0.0.1:${port}/eureka/apps/${application.toUpperCase()}`;
    this.#timer = systemClock.every(everyMs, () => void this.#ask());
  }

  [Symbol.dispose](): void {
    this.#timer.cancel();
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const answer = await answerOf(this.#url);
    this.#isAsking = false;
    if (answer === undefined) this.unanswered += 1;
    else if (answer.status === 200 && /"status":\s*"UP"/.test(answer.body)) this.seen += 1;
    else this.others.push(`${answer.status} ${answer.body.slice(0, 80)}`);
  }
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function answerOf(url: string): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const asked = request(
      url,
      { agent: false, headers: { accept: "application/json" }, timeout: 10_000 },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          body += text;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
        response.on("error", () => resolve(undefined));
      },
    );
    asked.on("timeout", () => void asked.destroy());
    asked.on("error", () => resolve(undefined));
    asked.end();
  });
}
