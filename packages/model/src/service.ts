/**
 * The one canonical text of a service, `protocol/name:version:group`, used by the stream, metrics, rules and commands. Parts are
 * percent-encoded where they hold `%`, `/`, `:`, `*`, white space or a control character, so that one service has one text.
 *
 * | dialect | protocol | name | version | group |
 * |---|---|---|---|---|
 * | Dubbo | `dubbo`, `tri`, … (URL scheme) | interface | `version`, empty for `0.0.0` | `group` |
 * | SOFA-RPC | `bolt`, … (URL scheme) | interface | `1.0` | `uniqueId` |
 * | Eureka | `http`, or `https` where that alone is enabled | each vip address, in lower case | | |
 */
export interface ServiceName {
  readonly protocol: string;
  readonly name: string;
  readonly version: string;
  readonly group: string;
}

/** The longest canonical text that is accepted, in characters. */
export const maxServiceTextLength = 1_024;

/** The canonical text. */
export function serviceText(service: ServiceName): string {
  return `${encodePart(service.protocol)}/${encodePart(service.name)}:${encodePart(service.version)}:${encodePart(service.group)}`;
}

/** The parts of a canonical text, or undefined when the text is not canonical (each service has exactly one text). */
export function parseServiceText(text: string): ServiceName | undefined {
  if (text.length > maxServiceTextLength) return undefined;
  const match = /^([^/:]+)\/([^/:]+):([^/:]*):([^/:]*)$/.exec(text);
  if (match === null) return undefined;
  try {
    const [protocol, name, version, group] = match.slice(1).map((part) => decodeURIComponent(part)) as [
      string,
      string,
      string,
      string,
    ];
    const service = { protocol, name, version, group };
    return serviceText(service) === text ? service : undefined;
  } catch {
    return undefined; // a malformed percent sequence
  }
}

/** A catalogue pattern is a canonical text in which `*` stands for any run of characters: `* /fx.Greeter:*:*` without the space. */
export function servicePattern(pattern: string): (text: string) => boolean {
  if (pattern === "*") return () => true;
  const pieces = pattern.split("*");
  const first = pieces[0] as string;
  const last = pieces[pieces.length - 1] as string;
  if (pieces.length === 1) return (text) => text === pattern;
  const middle = pieces.slice(1, -1).filter((piece) => piece !== "");
  return (text) => {
    if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
    let from = first.length;
    const end = text.length - last.length;
    for (const piece of middle) {
      const at = text.indexOf(piece, from);
      if (at < 0 || at + piece.length > end) return false;
      from = at + piece.length;
    }
    return true;
  };
}

function encodePart(part: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must be encoded
  return part.replace(/[%/:*\s\u0000-\u001f\u007f]/g, (character) => encodeURIComponent(character).replace("*", "%2A"));
}
