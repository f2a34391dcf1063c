/**
 * Whether the applications that registered here answer at their ports. A registration alone proves nothing: it may precede the port,
 * and a killed process leaves its registration behind for as long as its registry session lasts. So each port is dialled again and again,
 * and what is published follows what the port does. Services that share a port share its dials.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { ThrottledLog } from "@dualmesh/base/throttled-log";

/** Connects, closes in order (a FIN, never a reset: the application counts these connections) and says what happened. */
export type Dial = (host: string, port: number, timeoutMs: number) => Promise<"accepted" | "refused" | "timeout">;

/**
 * `starting`: has never accepted, and is not to be published yet. `unproven`: the same after a long time, published with a warning.
 * `up`: accepts. `down`: has accepted once and refuses now.
 */
export type AppState = "starting" | "unproven" | "up" | "down";

export interface AppHealth {
  /** The address that the application registered. */
  readonly registeredHost: string;
  readonly port: number;
  readonly state: AppState;
  /** Where the application is to be called: the address that accepted last, 127.0.0.1 until one has. */
  readonly host: string;
  /** Wall time of the last change of state, in milliseconds. */
  readonly since: number;
}

export interface AppWatch {
  readonly health: AppHealth;
  close(): void;
}

export interface AppsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly dial: Dial;
}

/** True when an instance at this application is to be published. */
export function isPublishable(state: AppState): boolean {
  return state === "up" || state === "unproven";
}

const periodMs = 300;
/** Dials of many applications are kept from falling into step. */
const jitter = 0.1;
const dialTimeoutMs = 300;
/** How soon after one another the dials follow while an application is suspected, and how long it is if nothing decides. */
const suspectedPeriodMs = 50;
const suspectedForMs = 1_000;
const unprovenAfterMs = 10_000;
const refusalsToLeave = 3;
const refusalsWithinMs = 1_000;
const loopback = "127.0.0.1";

/** Told whether the last dial was accepted or refused, whenever that differs from the one before. */
export type ReachListener = (isAccepted: boolean) => void;

interface App {
  readonly key: string;
  readonly listeners: Set<(health: AppHealth) => void>;
  readonly reachListeners: Set<ReachListener>;
  /** How the last dial ended that was accepted or refused. */
  isAccepting: boolean | undefined;
  health: AppHealth;
  /** The address that accepted last. */
  works: string | undefined;
  /** Clock times of the refusals since the last accept, the newest `refusalsToLeave` of them. */
  refusals: number[];
  /** Clock time of the last sign against it. */
  suspectedAt: number;
  /** Clock time until which it is suspected; 0 when it is not. */
  suspectedUntil: number;
  /** Clock time at which the last dial began. */
  dialledAt: number;
  dialling: boolean;
  next: Timer | undefined;
  patience: Timer | undefined;
}

export class Apps {
  readonly #options: AppsOptions;
  /** For what applications can cause as often as they like. */
  readonly #told: ThrottledLog;
  readonly #apps = new Map<string, App>();

  constructor(options: AppsOptions) {
    this.#options = options;
    this.#told = new ThrottledLog(options);
  }

  /**
   * Calls `listener` whenever the state or the working address changes, and `reached` as soon as one dial ends otherwise than the last; never
   * from inside this call.
   */
  watch(
    registeredHost: string,
    port: number,
    listener: (health: AppHealth) => void,
    reached: ReachListener = () => {},
  ): AppWatch {
    const app = this.#app(registeredHost, port);
    // A listener may be given twice; each watch is one of its own.
    const own = (health: AppHealth): void => listener(health);
    const ownReached: ReachListener = (isAccepted) => reached(isAccepted);
    app.listeners.add(own);
    app.reachListeners.add(ownReached);
    return {
      get health() {
        return app.health;
      },
      close: () => {
        app.listeners.delete(own);
        app.reachListeners.delete(ownReached);
        if (app.listeners.size === 0) this.#forget(app);
      },
    };
  }

  /** Resolves when the application accepts; rejects with the signal's reason. */
  async untilAccepting(registeredHost: string, port: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const accepting = Promise.withResolvers<void>();
    const onAbort = (): void => accepting.reject(signal.reason);
    const watch = this.watch(registeredHost, port, ({ state }) => {
      if (state === "up") accepting.resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (watch.health.state === "up") accepting.resolve();
    try {
      await accepting.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      watch.close();
    }
  }

  /**
   * The data path was refused at `host:port`, or a connection to it broke: it is dialled at once and then quickly, until it has accepted
   * or has been taken out. Dials that time out decide nothing, and end the hurry after a while.
   */
  suspect(host: string, port: number): void {
    for (const app of this.#apps.values()) {
      const { health } = app;
      if (health.port !== port || health.state !== "up" || (health.host !== host && health.registeredHost !== host))
        continue;
      const now = this.#options.clock.now();
      const isNew = app.suspectedUntil <= now;
      app.suspectedAt = now;
      app.suspectedUntil = now + suspectedForMs;
      // A dial that is under way began before this sign; its end brings the next one.
      if (isNew && !app.dialling) this.#dialAfter(app, Math.max(0, app.dialledAt + suspectedPeriodMs - now));
    }
  }

  status(): readonly AppHealth[] {
    return [...this.#apps.values()].map((app) => app.health);
  }

  close(): void {
    for (const app of this.#apps.values()) this.#forget(app);
  }

  #app(registeredHost: string, port: number): App {
    const key = `${registeredHost}|${port}`;
    const known = this.#apps.get(key);
    if (known !== undefined) return known;
    const { clock } = this.#options;
    const health: AppHealth = { registeredHost, port, state: "starting", host: loopback, since: clock.wall() };
    const app: App = {
      key,
      listeners: new Set(),
      reachListeners: new Set(),
      isAccepting: undefined,
      health,
      works: undefined,
      refusals: [],
      suspectedAt: Number.NEGATIVE_INFINITY,
      suspectedUntil: 0,
      dialledAt: Number.NEGATIVE_INFINITY,
      dialling: false,
      next: undefined,
      patience: undefined,
    };
    this.#apps.set(key, app);
    this.#dialAfter(app, 0);
    app.patience = clock.after(unprovenAfterMs, () => this.#loseHope(app));
    return app;
  }

  #forget(app: App): void {
    app.next?.cancel();
    app.patience?.cancel();
    if (this.#apps.get(app.key) === app) this.#apps.delete(app.key);
  }

  #dialAfter(app: App, delayMs: number): void {
    app.next?.cancel();
    app.next = this.#options.clock.after(delayMs, () => this.#dial(app));
  }

  #dial(app: App): void {
    app.dialling = true;
    app.dialledAt = this.#options.clock.now();
    this.#round(app).then(
      () => this.#again(app),
      (error: unknown) => {
        this.#told.warn(
          app.key,
          { port: app.health.port, error: messageOf(error) },
          "an application could not be dialled",
        );
        this.#again(app);
      },
    );
  }

  #again(app: App): void {
    app.dialling = false;
    if (this.#apps.get(app.key) !== app) return;
    const { clock, random } = this.#options;
    const isSuspected = app.suspectedUntil > clock.now();
    this.#dialAfter(app, isSuspected ? suspectedPeriodMs : periodMs * (1 - jitter + 2 * jitter * random.next()));
  }

  /** One attempt: first where it accepted last, then at the other address. */
  async #round(app: App): Promise<void> {
    const { registeredHost, port } = app.health;
    const first = app.works ?? loopback;
    const second = first === loopback ? registeredHost : loopback;
    const outcome = await this.#options.dial(first, port, dialTimeoutMs);
    if (outcome === "accepted") return this.#accepted(app, first);
    if (second !== first && (await this.#options.dial(second, port, dialTimeoutMs)) === "accepted") {
      return this.#accepted(app, second);
    }
    // A timeout proves nothing: a process that is stopped, or a machine that is busy, still owns its port.
    if (outcome === "refused") this.#refused(app);
  }

  #reached(app: App, isAccepted: boolean): void {
    if (app.isAccepting === isAccepted || this.#apps.get(app.key) !== app) return;
    app.isAccepting = isAccepted;
    for (const listener of app.reachListeners) listener(isAccepted);
  }

  #accepted(app: App, host: string): void {
    this.#reached(app, true);
    app.works = host;
    app.refusals = [];
    // A dial that began before the last sign knows nothing of it.
    if (app.suspectedAt <= app.dialledAt) app.suspectedUntil = 0;
    app.patience?.cancel();
    if (app.health.state !== "up" || app.health.host !== host) this.#change(app, "up", host);
  }

  #refused(app: App): void {
    this.#reached(app, false);
    const now = this.#options.clock.now();
    app.refusals = [...app.refusals, now].slice(-refusalsToLeave);
    if (app.health.state !== "up" || app.refusals.length < refusalsToLeave) return;
    if (now - (app.refusals[0] as number) > refusalsWithinMs) return;
    const { port, host } = app.health;
    this.#told.warn(app.key, { host, port }, "an application refuses connections and is taken out");
    this.#change(app, "down", host);
  }

  #loseHope(app: App): void {
    if (app.health.state !== "starting") return;
    const { registeredHost, port } = app.health;
    this.#told.warn(
      app.key,
      { host: registeredHost, port, waitedMs: unprovenAfterMs },
      "an application does not accept connections; what it registered is published all the same",
    );
    this.#change(app, "unproven", app.health.host);
  }

  #change(app: App, state: AppState, host: string): void {
    if (this.#apps.get(app.key) !== app) return;
    app.suspectedUntil = 0;
    app.health = { ...app.health, state, host, since: this.#options.clock.wall() };
    for (const listener of app.listeners) listener(app.health);
  }
}
