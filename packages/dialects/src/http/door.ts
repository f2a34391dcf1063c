/**
 * The door for any language: a small JSON API with server-sent events. An application registers for the life of a connection or with
 * heartbeats, and asks for instances once or follows them. `openapi.ts` describes it, `docs/http-door.md` shows it with curl.
 */
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { HttpAnswer, HttpRequest, HttpSink, HttpStream } from "@dualmesh/base/http/service";
import type { DoorContext, DoorSession } from "../door.ts";
import type { HttpDoor } from "../http-door.ts";
import { EventStream, eventStreamAnswer } from "./event-stream.ts";
import { type Feed, Feeds, type Shown } from "./feeds.ts";
import { howServicesAreWritten, instanceLimits, readInstance, serviceFromPath, urlOf } from "./layout.ts";
import { type Lease, Leases } from "./leases.ts";
import { openApiDocument, welcome } from "./openapi.ts";
import {
  busy,
  invalid,
  jsonAnswer,
  notFound,
  Problem,
  type ProblemFacts,
  problemAnswer,
  problemBody,
} from "./problem.ts";

export interface HttpDoorOptions {
  /** The host of an instance whose client calls by loopback and does not state one; of others it is the client's own address. */
  readonly advertise?: string;
  /** Protocols whose requests name no service: at a sidecar each of their services is reached at an address of its own. */
  readonly addressNamed?: (protocol: string) => boolean;
  readonly limits?: Partial<HttpDoorLimits>;
}

export interface HttpDoorLimits {
  readonly bodyBytes: number;
  readonly instances: number;
  readonly instancesOfClient: number;
  readonly streams: number;
  /** Services and patterns that are watched at once, by whoever. */
  readonly services: number;
  /** What a client has not read; beyond it its stream is cut. */
  readonly queuedBytes: number;
}

export const defaultHttpDoorLimits: HttpDoorLimits = {
  bodyBytes: 64 * 1024,
  instances: 10_000,
  instancesOfClient: 1_000,
  streams: 1_000,
  services: 4_096,
  queuedBytes: 1024 * 1024,
};

/** How long an answer waits for the directory's first word, and for what it changes to be in force. */
const patienceMs = 1_000;
/** How long an instance outlives its connection: who comes back within it is not missed. */
const graceMs = 2_000;
const keepAliveMs = 15_000;
const feedLingerMs = 60_000;
const defaultTtlMs = 30_000;
const longestConsumerTimeoutMs = 3_600_000;
/** The longest pattern that is taken, in characters. */
const maxPatternLength = 1_024;

/** Opens the door on what its journal holds. */
export async function openHttpDoor(context: DoorContext, options: HttpDoorOptions = {}): Promise<HttpDoor> {
  return new OpenHttpDoor(context, options);
}

type Answer = HttpAnswer | HttpStream;

interface OpenStream {
  readonly stream: EventStream;
  readonly remote: string;
  /** What the client says that it is; empty when it does not. */
  readonly application: string;
  readonly watches: string;
}

class OpenHttpDoor implements HttpDoor {
  readonly dialect = "http";
  readonly #context: DoorContext;
  readonly #limits: HttpDoorLimits;
  readonly #leases: Leases;
  readonly #feeds: Feeds;
  readonly #streams = new Set<OpenStream>();
  readonly #texts = new WeakMap<Shown<unknown>, string>();
  #closed = false;

  constructor(context: DoorContext, options: HttpDoorOptions) {
    this.#context = context;
    this.#limits = { ...defaultHttpDoorLimits, ...options.limits };
    const { instances: maxInstances, instancesOfClient: maxInstancesOfClient, services: maxFeeds } = this.#limits;
    this.#leases = new Leases({ context, advertise: options.advertise, graceMs, maxInstances, maxInstancesOfClient });
    const { addressNamed = (protocol) => protocol === "http" || protocol === "tcp" } = options;
    this.#feeds = new Feeds({ context, maxFeeds, lingerMs: feedLingerMs, addressNamed });
  }

  readonly handle = async (request: HttpRequest): Promise<Answer> => {
    try {
      checkOrigin(request);
      return await this.#route(request);
    } catch (error) {
      const facts = factsOf(error);
      if (facts === undefined) throw error;
      const { method, path, remote } = request;
      this.#context.log.debug(
        { method, path, remote, problem: facts.detail },
        "a request at the HTTP door was refused",
      );
      return problemAnswer(facts);
    }
  };

  sessions(): readonly DoorSession[] {
    const publishing = [...this.#leases.all].map(({ id, remote, instance }) => ({
      id: id.slice(0, 8), // who knows the whole may end it
      remote,
      application: instance.application,
      publishes: [instance.service],
      watches: [],
      bypassed: [],
    }));
    const watching = [...this.#streams].filter(({ watches }) => watches !== "");
    return [
      ...publishing,
      ...watching.map(({ remote, application, watches }) => ({
        id: `stream ${remote}`,
        remote,
        application,
        publishes: [],
        watches: [watches],
        bypassed: [],
      })),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    // The leases first: the end of the streams below must not look like the end of their clients.
    const kept = this.#leases.close();
    for (const { stream } of [...this.#streams]) stream.end();
    this.#feeds.close();
    await kept;
  }

  async #route(request: HttpRequest): Promise<Answer> {
    const { path } = request;
    const method = request.method === "HEAD" ? "GET" : request.method;
    if (path === "/") return only(method, { GET: () => textAnswer(welcome(this.#context.place)) });
    if (path === "/v1/openapi.json") return only(method, { GET: () => jsonAnswer(200, openApiDocument) });
    if (path === "/v1/instances") return only(method, { POST: () => this.#register(request) });
    if (path.startsWith("/v1/instances/")) {
      const id = path.slice("/v1/instances/".length);
      return only(method, { PUT: () => this.#renew(id), DELETE: () => this.#withdraw(id) });
    }
    if (path === "/v1/services") return only(method, { GET: () => this.#list(request) });
    if (path === "/v1/services/events") return only(method, { GET: () => this.#followCatalogue(request) });
    const service = /^\/v1\/services\/(.+?)(\/events)?$/.exec(path);
    if (service === null) throw notFound(`there is no ${path.slice(0, 200)}: GET / says what there is`);
    const [, name = "", events] = service;
    return only(method, {
      GET: () => (events === undefined ? this.#instances(request, name) : this.#followService(request, name)),
    });
  }

  async #register(request: HttpRequest): Promise<Answer> {
    if (this.#closed) throw busy("closing", "this door is closing: try again, at its successor");
    const { remote, headers } = request;
    const follow = request.query.has("follow");
    checkJson(request, this.#limits.bodyBytes);
    const posted = readInstance(request.body);
    if (follow && posted.ttlMs !== undefined) {
      throw invalid(
        "ttlMs",
        "an instance lives with its connection (follow) or with heartbeats (ttlMs), not with both",
      );
    }
    if (follow) this.#checkStreams();
    const ttlMs = follow ? undefined : (posted.ttlMs ?? defaultTtlMs);
    const lease = this.#leases.register({ posted, remote, ttlMs, resumes: headers.get("last-event-id") ?? "" });
    await this.#untilInForce(lease);
    const { state } = lease;
    if (state.kind === "failed") throw state.error;
    if (!follow) {
      const status = state.kind === "in-force" ? 201 : 202;
      return jsonAnswer(status, registered(lease), { location: `/v1/instances/${lease.id}` });
    }
    if (!request.signal.aborted) return eventStreamAnswer((sink) => this.#tellLease(sink, lease));
    this.#leases.left(lease);
    return jsonAnswer(202, registered(lease)); // nobody reads it
  }

  #tellLease(sink: HttpSink, lease: Lease): void {
    const { remote, instance } = lease;
    const { application } = instance;
    const stream = this.#stream(sink, { remote, application, watches: "" }, () => "registered");
    const tell = (): void => {
      const { state } = lease;
      if (state.kind === "failed")
        stream.send("failed", "", JSON.stringify(problemBody(factsOf(state.error) ?? unexpected)));
      else if (state.kind === "superseded") stream.send("superseded", "", JSON.stringify(problemBody(superseded)));
      else if (state.kind === "ended") stream.send("withdrawn", "", "{}");
      else return stream.send("registered", lease.id, JSON.stringify(registered(lease)));
      stream.end();
    };
    this.#leases.joined(lease);
    sink.onClose(() => this.#leases.left(lease));
    lease.onChange(tell);
    tell();
  }

  #renew(id: string): Answer {
    const lease = this.#known(id);
    this.#leases.renew(lease);
    return jsonAnswer(200, registered(lease));
  }

  async #withdraw(id: string): Promise<Answer> {
    const lease = this.#known(id);
    await this.#atMost(this.#leases.withdraw(lease));
    return { status: 204, headers: {}, body: "" };
  }

  #known(id: string): Lease {
    const lease = this.#leases.find(id);
    if (lease !== undefined) return lease;
    if (this.#leases.wasSuperseded(id)) throw new Problem(superseded);
    throw notFound("no instance is registered under this id: register again with POST /v1/instances");
  }

  async #list(request: HttpRequest): Promise<Answer> {
    const feed = this.#feeds.catalogue(patternOf(request));
    const shown = await feed.known(patienceMs);
    if (shown === undefined) throw nothingKnown(`the services ${feed.name}`);
    return jsonAnswer(200, { revision: shown.revision, services: [...shown.items.values()] });
  }

  async #instances(request: HttpRequest, path: string): Promise<Answer> {
    const feed = this.#feeds.service(this.#consumed(request, path));
    const shown = await feed.known(patienceMs);
    if (shown === undefined) throw nothingKnown(feed.name);
    const instances = [...shown.items.values()];
    return jsonAnswer(200, { service: feed.name, revision: shown.revision, freshSince: feed.freshSince, instances });
  }

  #followService(request: HttpRequest, path: string): Answer {
    const service = this.#consumed(request, path);
    const open = (): Feed<unknown> => this.#feeds.service(service);
    return this.#follow(request, open, ({ revision, items }) => ({
      service,
      revision,
      instances: [...items.values()],
    }));
  }

  #followCatalogue(request: HttpRequest): Answer {
    const pattern = patternOf(request);
    const open = (): Feed<unknown> => this.#feeds.catalogue(pattern);
    return this.#follow(request, open, ({ revision, items }) => ({ pattern, revision, services: [...items.values()] }));
  }

  #follow(request: HttpRequest, open: () => Feed<unknown>, snapshot: (shown: Shown<unknown>) => object): Answer {
    if (this.#closed) throw busy("closing", "this door is closing: try again, at its successor");
    this.#checkStreams();
    const { remote } = request;
    const application = applicationOf(request);
    open(); // now, since what is refused here is an answer still
    const incremental = request.query.has("incremental");
    return eventStreamAnswer((sink) => {
      const feed = open();
      const stream = this.#stream(sink, { remote, application, watches: feed.name }, () => proofOf(feed));
      const has = request.headers.get("last-event-id");
      let sent: Shown<unknown> | undefined;
      const tell = (): void => {
        const { shown } = feed;
        if (shown === undefined || shown === sent) return;
        if (sent !== undefined || shown.revision !== has) {
          const whole = sent === undefined || !incremental;
          const data = sent === undefined || !incremental ? this.#text(shown, snapshot) : changes(sent, shown);
          stream.send(whole ? "snapshot" : "changed", shown.revision, data);
        }
        sent = shown;
      };
      const watch = feed.listen(tell);
      sink.onClose(() => watch.close());
      tell();
    });
  }

  /** Made once for all who are told it. */
  #text(shown: Shown<unknown>, snapshot: (shown: Shown<unknown>) => object): string {
    const known = this.#texts.get(shown);
    if (known !== undefined) return known;
    const text = JSON.stringify(snapshot(shown));
    this.#texts.set(shown, text);
    return text;
  }

  #stream(sink: HttpSink, what: Omit<OpenStream, "stream">, keepAlive: () => string): EventStream {
    const { clock, random } = this.#context;
    const retryMs = 1_000 + random.next() * 2_000; // clients that were cut together do not come back together
    const maxQueuedBytes = this.#limits.queuedBytes;
    const stream = new EventStream(sink, { clock, keepAliveMs, maxQueuedBytes, keepAlive, retryMs });
    const open: OpenStream = { ...what, stream };
    sink.onClose(() => this.#streams.delete(open));
    this.#streams.add(open);
    if (this.#closed) stream.end();
    return stream;
  }

  #checkStreams(): void {
    const { streams } = this.#limits;
    if (this.#streams.size < streams) return;
    throw busy("too-many-streams", `this door has ${streams} event streams open, which is as many as it takes`, 10);
  }

  /** The service of a path, which an application is about to call. */
  #consumed(request: HttpRequest, path: string): string {
    const service = serviceFromPath(path);
    if (service === undefined) throw invalid("service", `the path names no service: ${howServicesAreWritten}`);
    this.#context.onConsumer?.(service, timeoutOf(request));
    return service;
  }

  async #untilInForce(lease: Lease): Promise<void> {
    if (lease.state.kind !== "pending") return;
    await this.#atMost(new Promise<void>((resolve) => lease.onChange(resolve)));
    lease.onChange(undefined);
  }

  #atMost(work: Promise<void>): Promise<void> {
    const { clock, log } = this.#context;
    return new Promise((resolve) => {
      const timer = clock.after(patienceMs, resolve);
      work
        .catch((error: unknown) => log.warn({ error: messageOf(error) }, "a change at the HTTP door failed"))
        .finally(() => {
          timer.cancel();
          resolve();
        });
    });
  }
}

const superseded: ProblemFacts = {
  status: 410,
  kind: "superseded",
  title: "Registered again elsewhere",
  detail:
    "the same instance was registered again later, by another process or at another door: do not register it again by yourself",
};

const unexpected: ProblemFacts = {
  status: 500,
  kind: "unexpected",
  title: "Failed",
  detail: "see the log of this door",
};

function registered({ id, instance, ttlMs, state }: Lease): object {
  const { service, host, application, appPort, address, port } = instance;
  return {
    id,
    service,
    host,
    application,
    appPort,
    url: urlOf(service, address, port),
    inForce: state.kind === "in-force",
    ...(ttlMs === undefined ? {} : { ttlMs }),
  };
}

function changes(from: Shown<unknown>, to: Shown<unknown>): string {
  const added: unknown[] = [];
  const changed: unknown[] = [];
  const removed: unknown[] = [];
  for (const [key, item] of to.items) {
    const former = from.items.get(key);
    if (former === undefined) added.push(item);
    else if (JSON.stringify(former) !== JSON.stringify(item)) changed.push(item);
  }
  for (const [key, item] of from.items) if (!to.items.has(key)) removed.push(item);
  return JSON.stringify({ from: from.revision, revision: to.revision, added, changed, removed });
}

function proofOf({ shown, freshSince }: Feed<unknown>): string {
  if (shown === undefined) return "nothing is known yet";
  return freshSince === 0 ? `revision ${shown.revision}` : `revision ${shown.revision} freshSince ${freshSince}`;
}

function nothingKnown(what: string): Problem {
  return busy("nothing-known", `nothing is known of ${what} yet, since the registry has not answered: ask again`, 1);
}

async function only(
  method: string,
  answers: Readonly<Record<string, () => Answer | Promise<Answer>>>,
): Promise<Answer> {
  const answer = Object.hasOwn(answers, method) ? answers[method] : undefined;
  if (answer !== undefined) return answer();
  const methods = Object.keys(answers);
  const allow = (methods[0] === "GET" ? ["GET", "HEAD", ...methods.slice(1)] : methods).join(", ");
  const detail = `this path takes ${allow}`;
  throw new Problem({ status: 405, kind: "method", title: "Not such a method", detail, allow });
}

function textAnswer(body: string): HttpAnswer {
  return { status: 200, headers: { "content-type": "text/plain; charset=utf-8" }, body };
}

/**
 * Web pages cannot use this door: theirs is the one content type that a page may not send unasked, and what they change is refused by its
 * `Origin`. That no page reads by a name that was made to lead here is for the host of the port.
 */
function checkOrigin({ method, headers }: HttpRequest): void {
  if (method === "GET" || method === "HEAD" || !headers.has("origin")) return;
  const detail = "this door is for applications, and web pages cannot use it: leave the Origin header out";
  throw new Problem({ status: 403, kind: "web-page", title: "Not for web pages", detail, key: "origin" });
}

function checkJson({ headers, body }: HttpRequest, maxBytes: number): void {
  const type = (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    const detail = "send the body with content-type: application/json";
    throw new Problem({ status: 415, kind: "content-type", title: "Only JSON", detail, key: "content-type" });
  }
  if (body.length <= maxBytes) return;
  throw new Problem({
    status: 413,
    kind: "too-large",
    title: "Too large",
    detail: `a body has at most ${maxBytes} bytes`,
  });
}

function patternOf({ query }: HttpRequest): string {
  const pattern = query.get("pattern") ?? "*";
  if (pattern !== "" && pattern.length <= maxPatternLength && !/\s/.test(pattern)) return pattern;
  throw invalid(
    "pattern",
    `pattern is a service with * for any run of characters, such as http/*, and at most ${maxPatternLength} long`,
  );
}

/** What a client is counted as that registers nothing. */
function applicationOf({ query }: HttpRequest): string {
  const application = query.get("application") ?? "";
  const { applicationBytes } = instanceLimits;
  if (Buffer.byteLength(application) <= applicationBytes && !/\p{Cc}/u.test(application)) return application;
  throw invalid("application", `application has at most ${applicationBytes} bytes and no control characters`);
}

function timeoutOf({ query }: HttpRequest): number {
  const text = query.get("timeoutMs");
  if (text === null) return 0;
  const timeoutMs = /^\d{1,8}$/.test(text) ? Number(text) : Number.NaN;
  if (timeoutMs <= longestConsumerTimeoutMs) return timeoutMs;
  throw invalid("timeoutMs", `timeoutMs is a whole number from 0 to ${longestConsumerTimeoutMs}`);
}

/** Undefined for a defect. */
function factsOf(error: unknown): ProblemFacts | undefined {
  if (error instanceof Problem) return error.facts;
  if (!isMeshError(error)) return undefined;
  if (error.code === "registry.superseded" || error.code === "publish.superseded") return superseded;
  if (error.code === "publish.own-port") return invalid("port", error.message).facts;
  const refused = error.code === "registry.refused" || error.code.startsWith("stream.");
  return refused
    ? invalid("", error.message).facts
    : busy("directory", `the directory behind this door refuses: ${error.message}`, 10).facts;
}
