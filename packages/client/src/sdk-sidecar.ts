/** The SDK behind a sidecar, by its HTTP door: a stream of events for each thing that is registered or followed, made again when it breaks. */
import { sleep } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Endpoint, Offered, Place, Surroundings } from "./sdk-place.ts";

interface DoorEvent {
  readonly event: string;
  readonly id: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The door says that it is alive every 15 s. */
const silentMs = 40_000;
const firstDelayMs = 100;
const longestDelayMs = 5_000;
/** More in one event than this and the door is none of ours. */
const maxEventCharacters = 64 * 1024 * 1024;

export function joinSidecar(address: string, around: Surroundings): Place {
  const base = new URL(address);
  const open = new Set<AbortController>();
  const offers = new Set<Offered>();
  const streamed = (path: string, body: object | undefined, told: (event: DoorEvent) => boolean): AbortController => {
    const ending = new AbortController();
    open.add(ending);
    void keep({ url: new URL(path, base), body, told, signal: ending.signal, around }).finally(() =>
      open.delete(ending),
    );
    return ending;
  };
  return {
    register(offer) {
      const inForce = Promise.withResolvers<void>();
      let id = "";
      const { host } = around;
      const body = { ...offer, ...(host === undefined ? {} : { host }) };
      const ending = streamed("/v1/instances?follow", body, ({ event, data }) => {
        if (event === "registered") {
          id = String(data["id"]);
          if (data["inForce"] === true) inForce.resolve();
          return true;
        }
        inForce.reject(
          new MeshError(`sdk.${event}`, `${offer.service} is not registered any more: ${data["detail"] ?? event}`),
        );
        return false; // failed, superseded or withdrawn: not to be registered again by itself
      });
      inForce.promise.catch((error: unknown) =>
        around.log.warn({ service: offer.service, error: messageOf(error) }, "an instance is not registered"),
      );
      const offered: Offered = {
        inForce: inForce.promise,
        async withdraw() {
          offers.delete(offered);
          if (id !== "") await send(new URL(`/v1/instances/${id}`, base));
          ending.abort();
        },
      };
      offers.add(offered);
      return offered;
    },
    follow(service, told) {
      const { application } = around;
      const who = application === undefined ? "" : `?application=${encodeURIComponent(application)}`;
      const path = `/v1/services/${encodeURIComponent(service)}/events${who}`;
      const ending = streamed(path, undefined, ({ event, data }) => {
        if (event === "snapshot") told((data["instances"] as readonly Endpoint[]) ?? []);
        return true;
      });
      return { close: () => ending.abort() };
    },
    async close() {
      const withdrawn = [...offers].map((offered) => offered.withdraw());
      for (const outcome of await Promise.allSettled(withdrawn)) {
        // The end of its connection withdraws it as well, a little later.
        if (outcome.status === "rejected")
          around.log.warn({ error: messageOf(outcome.reason) }, "an instance was not withdrawn in order");
      }
      for (const ending of open) ending.abort();
    },
  };
}

/** Withdraws. That there is nothing (any more) is as good. */
async function send(url: URL): Promise<void> {
  const response = await fetch(url, { method: "DELETE" });
  await response.body?.cancel();
  if (!response.ok && response.status !== 404 && response.status !== 410)
    throw new MeshError("sdk.withdraw", `the sidecar answered ${response.status} to a withdrawal`);
}

interface Keeping {
  readonly url: URL;
  readonly body: object | undefined;
  /** False when nothing more is wanted. */
  readonly told: (event: DoorEvent) => boolean;
  readonly signal: AbortSignal;
  readonly around: Surroundings;
}

/** Never rejects: a stream that breaks is opened again, with what is known, until `signal`. */
async function keep({ url, body, told, signal, around }: Keeping): Promise<void> {
  const { clock, random, log } = around;
  let last = "";
  let delayMs = firstDelayMs;
  let warned = false;
  while (!signal.aborted) {
    try {
      for await (const event of eventsOf(await begin(url, body, last, signal), around)) {
        if (!told(event)) return;
        if (event.id !== "") last = event.id;
        delayMs = firstDelayMs;
        warned = false;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!warned)
        log.warn(
          { sidecar: url.host, error: messageOf(error) },
          "the sidecar's door is out of reach; what is known stays in force",
        );
      warned = true;
    }
    await sleep(clock, random.next() * delayMs, signal).catch(() => {}); // aborted: the loop ends
    delayMs = Math.min(longestDelayMs, 2 * delayMs);
  }
}

async function begin(url: URL, body: object | undefined, last: string, signal: AbortSignal): Promise<Response> {
  const headers = {
    ...(last === "" ? {} : { "last-event-id": last }),
    ...(body === undefined ? {} : { "content-type": "application/json" }),
  };
  const what = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(url, { ...what, headers, signal });
  if (response.ok) return response;
  throw new MeshError(
    "sdk.refused",
    `the sidecar answered ${response.status}: ${(await response.text()).slice(0, 500)}`,
  );
}

async function* eventsOf(response: Response, { clock }: Surroundings): AsyncGenerator<DoorEvent> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const watch = (): { cancel(): void } => clock.after(silentMs, () => void reader.cancel().catch(() => {})); // the read below ends
  let silence = watch();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      silence.cancel();
      silence = watch();
      rest += value;
      if (rest.length > maxEventCharacters)
        throw new MeshError("sdk.refused", "the sidecar's door sent an event without an end");
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = eventOf(block);
        if (event !== undefined) yield event;
      }
    }
  } finally {
    silence.cancel();
    await reader.cancel().catch(() => {}); // it broke by itself
  }
}

/** Undefined for a comment, or for what says only when to come back. */
function eventOf(block: string): DoorEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
  }
  const event = fields.get("event");
  if (event === undefined) return undefined;
  return { event, id: fields.get("id") ?? "", data: JSON.parse(fields.get("data") ?? "{}") as Record<string, unknown> };
}
