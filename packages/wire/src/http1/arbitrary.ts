/** Why this exists: well-formed messages of every kind for the laws. Test support: no part of the product imports it. */
import fc from "fast-check";

const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,20}$/);
const value = fc.stringMatching(/^([!-~]([ -~]{0,40}[!-~])?)?$/);
const listed = fc.constantFrom(
  "Accept",
  "User-Agent",
  "X-Forwarded-For",
  "Cookie",
  "Via",
  "Cache-Control",
  "Traceparent",
);

/** Names that would change the framing, or that must stand once, are made apart. */
const own =
  /^(content-length|transfer-encoding|connection|host|expect|upgrade|te|trailer|keep-alive|proxy-connection)$/i;

const fieldLines = fc
  .array(fc.tuple(fc.oneof(token, listed), value), { maxLength: 8 })
  .map((fields) => fields.filter(([name]) => !own.test(name)).map(([name, text]) => `${name}: ${text}\r\n`));

const body = fc.string({ maxLength: 60, unit: "binary-ascii" });

/** Fields and bytes of a body, framed by length or in chunks with extensions and trailers. */
export const arbitraryBody: fc.Arbitrary<readonly [string, string]> = fc.oneof(
  body.map((text) => [`Content-Length: ${text.length}\r\n`, text] as const),
  fc
    .tuple(
      fc.array(
        body.filter((text) => text !== ""),
        { maxLength: 4 },
      ),
      fc.constantFrom("", ";a", ";a=b", ';a="b;c"'),
      fc.constantFrom("", "X-Sum: 1\r\n", "X-Sum: 1\r\nX-Other:\r\n"),
    )
    .map(([parts, extension, trailer]) => {
      const chunks = parts.map((part) => `${part.length.toString(16)}${extension}\r\n${part}\r\n`).join("");
      return ["Transfer-Encoding: chunked\r\n", `${chunks}0${extension}\r\n${trailer}\r\n`] as const;
    }),
);

const target = fc.oneof(
  fc.constantFrom("/", "/a/../b", "//a//b/./", "/%7eu/%e4%bd", "/a;v=1?x=/../", "http://Other:81/a?b", "/.hidden"),
  fc.stringMatching(/^\/[A-Za-z0-9/_-]{0,40}(\?[!-"$-~]{0,20})?$/),
);

export const arbitraryRequest: fc.Arbitrary<Buffer> = fc
  .tuple(
    fc.constantFrom("GET", "POST", "PUT", "OPTIONS", "BREW"),
    target,
    fieldLines,
    fc.option(arbitraryBody),
    fc.boolean(),
  )
  .map(([name, to, fields, content, first]) => {
    const [framing, bytes] = content ?? ["", ""];
    const lines = first ? ["Host: h:80\r\n", framing, ...fields] : [...fields, framing, "hOST:\t h:80 \r\n"];
    return Buffer.from(`${name} ${to} HTTP/1.1\r\n${lines.join("")}\r\n${bytes}`, "latin1");
  });

/** Answers to GET that end by themselves. */
export const arbitraryResponse: fc.Arbitrary<Buffer> = fc
  .tuple(fc.constantFrom("200 OK", "404 Not Found", "500 ", "302"), fieldLines, arbitraryBody, fc.boolean())
  .map(([status, fields, [framing, bytes], interim]) => {
    const before = interim ? "HTTP/1.1 100 Continue\r\n\r\n" : "";
    return Buffer.from(`${before}HTTP/1.1 ${status}\r\n${fields.join("")}${framing}\r\n${bytes}`, "latin1");
  });
