/**
 * The door for SOFA-RPC's `mesh://` registry, which was made for sidecars: an application says by HTTP which services it offers and which
 * it calls, and calls everything through the sidecar.
 *
 * Nothing in it tells when an application has ended: there is no session, no heartbeat, and no port in what is published. So a
 * publication lasts until it is taken back, over restarts of the sidecar too, and whether its application is alive is judged by the
 * application's port, by whoever stands behind the directory. What was found on disk at a start is published only once that port accepts.
 * A request to take a service back does not say whose it is: where several applications of the host offer it, their ports decide too.
 */
import type { Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { HttpAnswer, HttpRequest } from "@dualmesh/base/http/service";
import { hostOf, ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Publication, Watch } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import type { DoorContext, DoorSession } from "../door.ts";
import type { HttpDoor } from "../http-door.ts";
import { badRequest, instanceOf, type MeshRequest, providerText, readRequest, serviceOf } from "./layout.ts";
import { MeshStore, type StoredPublication } from "./store.ts";

export interface MeshDoorOptions {
  /** Where an application listens for Bolt. */
  readonly boltPort: (application: string) => number;
  /** The host of what is published. */
  readonly advertise: string;
  /** What subscribers are told; the client calls 127.0.0.1:12220 in any case. */
  readonly outboundPort: number;
  /** Resolves when the application accepts at its port. Without it, what was found on disk is published at once. */
  readonly untilAccepting?: (host: string, port: number, signal: AbortSignal) => Promise<void>;
}

/** Of a request's body. */
export const maxMeshBodyBytes = 256 * 1024;
/** Beyond, a request is refused. */
const maxPublications = 4_096;
const maxSubscriptions = 16_384;
const maxApplications = 1_024;
/** How long an answer to an unpublish waits for its being in force. */
const withdrawWaitMs = 1_000;
/** What was found on disk and did not accept for so long is forgotten. */
const forgetAfterMs = 3_600_000;
/** Between two attempts to publish what was accepted and is refused later. */
const retryMs = 10_000;

/** Opens the door on what its journal holds. */
export async function openMeshDoor(context: DoorContext, options: MeshDoorOptions): Promise<HttpDoor> {
  return new OpenMeshDoor(context, options);
}

interface Published {
  readonly stored: StoredPublication;
  readonly instance: Instance;
  readonly giveUp: AbortController;
  /** The client was told so, now or in a former process: from then on it is kept. */
  accepted: boolean;
  publication: Publication | undefined;
  retry: Timer | undefined;
}

interface Subscribed {
  readonly watch: Watch;
  /** Consumers that have not unsubscribed; a consumer that was killed is counted for good, which costs no more than its watch. */
  count: number;
}

interface Application {
  remote: string;
  /** Registrations that are carried nowhere, with the reason. */
  readonly bypassed: Map<string, string>;
}

class OpenMeshDoor implements HttpDoor {
  readonly dialect = "mesh";
  readonly #context: DoorContext;
  readonly #options: MeshDoorOptions;
  readonly #store: MeshStore;
  /** For what clients can cause as often as they like. */
  readonly #told: ThrottledLog;
  readonly #published = new Map<string, Published>();
  readonly #subscribed = new Map<string, Subscribed>();
  readonly #applications = new Map<string, Application>();
  /** The application that named itself last: for a request that names none. */
  #lastApplication = "unknown";
  #lastIncarnation = 0;
  #closed = false;

  constructor(context: DoorContext, options: MeshDoorOptions) {
    this.#context = context;
    this.#options = options;
    this.#store = new MeshStore(context.journal, context.log);
    this.#told = new ThrottledLog(context);
    for (const stored of this.#store.publications()) {
      this.#lastIncarnation = Math.max(this.#lastIncarnation, stored.incarnation);
      this.#heard(stored.application, "");
      void this.#publish(stored, "restored");
    }
    for (const service of this.#store.subscriptions()) this.#subscribe(service);
  }

  readonly handle = async (request: HttpRequest): Promise<HttpAnswer> => {
    const answer = this.#answers.get(request.path);
    if (answer === undefined) return reply(404, { success: false, errorMessage: "no such path" });
    if (request.method !== "POST") return reply(405, { success: false, errorMessage: "only POST" });
    if (request.body.length > maxMeshBodyBytes) {
      return reply(413, { success: false, errorMessage: `a body is at most ${maxMeshBodyBytes} bytes` });
    }
    try {
      return reply(200, { success: true, ...(await answer(readRequest(request.body), request)) });
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#told.warn(
        `${hostOf(request.remote)} ${error.code}`,
        { path: request.path, remote: request.remote, error: error.message },
        "a request at the mesh door was refused",
      );
      return reply(200, { success: false, errorMessage: error.message });
    }
  };

  sessions(): readonly DoorSession[] {
    const watches = [...this.#subscribed.keys()];
    return [...this.#applications].map(([application, { remote, bypassed }]) => ({
      id: application,
      remote,
      application,
      publishes: [...this.#published.values()]
        .filter(({ stored }) => stored.application === application)
        .map(({ instance }) => instance.service),
      // A subscription does not say whose it is; it is shown where it can only be one application's.
      watches: this.#applications.size === 1 ? watches : [],
      bypassed: [...bypassed].map(([registration, reason]) => ({ registration, reason })),
    }));
  }

  /** What is published stays with the directory, whose owner decides. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const { watch } of this.#subscribed.values()) watch.close();
    this.#subscribed.clear();
    for (const { publication, giveUp, retry } of this.#published.values()) {
      retry?.cancel();
      if (publication === undefined) giveUp.abort();
    }
    this.#published.clear();
    await this.#store.flushed();
  }

  readonly #answers = new Map<string, (request: MeshRequest, from: HttpRequest) => Promise<object>>([
    ["/configs/application", (request, from) => this.#configure(request, from)],
    ["/services/publish", (request, from) => this.#answerPublish(request, from)],
    ["/services/unpublish", (request) => this.#answerUnpublish(request)],
    ["/services/subscribe", (request, from) => this.#answerSubscribe(request, from)],
    ["/services/unsubscribe", (request) => this.#answerUnsubscribe(request)],
  ]);

  async #configure({ appName }: MeshRequest, { remote }: HttpRequest): Promise<object> {
    if (appName === "") throw badRequest("appName is missing");
    this.#heard(appName, remote);
    this.#lastApplication = appName;
    return {};
  }

  async #answerPublish(request: MeshRequest, { body, remote }: HttpRequest): Promise<object> {
    const service = serviceOf(request);
    const application = request.appName || this.#lastApplication;
    const heard = this.#heard(application, remote);
    if (!service.startsWith("bolt/")) {
      const reason = `protocol ${request.protocolType} is not carried, and mesh:// does not say the port`;
      if (heard.bypassed.size < maxPublications) heard.bypassed.set(service, reason);
      throw badRequest(reason);
    }
    const key = keyOf(service, application);
    if (!this.#published.has(key) && this.#published.size >= maxPublications) throw tooMany("publications");
    this.#lastIncarnation = Math.max(this.#context.clock.wall(), this.#lastIncarnation + 1);
    const stored = { service, application, incarnation: this.#lastIncarnation, text: body.toString("utf8") };
    await this.#keep(stored);
    if (this.#store.has(stored)) await this.#publish(stored, "new");
    return {};
  }

  /** Resolves when it is on disk. What the disk refuses must not come back after a restart, since the client was told so. */
  async #keep(stored: StoredPublication): Promise<void> {
    this.#store.put(stored);
    try {
      await this.#store.flushed();
    } catch (error) {
      this.#store.delete(stored);
      const former = this.#published.get(keyOf(stored.service, stored.application));
      if (former !== undefined) this.#store.put(former.stored);
      throw error;
    }
  }

  async #answerUnpublish(request: MeshRequest): Promise<object> {
    const service = serviceOf(request);
    const owners = [...this.#published.values()].filter(({ stored }) => stored.service === service);
    // The second of two equal requests finds nothing. With several owners, the port of the one that ends will refuse.
    const [published, another] = owners;
    if (published === undefined || another !== undefined) return {};
    this.#forget(published);
    const gone = published.publication?.withdraw();
    published.giveUp.abort();
    await this.#store.flushed();
    if (gone !== undefined) await this.#atMost(withdrawWaitMs, gone);
    return {};
  }

  async #answerSubscribe(request: MeshRequest, { remote }: HttpRequest): Promise<object> {
    const service = serviceOf(request);
    if (request.appName !== "") this.#heard(request.appName, remote);
    const known = this.#subscribed.get(service);
    if (known !== undefined) known.count += 1;
    else {
      if (this.#subscribed.size >= maxSubscriptions) throw tooMany("subscriptions");
      this.#subscribe(service);
      this.#store.putSubscription(service);
    }
    return { datas: [providerText("127.0.0.1", this.#options.outboundPort, "dualmesh")] };
  }

  async #answerUnsubscribe(request: MeshRequest): Promise<object> {
    const service = serviceOf(request);
    const known = this.#subscribed.get(service);
    if (known === undefined) return {};
    known.count -= 1;
    if (known.count > 0) return {};
    this.#subscribed.delete(service);
    this.#store.deleteSubscription(service);
    known.watch.close();
    return {};
  }

  /** The client is told one address for good, so what the directory says later is of use to the calls alone. */
  #subscribe(service: string): void {
    this.#subscribed.set(service, { watch: this.#context.directory.watch(service, () => {}), count: 1 });
  }

  /** Resolves when the directory has taken it on; rejects when it refuses it at once. */
  #publish(stored: StoredPublication, how: "new" | "restored"): Promise<void> {
    const { boltPort, advertise: host } = this.#options;
    const instance = instanceOf({ ...stored, host, port: boltPort(stored.application) });
    const giveUp = new AbortController();
    const accepted = how === "restored";
    const published: Published = { stored, instance, giveUp, accepted, publication: undefined, retry: undefined };
    const key = keyOf(stored.service, stored.application);
    // The directory takes the later of two for the same instance, so that nothing is missing in between.
    const former = this.#published.get(key);
    this.#published.set(key, published);
    const taken = Promise.withResolvers<void>();
    const onAccepted = (): void => {
      published.accepted = true;
      former?.retry?.cancel();
      taken.resolve();
    };
    const bring = (): void => {
      this.#bring(published, how, onAccepted).then(
        () => {
          onAccepted();
          former?.giveUp.abort();
        },
        (error: unknown) => {
          if (!published.accepted) {
            this.#refused(published, former);
            return taken.reject(error);
          }
          taken.resolve();
          this.#failed(published, error, bring);
        },
      );
    };
    bring();
    return accepted ? Promise.resolve() : taken.promise;
  }

  async #bring(published: Published, how: "new" | "restored", onAccepted: () => void): Promise<void> {
    const { instance, giveUp } = published;
    if (how === "restored") await this.#untilAccepting(published);
    const publication = await this.#context.directory.publish(instance, {
      signal: giveUp.signal,
      onAccepted,
      onSuperseded: () => this.#superseded(published),
    });
    published.publication = publication;
    this.#applications.get(published.stored.application)?.bypassed.delete(instance.service);
    if (giveUp.signal.aborted) await publication.withdraw();
  }

  async #untilAccepting({ instance, giveUp }: Published): Promise<void> {
    const { untilAccepting } = this.#options;
    if (untilAccepting === undefined) return;
    const patience = this.#context.clock.after(forgetAfterMs, () =>
      giveUp.abort(new MeshError("mesh.never-accepted", `port ${instance.appPort} has not accepted for an hour`)),
    );
    try {
      await untilAccepting(instance.host, instance.appPort, giveUp.signal);
    } finally {
      patience.cancel();
    }
  }

  /** The client is told that it was refused: what it had before, if anything, stays. */
  #refused(published: Published, former: Published | undefined): void {
    if (this.#closed || !this.#isCurrent(published)) return;
    this.#forget(published);
    if (former === undefined || former.giveUp.signal.aborted) return;
    this.#published.set(keyOf(former.stored.service, former.stored.application), former);
    this.#store.put(former.stored);
  }

  /** What was accepted is kept, shown with the reason, and tried again. */
  #failed(published: Published, error: unknown, again: () => void): void {
    const { service, application } = published.stored;
    if (this.#closed || !this.#isCurrent(published)) return;
    const fields = { service, application, error: messageOf(error) };
    if (published.giveUp.signal.aborted) {
      this.#forget(published);
      return this.#told.error(`${service} ${application}`, fields, "a provider was given up");
    }
    this.#told.error(`${service} ${application}`, fields, "a provider could not be published");
    const bypassed = this.#applications.get(application)?.bypassed;
    if (bypassed !== undefined && bypassed.size < maxPublications) bypassed.set(service, messageOf(error));
    published.retry = this.#context.clock.after(retryMs, again);
  }

  /** Somebody else registered this instance later, as an application does that left the mesh: it is not to come back by itself. */
  #superseded(published: Published): void {
    if (this.#isCurrent(published)) this.#forget(published);
  }

  #isCurrent(published: Published): boolean {
    return this.#published.get(keyOf(published.stored.service, published.stored.application)) === published;
  }

  #forget({ stored, retry }: Published): void {
    retry?.cancel();
    this.#published.delete(keyOf(stored.service, stored.application));
    this.#store.delete(stored);
  }

  #heard(application: string, remote: string): Application {
    let known = this.#applications.get(application);
    if (known === undefined) {
      if (this.#applications.size >= maxApplications) throw tooMany("applications");
      known = { remote, bypassed: new Map() };
      this.#applications.set(application, known);
    }
    if (remote !== "") known.remote = remote;
    return known;
  }

  async #atMost(ms: number, work: Promise<void>): Promise<void> {
    let timer: Timer | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = this.#context.clock.after(ms, resolve);
    });
    const settled = work.catch((error: unknown) =>
      this.#told.warn("", { error: messageOf(error) }, "a withdrawal failed"),
    );
    await Promise.race([settled, patience]);
    timer?.cancel();
  }
}

function keyOf(service: string, application: string): string {
  return `${service}|${application}`;
}

function tooMany(what: string): MeshError {
  return new MeshError("mesh.too-many", `this door has as many ${what} as it takes`);
}

function reply(status: number, value: object): HttpAnswer {
  return { status, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
