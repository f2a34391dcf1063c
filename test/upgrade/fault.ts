/**
 * Plants a fault in one process of an upgrade: `node --import fault.ts main.ts sidecar run …` with UPGRADE_FAULT=SIDE:PLACE:WHAT. The side is the old or the
 * new process (`old-before-slow` the old one, before a new one that is slow to hear of it), the place one of those below, and what happens there once is
 * `kill` (SIGKILL) or `stop` (SIGSTOP). `UPGRADE_FAULT=speaks:N:M` has the process speak versions N to M, `deaf:MS` has a new process read nothing for so
 * long, and with `without-koffi` that library cannot be loaded. The product has no hook for any of it: its own functions are replaced here.
 */
import { registerHooks } from "node:module";
import { openSystemCalls, type SystemCalls } from "@dualmesh/sidecar/transport/native";
import { Ports } from "@dualmesh/sidecar/transport/ports";
import { Arriving } from "@dualmesh/sidecar/upgrade/arriving";
import { Channel } from "@dualmesh/sidecar/upgrade/channel";
import { Conversation } from "@dualmesh/sidecar/upgrade/conversation";
import { Leaving } from "@dualmesh/sidecar/upgrade/leaving";
import { type Message, spoken } from "@dualmesh/sidecar/upgrade/messages";

const [who = "", place = "", what = ""] = (process.env["UPGRADE_FAULT"] ?? "").split(":");
const side = who === "old-before-slow" ? "old" : who;
const whileLoadingMs = 250;
const whileRelayingMs = 150;
const slowMs = 500;
/** A process is the new one until it has said so much as a greeting. */
let isNew = process.env["DUALMESH_TAKES_OVER"] !== undefined;

if (side === "speaks") Object.assign(spoken, { oldest: Number(place), newest: Number(what) });
else if (side === "without-koffi") plantAbsence();
else if (side === "deaf") await plantDeafness(Number(place));
else if (who === "old-before-slow" && isNew) plantSlowness();
else if (side === "old" && place === "load") await plantWhileLoading();
else if (side !== "") plant();

let hasStruck = false;

function strike(): void {
  // A process that was stopped, and goes on as the old one, is upgraded again.
  if (hasStruck) return;
  hasStruck = true;
  process.kill(process.pid, what === "stop" ? "SIGSTOP" : "SIGKILL");
}

function plant(): void {
  before(Channel.prototype, "say", (message: Message) => {
    if (message.say === "hello") {
      const wasNew = isNew;
      isNew = false;
      if (place === "hello" && side === (wasNew ? "new" : "old")) strike();
    } else if (place === `say ${message.say}`) strike();
  });
  after(Channel.prototype, "say", (message: Message) => {
    if (place === `said ${message.say}`) strike();
  });
  if (side === "old") plantOld();
  else plantNew();
}

function plantOld(): void {
  if (place === "said every listener") plantListeners();
  before(Leaving.prototype, "share", () => place === "share" && strike());
  afterAll(Leaving.prototype, "share", () => place === "shared" && strike());
  afterAll(Leaving.prototype, "freeze", () => place === "frozen" && strike());
  before(Leaving.prototype, "surrender", () => place === "surrender" && strike());
  before(Leaving.prototype, "left", () => place === "relay" && setTimeout(strike, whileRelayingMs));
}

/** The process that comes hears the last words of the one that dies, and its end, all at once. */
function plantSlowness(): void {
  let isFirst = true;
  after(Arriving.prototype, "hear", (message: Message) => {
    if (message.say !== "states" || !isFirst) return;
    isFirst = false;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, slowMs);
  });
}

function plantListeners(): void {
  let left = -1;
  const open = Ports.prototype.open;
  Ports.prototype.open = function () {
    const all = open.call(this);
    left = all.length;
    return all;
  };
  after(Channel.prototype, "say", (message: Message) => {
    if (message.say === "listener" && --left === 0) strike();
  });
}

function plantNew(): void {
  afterAll(Conversation.prototype, "greet", () => place === "greeted" && strike());
  after(Ports.prototype, "inherit", () => place === "inherit" && strike());
  const hears = Conversation.prototype.hears;
  Conversation.prototype.hears = async function (say, limitMs) {
    const heard = await hears.call(this, say, limitMs);
    if (place === `heard ${say}`) strike();
    return heard as never;
  };
  after(Arriving.prototype, "hear", (message: Message) => {
    if (place === `took ${message.say}`) strike();
  });
  before(Arriving.prototype, "commit", () => place === "commit" && strike());
  after(Arriving.prototype, "commit", () => {
    if (place === "relay") setTimeout(strike, whileRelayingMs);
  });
  before(Arriving.prototype, "end", () => place === "end" && strike());
}

/** Dies while its successor loads its code. */
async function plantWhileLoading(): Promise<void> {
  before(await prototypeOfCalls(), "listenAt", () => void setTimeout(strike, whileLoadingMs));
}

function plantAbsence(): void {
  registerHooks({
    resolve(name, context, next) {
      if (name === "koffi") throw new Error("it is not there");
      return next(name, context);
    },
  });
}

/** Reads nothing for a while from the first connection on that it is sent. */
async function plantDeafness(ms: number): Promise<void> {
  const calls = await prototypeOfCalls();
  let until: number | undefined;
  before(Arriving.prototype, "hear", () => {
    until ??= performance.now() + ms;
  });
  const receive = calls.receive;
  calls.receive = function (socket) {
    return until !== undefined && performance.now() < until ? "empty" : receive.call(this, socket);
  };
}

async function prototypeOfCalls(): Promise<SystemCalls> {
  return Object.getPrototypeOf(await openSystemCalls()) as SystemCalls;
}

// Methods by their names, of any class: what is wrapped keeps its own shape.
type Method = (this: unknown, ...words: never[]) => unknown;

function wrapped(owner: object, name: string, make: (method: Method) => Method): void {
  const methods = owner as Record<string, Method>;
  methods[name] = make(methods[name] as Method);
}

function before(owner: object, name: string, act: Method): void {
  wrapped(
    owner,
    name,
    (method) =>
      function (...words) {
        act.apply(this, words);
        return method.apply(this, words);
      },
  );
}

function after(owner: object, name: string, act: Method): void {
  wrapped(
    owner,
    name,
    (method) =>
      function (...words) {
        const result = method.apply(this, words);
        act.apply(this, words);
        return result;
      },
  );
}

/** After what the method promises. */
function afterAll(owner: object, name: string, act: () => void): void {
  wrapped(
    owner,
    name,
    (method) =>
      async function (...words) {
        const result = await method.apply(this, words);
        act();
        return result;
      },
  );
}
