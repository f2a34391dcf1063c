/**
 * The XML in which Eureka's clients and servers write instances: elements, a few attributes and text. A reader for no more than that:
 * without DTDs, entities of one's own and processing instructions, bounded in depth and number, in one pass. Names are written as
 * XStream writes them, with `__` for `_` and `_-` for `$`.
 */
import { Refusal } from "./refusal.ts";

export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: XmlElement[];
  text: string;
}

const maxDepth = 8;
const maxElements = 2_000;
const maxAttributes = 8;

const name = "[A-Za-z_][A-Za-z0-9_.:-]*";
const openingTag = new RegExp(`<(${name})((?:\\s+${name}\\s*=\\s*(?:"[^"<]*"|'[^'<]*'))*)\\s*(/?)>`, "y");
const closingTag = new RegExp(`</(${name})\\s*>`, "y");
const attribute = new RegExp(`(${name})\\s*=\\s*(?:"([^"]*)"|'([^']*)')`, "g");
const declaration = /^\uFEFF?\s*(?:<\?xml\s[^<>]*\?>)?/;

/** The root element. Throws a `Refusal`. */
export function readXml(text: string): XmlElement {
  let at = declaration.exec(text)?.[0].length ?? 0;
  let root: XmlElement | undefined;
  const open: XmlElement[] = [];
  let elements = 0;
  while (at < text.length) {
    const bracket = text.indexOf("<", at);
    addText(open.at(-1), unescaped(text.slice(at, bracket < 0 ? text.length : bracket)));
    if (bracket < 0) break;
    at = bracket;
    if (text.startsWith("<!--", at)) {
      at = endOf(text, "-->", at + 4);
    } else if (text.startsWith("<![CDATA[", at)) {
      const end = endOf(text, "]]>", at + 9);
      addText(open.at(-1), text.slice(at + 9, end - 3));
      at = end;
    } else if (text.startsWith("</", at)) {
      closingTag.lastIndex = at;
      const closing = closingTag.exec(text);
      if (closing === null || open.pop()?.name !== decodedName(closing[1] as string)) throw malformed(text, at);
      at = closingTag.lastIndex;
    } else {
      if (text.startsWith("<!", at) || text.startsWith("<?", at))
        throw new Refusal(
          400,
          "the XML has a DTD or a processing instruction, which is not taken here: send an element",
        );
      openingTag.lastIndex = at;
      const opening = openingTag.exec(text);
      if (opening === null || (root !== undefined && open.length === 0)) throw malformed(text, at);
      if (++elements > maxElements || open.length >= maxDepth)
        throw new Refusal(400, `the XML has more than ${maxElements} elements or is nested deeper than ${maxDepth}`);
      const element = {
        name: decodedName(opening[1] as string),
        attributes: attributesOf(opening[2] ?? ""),
        children: [],
        text: "",
      };
      open.at(-1)?.children.push(element);
      root ??= element;
      if (opening[3] === "") open.push(element);
      at = openingTag.lastIndex;
    }
  }
  if (root === undefined || open.length > 0) throw malformed(text, text.length);
  return root;
}

function addText(element: XmlElement | undefined, text: string): void {
  if (element !== undefined) element.text += text;
  else if (text.trim() !== "") throw new Refusal(400, "the XML has text outside of its element");
}

function endOf(text: string, mark: string, from: number): number {
  const end = text.indexOf(mark, from);
  if (end < 0) throw malformed(text, from);
  return end + mark.length;
}

function attributesOf(text: string): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>();
  for (const [, key = "", double, single] of text.matchAll(attribute)) {
    if (attributes.size >= maxAttributes)
      throw new Refusal(400, `an XML element has at most ${maxAttributes} attributes`);
    attributes.set(key, unescaped(double ?? single ?? ""));
  }
  return attributes;
}

function malformed(text: string, at: number): Refusal {
  return new Refusal(400, `the XML is not well formed in line ${text.slice(0, at).split("\n").length}`);
}

const entities = new Map([
  ["lt", "<"],
  ["gt", ">"],
  ["amp", "&"],
  ["quot", '"'],
  ["apos", "'"],
]);

function unescaped(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&([^;&]{0,12};?)/g, (_, body: string) => {
    const character = body.endsWith(";") ? (entities.get(body.slice(0, -1)) ?? numbered(body.slice(0, -1))) : undefined;
    if (character !== undefined) return character;
    throw new Refusal(
      400,
      "the XML has an entity that is not taken here: only lt, gt, amp, quot, apos and numbers are",
    );
  });
}

function numbered(entity: string): string | undefined {
  const match = /^#(?:(\d{1,7})|x([0-9a-fA-F]{1,6}))$/.exec(entity);
  if (match === null) return undefined;
  const code = match[1] === undefined ? Number.parseInt(match[2] as string, 16) : Number(match[1]);
  const isCharacter =
    code === 9 || code === 10 || code === 13 || (code >= 32 && code < 0xd800) || (code > 0xdfff && code <= 0x10ffff);
  return isCharacter ? String.fromCodePoint(code) : undefined;
}

/** An element, or nothing where its name cannot be said in XML. `body` is XML already. */
export function xmlElement(key: string, body: string, attributes = ""): string {
  const written = key.replace(/_/g, "__").replace(/\$/g, "_-");
  if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(written)) return "";
  return `<${written}${attributes}>${body}</${written}>`;
}

export function xmlText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what XML cannot hold
  const held = text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd");
  return held.replace(/[<>&"'\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function decodedName(written: string): string {
  return written.replace(/__|_-/g, (pair) => (pair === "__" ? "_" : "$"));
}
