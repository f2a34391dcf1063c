/**
 * The door for Eureka's clients, such as Spring Cloud's: register, renew, cancel, and the whole list or what changed of it, in JSON and XML.
 * Paths stand under `/eureka`, under `/eureka/v2` and alone, with a slash at the end or without.
 */

import { isMeshError } from "@dualmesh/base/errors";
import type { HttpAnswer, HttpRequest } from "@dualmesh/base/http/service";
import { hostOf, ThrottledLog } from "@dualmesh/base/throttled-log";
import type { DoorContext, DoorSession } from "../door.ts";
import type { HttpDoor } from "../http-door.ts";
import { readInstanceBody } from "./document.ts";
import { readRegistration, registrationLimits, type Shown, statusOf } from "./layout.ts";
import { Leases } from "./leases.ts";
import { applicationText, type Format, instanceText, Listing } from "./listing.ts";
import { quoted, Refusal, refusalAnswer } from "./refusal.ts";
import { View } from "./view.ts";

export interface EurekaDoorLimits {
  readonly instances: number;
  readonly apps: number;
  /** Services that are shown. */
  readonly services: number;
}

export interface EurekaDoorOptions {
  readonly limits?: Partial<EurekaDoorLimits>;
}

export const defaultEurekaLimits: EurekaDoorLimits = { instances: 10_000, apps: 4_096, services: 10_000 };

/** The list's versions of one process stay below those of the next. */
const versionsOfEpoch = 1_000_000_000;

/** Opens the door on what its journal holds. */
export async function openEurekaDoor(context: DoorContext, options: EurekaDoorOptions = {}): Promise<HttpDoor> {
  return new EurekaDoor(context, options);
}

class EurekaDoor implements HttpDoor {
  readonly dialect = "eureka";
  readonly #told: ThrottledLog;
  readonly #leases: Leases;
  readonly #listing: Listing;
  readonly #view: View;

  constructor(context: DoorContext, options: EurekaDoorOptions) {
    const limits = { ...defaultEurekaLimits, ...options.limits };
    const told = new ThrottledLog(context);
    this.#told = told;
    this.#leases = new Leases({ context, told, maxInstances: limits.instances, maxApps: limits.apps });
    this.#listing = new Listing(context.clock, (context.epoch % 1_000_000) * versionsOfEpoch + 1);
    this.#view = new View({
      context,
      told,
      listing: this.#listing,
      maxServices: limits.services,
      vipOf: (service) => this.#leases.vipOf(service),
    });
  }

  readonly handle = async (request: HttpRequest): Promise<HttpAnswer> => {
    try {
      return await this.#route(request);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      const { method, path, remote } = request;
      const fields = { method, path: path.slice(0, 200), remote, status: refusal.status, reason: refusal.message };
      if (refusal.status !== 404)
        this.#told.warn(`${hostOf(remote)} ${refusal.status}`, fields, "a request at the Eureka door was refused");
      return refusalAnswer(refusal);
    }
  };

  sessions(): readonly DoorSession[] {
    return this.#leases.sessions();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#view.close();
    await this.#leases.close();
  }

  async #route(request: HttpRequest): Promise<HttpAnswer> {
    const [kind = "", first = "", second = "", third = "", ...more] = segmentsOf(request.path);
    const reads = request.method === "GET" || request.method === "HEAD";
    if (!reads) checkWriter(request);
    if (more.length === 0 && kind === "apps") {
      if (first === "" || (first === "delta" && second === "")) {
        if (reads) return this.#list(request, first);
      } else if (second === "") {
        if (reads) return this.#application(request, first);
        if (request.method === "POST") return this.#register(request, first);
      } else if (third === "") {
        if (reads) return this.#instance(request, this.#find(first, second));
        if (request.method === "PUT") return this.#renew(request, first, second);
        if (request.method === "DELETE") return done(await this.#leases.cancel(first, second), second);
      } else if (third === "status") return this.#status(request, first, second);
      else if (third === "metadata" && request.method === "PUT")
        return done(await this.#leases.setMetadata(first, second, request.query), second);
    } else if (reads && first !== "" && second === "") {
      if (kind === "instances")
        return this.#instance(request, this.#listing.findById(first) ?? this.#leases.findById(first));
      if (kind === "vips") return this.#vip(request, first, ({ vips }) => vips);
      if (kind === "svips") return this.#vip(request, first, ({ secureVips }) => secureVips);
    }
    if (kind === "peerreplication") throw new Refusal(501, noPeer);
    throw new Refusal(
      404,
      `there is no ${request.method} ${quoted(request.path)} here: this is Eureka's REST API, under /eureka/apps`,
    );
  }

  #list(request: HttpRequest, part: string): HttpAnswer {
    this.#checkReady();
    const format = formatOf(request);
    return answer(format, part === "delta" ? this.#listing.delta(format) : this.#listing.full(format));
  }

  #application(request: HttpRequest, name: string): HttpAnswer {
    this.#checkReady();
    const app = name.toUpperCase();
    const all = this.#listing.ofApp(app);
    if (all.length === 0) throw new Refusal(404, `no instance of ${quoted(app)} is up`);
    const format = formatOf(request);
    return answer(format, applicationText(format, app, all));
  }

  #find(app: string, id: string): Shown | undefined {
    return this.#listing.find(app.toUpperCase(), id) ?? this.#leases.find(app, id);
  }

  #instance(request: HttpRequest, shown: Shown | undefined): HttpAnswer {
    if (shown === undefined) {
      this.#checkReady();
      throw new Refusal(404, "no such instance is registered");
    }
    const format = formatOf(request);
    return answer(format, instanceText(format, shown));
  }

  #vip(request: HttpRequest, name: string, vipsOf: (shown: Shown) => readonly string[]): HttpAnswer {
    this.#checkReady();
    const vip = name.toLowerCase();
    const all = this.#listing.where((shown) => vipsOf(shown).includes(vip));
    if (all.length === 0) throw new Refusal(404, `no instance of ${quoted(name)} is up`);
    const format = formatOf(request);
    return answer(format, this.#listing.some(format, all));
  }

  async #register({ body, headers, remote }: HttpRequest, app: string): Promise<HttpAnswer> {
    if (body.length > registrationLimits.bodyBytes)
      throw new Refusal(413, `a registration has at most ${registrationLimits.bodyBytes} bytes: shorten its metadata`);
    const posted = readInstanceBody(body, headers.get("content-type") ?? "");
    await this.#leases.register(readRegistration(posted, app), remote);
    return { status: 204, headers: {}, body: "" };
  }

  #renew({ query }: HttpRequest, app: string, id: string): HttpAnswer {
    const dirty = /^\d{1,15}$/.exec(query.get("lastDirtyTimestamp") ?? "");
    return done(this.#leases.renew(app, id, dirty === null ? 0 : Number(dirty[0])), id);
  }

  async #status({ method, query }: HttpRequest, app: string, id: string): Promise<HttpAnswer> {
    const value = query.get("value") ?? "";
    if (method === "PUT") {
      if (value === "") throw new Refusal(400, "value is missing: ?value=OUT_OF_SERVICE, for example");
      return done(await this.#leases.override(app, id, statusOf(value)), id);
    }
    if (method !== "DELETE") throw new Refusal(405, "a status takes PUT and DELETE");
    return done(await this.#leases.override(app, id, ""), id);
  }

  #checkReady(): void {
    if (!this.#view.ready)
      throw new Refusal(503, "nothing is known of the services yet, since the registry has not answered: ask again", 1);
  }
}

const noPeer =
  "this is no peer of a Eureka server: take this address out of that server's eureka.client.service-url; applications register here themselves";

/** Web pages cannot use this door, and servers do not replicate to it. */
function checkWriter({ headers }: HttpRequest): void {
  if (headers.has("origin"))
    throw new Refusal(403, "this door is for applications: web pages cannot change anything here");
  if (headers.get("x-netflix-discovery-replication") === "true") throw new Refusal(501, noPeer);
}

function segmentsOf(path: string): readonly string[] {
  const segments = path
    .replace(/\/{1,2}$/, "")
    .split("/")
    .slice(1);
  if (segments[0] === "eureka") segments.shift();
  if (segments[0] === "v2") segments.shift();
  try {
    return segments.map(decodeURIComponent);
  } catch {
    throw new Refusal(400, "the path has a malformed percent sequence");
  }
}

/** XML unless JSON is asked for, as Eureka answers. */
function formatOf({ headers }: HttpRequest): Format {
  return /json/i.test(headers.get("accept") ?? "") ? "json" : "xml";
}

function answer(format: Format, body: Buffer | string): HttpAnswer {
  const headers = { "content-type": `application/${format}`, "cache-control": "no-store" };
  return { status: 200, headers, body };
}

function done(found: boolean, id: string): HttpAnswer {
  if (found) return { status: 200, headers: {}, body: "" };
  throw new Refusal(404, `${quoted(id)} is not registered here, or has changed since: register again`);
}

function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (!isMeshError(error)) return undefined;
  const forGood =
    error.code === "registry.refused" || error.code.startsWith("stream.") || error.code.startsWith("publish.");
  return new Refusal(forGood ? 400 : 503, error.message, forGood ? undefined : 10);
}
