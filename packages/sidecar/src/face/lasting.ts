/**
 * What a registration keeps when the sidecar's own port wears it: the words of a provider without those that are true of one process only, or that
 * would have a caller watch over a connection that is not the provider's.
 */
import { parseProviderUrl, registrationUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import type { Registration } from "@dualmesh/model/instance";

/** What differs from one process of an application to the next, and says nothing to a caller of all of them. */
const volatileParameter = /([?&])(?:timestamp|pid|startTime|id)=[^&]*/g;
/**
 * How a Dubbo caller watches over its connection, which is one to this sidecar, whatever the provider would have it do on one of its own. A
 * Dubbo 3 caller that has found it broken calls no more until a timer of its own has connected again: that is the longer of the two, a third
 * of the idle timeout (three heartbeats) and the least duration, and a minute if nobody says more.
 */
const watchParameter = /([?&])(?:heartbeat|heartbeat\.timeout|dubbo\.application\.least-reconnect-duration)=[^&]*/g;
const watched = "heartbeat=3000&dubbo.application.least-reconnect-duration=1000";
/** A caller without a tag passes over a provider that has one, even if it is the only one: the sidecar balances over all of them. */
const tag = /([?&])dubbo\.tag=[^&]*/g;

/** Without what is true of one process only, so that the same words come out for another one and after a restart of the sidecar. */
export function lasting({ dialect, text }: Registration): Registration {
  const url = registrationUrl(text);
  if (url === undefined || parseProviderUrl(url) === undefined) return { dialect, text };
  const [before, parameters] = split(url);
  if (parameters === undefined) return { dialect, text: before };
  const lastingOnes = `?${parameters}`.replace(volatileParameter, "$1").replace(tag, "$1");
  const kept = (dialect === "dubbo" ? lastingOnes.replace(watchParameter, "$1") : lastingOnes).slice(1);
  return {
    dialect,
    text: `${before}?${[...kept.split("&"), ...(dialect === "dubbo" ? [watched] : [])]
      .filter((parameter) => parameter !== "")
      .join("&")}`,
  };
}

/** A provider's own words as they stand at the sidecar's port, with which its callers have a connection then. */
export function watchedOver({ dialect, text }: Registration): Registration {
  const url = registrationUrl(text);
  if (dialect !== "dubbo" || url === undefined || parseProviderUrl(url) === undefined) return { dialect, text };
  const [before, parameters = ""] = split(url);
  const kept = `?${parameters}`.replace(watchParameter, "$1").slice(1).split("&");
  return { dialect, text: `${before}?${[...kept, watched].filter((parameter) => parameter !== "").join("&")}` };
}

/** What the provider itself wrote, from what others are told of it at the sidecar's port. */
export function unwatched({ dialect, text }: Registration): Registration {
  const url = registrationUrl(text) ?? text;
  const [before, parameters] = split(url);
  const own = (parameters ?? "")
    .split("&")
    .filter((one) => !said.test(one) && !(dialect === "dubbo" && isWatched(one)));
  return { dialect, text: parameters === undefined ? before : `${before}?${own.join("&")}` };
}

const said = /^dualmesh\./;
const isWatched = (parameter: string): boolean => watched.split("&").includes(parameter);

function split(url: string): readonly [string, string | undefined] {
  const at = url.indexOf("?");
  return at < 0 ? [url, undefined] : [url.slice(0, at), url.slice(at + 1)];
}
