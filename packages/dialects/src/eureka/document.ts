/**
 * An instance as Eureka writes it: a JSON object, or XML of the same members. Everything here is foreign text: objects have no prototype, so
 * that a member may have any name.
 */
import { quoted, Refusal } from "./refusal.ts";
import { readXml, type XmlElement, xmlElement, xmlText } from "./xml.ts";

export type Members = Readonly<Record<string, unknown>>;

const maxDepth = 8;

export function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A copy without prototype, with these members in place of its own. */
export function withMembers(members: Members, changed: Members = {}): Record<string, unknown> {
  return Object.assign(Object.create(null), members, changed) as Record<string, unknown>;
}

/** The `instance` of a request's body. Throws a `Refusal`. */
export function readInstanceBody(body: Buffer, contentType: string): Members {
  const text = textOf(body);
  const isXml = /\bxml\b/i.test(contentType) || (!/\bjson\b/i.test(contentType) && text.trimStart().startsWith("<"));
  if (isXml) {
    const root = readXml(text);
    if (root.name !== "instance") throw new Refusal(400, `the XML is <${root.name.slice(0, 80)}>, not <instance>`);
    return instanceOfXml(root);
  }
  const value = parsed(text);
  const instance = isMembers(value) && Object.hasOwn(value, "instance") ? value["instance"] : undefined;
  if (!isMembers(instance)) throw new Refusal(400, 'the body is not {"instance": {…}}');
  checkDepth(instance, maxDepth);
  return instance;
}

function textOf(body: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new Refusal(400, "the body is not UTF-8");
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, "the body is not JSON; XML needs content-type: application/xml");
  }
}

function checkDepth(value: unknown, left: number): void {
  if (typeof value !== "object" || value === null) return;
  if (left === 0) throw new Refusal(400, `the instance is nested deeper than ${maxDepth}`);
  for (const member of Object.values(value)) checkDepth(member, left - 1);
}

/** Keys in order and no white space, so that equal values have equal texts. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isMembers(value)) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(",")}}`;
}

/** A member that is a text or a number; empty when there is none. */
export function memberText(members: Members, key: string, maxBytes = 255): string {
  const value = Object.hasOwn(members, key) ? members[key] : undefined;
  if (value === undefined || value === null) return "";
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean")
    throw new Refusal(400, `${key} is not a text`);
  const text = String(value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  if (Buffer.byteLength(text) > maxBytes || /[\u0000-\u001f\u007f]/.test(text) || !text.isWellFormed())
    throw new Refusal(400, `${key} ${quoted(text)} is longer than ${maxBytes} bytes or holds control characters`);
  return text;
}

export function memberObject(members: Members, key: string): Members {
  const value = Object.hasOwn(members, key) ? members[key] : undefined;
  if (value === undefined || value === null) return {};
  if (isMembers(value)) return value;
  throw new Refusal(400, `${key} is not an object`);
}

const numeric = new Set([
  "countryId",
  "renewalIntervalInSecs",
  "durationInSecs",
  "registrationTimestamp",
  "lastRenewalTimestamp",
  "evictionTimestamp",
  "serviceUpTimestamp",
]);

function instanceOfXml(element: XmlElement): Members {
  const members: Record<string, unknown> = Object.create(null);
  for (const child of element.children) members[child.name] = valueOfXml(child);
  return members;
}

function valueOfXml(element: XmlElement): unknown {
  const { name, attributes, children } = element;
  const text = element.text.trim();
  if (name === "port" || name === "securePort") {
    return { $: /^\d{1,5}$/.test(text) ? Number(text) : text, "@enabled": attributes.get("enabled") ?? "" };
  }
  const type = attributes.get("class");
  if (children.length === 0 && type === undefined && name !== "metadata") {
    return numeric.has(name) && /^\d{1,15}$/.test(text) ? Number(text) : text;
  }
  const members: Record<string, unknown> = Object.create(null);
  if (type !== undefined) members["@class"] = type;
  // What stands in metadata is text, whatever it is called.
  for (const child of children) members[child.name] = name === "metadata" ? child.text.trim() : valueOfXml(child);
  return members;
}

/** The members of an instance as XML, without the element around them. */
export function xmlMembers(members: Members): string {
  return Object.entries(members)
    .map(([key, value]) => xmlMember(key, value))
    .join("");
}

function xmlMember(key: string, value: unknown): string {
  if (value === null || value === undefined || Array.isArray(value) || key.startsWith("@")) return "";
  if (!isMembers(value)) return xmlElement(key, xmlText(String(value)));
  if (Object.hasOwn(value, "$")) {
    return xmlElement(key, xmlText(String(value["$"])), ` enabled="${xmlText(String(value["@enabled"] ?? "true"))}"`);
  }
  const type = Object.hasOwn(value, "@class") ? ` class="${xmlText(String(value["@class"]))}"` : "";
  return xmlElement(key, xmlMembers(value), type);
}
