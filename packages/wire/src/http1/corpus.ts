/**
 * Why this exists: messages that two readers could understand in two ways, and those at the edge that must go on working, each with
 * the one verdict. The codec's tests read them, and so may any test that sends them through a whole sidecar. Test support: no part
 * of the product imports it.
 */
export interface CorpusCase {
  readonly name: string;
  readonly bytes: Buffer;
  readonly verdict: Verdict;
  /** For responses: the method that they answer; GET when not stated. */
  readonly to?: "GET" | "HEAD" | "CONNECT";
}

export type Verdict =
  | { readonly kind: "refuse"; readonly status: number }
  | {
      readonly kind: "accept";
      /** As read from the first message: the canonical path with its query, and the body. */
      readonly target?: string;
      readonly host?: string;
      readonly body?: string;
      /** Bytes behind the first message, which must stay unread. */
      readonly left?: string;
      /** False when the connection must not be used again. */
      readonly keepAlive?: boolean;
    };

type Accepted = Omit<Extract<Verdict, { kind: "accept" }>, "kind">;

function refuse(name: string, status: number, text: string): CorpusCase {
  return { name, bytes: Buffer.from(text, "latin1"), verdict: { kind: "refuse", status } };
}

function accept(name: string, text: string, what: Accepted = {}): CorpusCase {
  return { name, bytes: Buffer.from(text, "latin1"), verdict: { kind: "accept", ...what } };
}

const post = (fields: string, body = ""): string => `POST /a HTTP/1.1\r\nHost: h\r\n${fields}\r\n${body}`;
const get = (target: string, fields = "Host: h\r\n"): string => `GET ${target} HTTP/1.1\r\n${fields}\r\n`;
const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
const field = (line: string): string => `GET / HTTP/1.1\r\nHost: h\r\n${line}\r\n\r\n`;

const lengths: readonly CorpusCase[] = [
  refuse(
    "content-length and transfer-encoding",
    400,
    post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  ),
  refuse(
    "transfer-encoding and content-length",
    400,
    post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
  ),
  refuse(
    "content-length 0 and transfer-encoding",
    400,
    post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  ),
  refuse("two lengths that differ", 400, post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!")),
  refuse("two equal lengths", 400, post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
  refuse("a list of equal lengths", 400, post("Content-Length: 5, 5\r\n", "hello")),
  refuse("a list of lengths", 400, post("Content-Length: 5,6\r\n", "hello!")),
  refuse("a hexadecimal length", 400, post("Content-Length: 0x5\r\n", "hello")),
  refuse("a length with a plus", 400, post("Content-Length: +5\r\n", "hello")),
  refuse("a negative length", 400, post("Content-Length: -5\r\n", "hello")),
  refuse("a length with a space in it", 400, post("Content-Length: 1 2\r\n", "hello world!")),
  refuse("an empty length", 400, post("Content-Length:\r\n", "")),
  refuse("a length of spaces", 400, post("Content-Length:   \r\n", "")),
  refuse("a length with a fraction", 400, post("Content-Length: 5.0\r\n", "hello")),
  refuse("a length with an exponent", 400, post("Content-Length: 5e0\r\n", "hello")),
  refuse("a quoted length", 400, post('Content-Length: "5"\r\n', "hello")),
  refuse("a length with an underscore", 400, post("Content-Length: 1_0\r\n", "hellohello")),
  refuse("a length with letters behind it", 400, post("Content-Length: 5abc\r\n", "hello")),
  refuse("a length of 2^53", 413, post("Content-Length: 9007199254740992\r\n")),
  refuse("a length of 2^64 and 5", 413, post("Content-Length: 18446744073709551621\r\n", "hello")),
  refuse("a length of full-width digits", 400, post("Content-Length: \xef\xbc\x95\r\n", "hello")),
  refuse("a length with a vertical tab", 400, post("Content-Length: \x0b5\r\n", "hello")),
  accept("a length with space around it", post("Content-Length: \t 5 \t\r\n", "helloX"), { body: "hello", left: "X" }),
  accept("a length with zeros in front", post("Content-Length: 005\r\n", "hello"), { body: "hello" }),
  accept("a length of zero", post("Content-Length: 0\r\n", "GET"), { body: "", left: "GET" }),
  accept("a length in capitals", post("CONTENT-LENGTH: 2\r\n", "hi"), { body: "hi" }),
  accept("no length and no coding", post("", "GET / "), { body: "", left: "GET / " }),
];

const codings: readonly CorpusCase[] = [
  refuse("chunked twice in one field", 400, post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
  refuse(
    "chunked in two fields",
    400,
    post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  ),
  refuse(
    "chunked and identity in two fields",
    400,
    post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
  ),
  refuse("xchunked", 400, post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
  refuse("identity", 400, post("Transfer-Encoding: identity\r\n", "")),
  refuse("gzip before chunked", 501, post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
  refuse("identity before chunked", 501, post("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n")),
  refuse("chunked before gzip", 400, post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
  refuse("gzip alone", 400, post("Transfer-Encoding: gzip\r\n", "")),
  refuse("an empty coding", 400, post("Transfer-Encoding:\r\n", "")),
  refuse("chunked with a comma in front", 400, post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n")),
  refuse("chunked with a comma behind", 400, post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n")),
  refuse("chunked with a parameter", 400, post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n")),
  refuse("chunked in quotes", 400, post('Transfer-Encoding: "chunked"\r\n', "0\r\n\r\n")),
  refuse("chunked with a vertical tab in front", 400, post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")),
  refuse("chunked with a NUL behind", 400, post("Transfer-Encoding: chunked\0\r\n", "0\r\n\r\n")),
  refuse("chunked with a no-break space behind", 400, post("Transfer-Encoding: chunked\xa0\r\n", "0\r\n\r\n")),
  refuse("chunked folded onto the next line", 400, post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
  refuse("chunked in HTTP/1.0", 400, "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
  accept("chunked in mixed case", post("tRANSFER-eNCODING: ChUnKeD\r\n", "0\r\n\r\nX"), { body: "", left: "X" }),
  accept("chunked with space around it", post("Transfer-Encoding: \tchunked \r\n", "2\r\nhi\r\n0\r\n\r\n"), {
    body: "hi",
  }),
  accept("a field that only looks like a coding", post("Transfer_Encoding: chunked\r\nContent-Length: 2\r\n", "hi"), {
    body: "hi",
  }),
];

const chunks: readonly CorpusCase[] = [
  refuse("a chunk size with 0x", 400, chunked("0x5\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size with a plus", 400, chunked("+5\r\nhello\r\n0\r\n\r\n")),
  refuse("a negative chunk size", 400, chunked("-5\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size with space in front", 400, chunked(" 5\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size with space behind", 400, chunked("5 \r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size with a tab behind", 400, chunked("5\t\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk without a size", 400, chunked("\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size of letters", 400, chunked("zz\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size of 2^53", 413, chunked("20000000000000\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size of 2^64", 413, chunked("10000000000000000\r\nhello\r\n0\r\n\r\n")),
  refuse("a chunk size with many zeros", 400, chunked(`${"0".repeat(30)}5\r\nhello\r\n0\r\n\r\n`)),
  refuse("a chunk size with an underscore", 400, chunked("1_0\r\nhellohello\r\n0\r\n\r\n")),
  refuse("a chunk line that ends in LF", 400, chunked("5\nhello\r\n0\r\n\r\n")),
  refuse("a chunk line with a bare CR", 400, chunked("5\rhello\r\n0\r\n\r\n")),
  refuse("chunk data that ends in LF", 400, chunked("5\r\nhello\n0\r\n\r\n")),
  refuse("chunk data without an end", 400, chunked("5\r\nhello0\r\n\r\n")),
  refuse("more chunk data than stated", 400, chunked("3\r\nhello\r\n0\r\n\r\n")),
  refuse("chunk data that ends in CR and something else", 400, chunked("5\r\nhello\rX0\r\n\r\n")),
  refuse("a last chunk that ends in LF", 400, chunked("5\r\nhello\r\n0\n\r\n")),
  refuse("a body that ends in LF", 400, chunked("5\r\nhello\r\n0\r\n\n")),
  refuse("an extension without a name", 400, chunked("5;\r\nhello\r\n0\r\n\r\n")),
  refuse("an extension without a value", 400, chunked("5;a=\r\nhello\r\n0\r\n\r\n")),
  refuse("an extension with a bare LF", 400, chunked("5;a\nhello\r\n0\r\n\r\n")),
  refuse("an extension with a LF in quotes", 400, chunked('5;a="\n"\r\nhello\r\n0\r\n\r\n')),
  refuse("an extension with a CR in quotes", 400, chunked('5;a="\r\n"\r\nhello\r\n0\r\n\r\n')),
  refuse("an extension with a NUL", 400, chunked("5;a\0\r\nhello\r\n0\r\n\r\n")),
  refuse("an extension with space", 400, chunked("5;a b\r\nhello\r\n0\r\n\r\n")),
  refuse("an extension behind a space", 400, chunked("5 ;a\r\nhello\r\n0\r\n\r\n")),
  refuse("an extension that is too long", 400, chunked(`5;${"a".repeat(2_000)}\r\nhello\r\n0\r\n\r\n`)),
  refuse("many extensions", 400, chunked(`${`1;${"a".repeat(900)}\r\nx\r\n`.repeat(20)}0\r\n\r\n`)),
  accept("chunks in capitals and small letters", chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), {
    body: "01234567890123456789",
  }),
  accept("a chunk size with a zero in front", chunked("05\r\nhello\r\n000\r\n\r\nX"), { body: "hello", left: "X" }),
  accept("extensions of every form", chunked('5;a;b=c;d="e; \\"f\\r"\r\nhello\r\n0;z\r\n\r\n'), { body: "hello" }),
  accept("a message behind the last chunk", chunked("0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"), {
    left: "GET /b HTTP/1.1\r\n\r\n",
  }),
];

const trailers: readonly CorpusCase[] = [
  ...[
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: evil",
    "Content-Encoding: gzip",
    "Content-Type: text/html",
    "Authorization: x",
  ].map((line) => refuse(`the trailer ${line}`, 400, chunked(`0\r\n${line}\r\n\r\n`))),
  ...[
    "Set-Cookie: a=b",
    "Cookie: a=b",
    "X-Forwarded-For: 1.2.3.4",
    "Connection: close",
    "Trailer: x",
    "Cache-Control: no-store",
  ].map((line) => refuse(`the trailer ${line}`, 400, chunked(`0\r\n${line}\r\n\r\n`))),
  refuse("a folded trailer", 400, chunked("0\r\nA: b\r\n c\r\n\r\n")),
  refuse("a trailer with a bare LF", 400, chunked("0\r\nA: b\n\r\n")),
  refuse("a trailer with a space before its colon", 400, chunked("0\r\nA : b\r\n\r\n")),
  refuse("trailers that are too long", 431, chunked(`0\r\nA: ${"b".repeat(9_000)}\r\n\r\n`)),
  refuse("too many trailers", 431, chunked(`0\r\n${"A: b\r\n".repeat(33)}\r\n`)),
  accept("a trailer", chunked("5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\nX"), { body: "hello", left: "X" }),
];

const lines: readonly CorpusCase[] = [
  refuse("a request line that ends in LF", 400, "GET / HTTP/1.1\nHost: h\r\n\r\n"),
  refuse("a field that ends in LF", 400, "GET / HTTP/1.1\r\nHost: h\n\r\n"),
  refuse("an empty line of LF", 400, "GET / HTTP/1.1\r\nHost: h\r\n\n"),
  refuse("a bare CR in the request line", 400, "GET / HTTP/1.1\rHost: h\r\n\r\n"),
  refuse("a bare CR in a value", 400, field("A: b\rc")),
  refuse("a bare CR before a field", 400, field("\rA: b")),
  refuse("a CR before CRLF", 400, field("A: b\r")),
  refuse("a smuggled field behind a bare LF", 400, field("A: b\nTransfer-Encoding: chunked")),
  refuse("a folded field", 400, field("A: b\r\n c")),
  refuse("a field folded with a tab", 400, field("A: b\r\n\tc")),
  refuse("space before the first field", 400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
  refuse("space before a colon", 400, field("A : b")),
  refuse("a tab before a colon", 400, field("A\t: b")),
  refuse("space before the colon of a length", 400, post("Content-Length : 5\r\n", "hello")),
  refuse("space before the colon of a coding", 400, post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
  refuse("a field without a colon", 400, field("abc")),
  refuse("a field without a name", 400, field(": b")),
  refuse("NUL in a name", 400, field("A\0: b")),
  refuse("NUL in a value", 400, field("A: b\0c")),
  refuse("DEL in a value", 400, field("A: b\x7fc")),
  refuse("an escape character in a value", 400, field("A: \x1b[0m")),
  refuse("a name with parentheses", 400, field("A(b): c")),
  refuse("a name with a byte above ASCII", 400, field("A\xe9: c")),
  refuse("a name in quotes", 400, field('"A": c')),
  refuse("a name with a slash", 400, field("A/b: c")),
  refuse("too many fields", 431, `GET / HTTP/1.1\r\nHost: h\r\n${"A: b\r\n".repeat(128)}\r\n`),
  refuse("a head that is too large", 431, field(`A: ${"b".repeat(70_000)}`)),
  refuse("a name that is too large", 431, field("A".repeat(70_000))),
  accept("a value above ASCII", field("A: caf\xc3\xa9")),
  accept("an empty value", field("A:")),
  accept("a value of a name that JavaScript knows", field("__proto__: constructor")),
  accept("one empty line before the request", `\r\n${get("/")}`, { target: "/" }),
  refuse("two empty lines before the request", 400, `\r\n\r\n${get("/")}`),
  refuse("a LF before the request", 400, `\n${get("/")}`),
  refuse("space before the request", 400, ` ${get("/")}`),
];

const starts: readonly CorpusCase[] = [
  refuse("HTTP/0.9", 400, "GET /\r\n"),
  refuse("no target", 400, "GET HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("two spaces before the target", 400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("two spaces before the version", 400, "GET /  HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("space behind the version", 400, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"),
  refuse("a tab before the target", 400, "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("space in the target", 400, "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("a version in small letters", 400, "GET / http/1.1\r\nHost: h\r\n\r\n"),
  refuse("HTTP/1.2", 505, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
  refuse("HTTP/2.0", 505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
  refuse("HTTP/0.9 as a version", 505, "GET / HTTP/0.9\r\nHost: h\r\n\r\n"),
  refuse("HTTP/1.10", 400, "GET / HTTP/1.10\r\nHost: h\r\n\r\n"),
  refuse("HTTP/1", 400, "GET / HTTP/1\r\nHost: h\r\n\r\n"),
  refuse("HTTP/1,1", 400, "GET / HTTP/1,1\r\nHost: h\r\n\r\n"),
  refuse("another protocol", 400, "GET / HTTQ/1.1\r\nHost: h\r\n\r\n"),
  refuse("a method with a colon", 400, "GE:T / HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("a method with NUL", 400, "GET\0 / HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("a method that is too long", 501, `${"A".repeat(25)} / HTTP/1.1\r\nHost: h\r\n\r\n`),
  refuse("a target that is too long", 414, get(`/${"a".repeat(17_000)}`)),
  refuse("an expectation that nobody knows", 417, field("Expect: 200-ok")),
  accept("a method that nobody knows", "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", { target: "/pot" }),
  accept("HTTP/1.0 without a host", "GET /a HTTP/1.0\r\n\r\n", { target: "/a", host: "", keepAlive: false }),
  accept("HTTP/1.0 that is kept alive", "GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", { keepAlive: true }),
  accept("a connection that closes", field("Connection: x, CLOSE"), { keepAlive: false }),
  accept("a connection with empty options", field("Connection: ,, keep-alive ,"), { keepAlive: true }),
  refuse("a connection that is no list", 400, field('Connection: "close"')),
  refuse("a connection with very many options", 400, field(`Connection: ${"a,".repeat(33)}a`)),
];

const targets: readonly CorpusCase[] = [
  refuse("a fragment", 400, get("/a#b")),
  refuse("a fragment in the query", 400, get("/a?b#c")),
  refuse("NUL in the target", 400, get("/a\0b")),
  refuse("a control in the query", 400, get("/a?b\x01")),
  refuse("a byte above ASCII in the target", 400, get("/caf\xe9")),
  refuse("an encoded slash", 400, get("/a%2fb")),
  refuse("an encoded slash in capitals", 400, get("/a%2Fb")),
  refuse("dots and an encoded slash", 400, get("/a/..%2fb")),
  refuse("an encoded backslash", 400, get("/a%5cb")),
  refuse("a backslash", 400, get("/a\\..\\b")),
  refuse("an encoded NUL", 400, get("/a%00b")),
  refuse("an encoded CRLF", 400, get("/a%0d%0ab")),
  refuse("an encoded DEL", 400, get("/a%7f")),
  refuse("a percent sign without digits", 400, get("/a%zz")),
  refuse("a percent sign with one digit", 400, get("/a%2")),
  refuse("a percent sign at the end", 400, get("/a%")),
  refuse("a path above the root", 400, get("/../a")),
  refuse("an encoded path above the root", 400, get("/%2e%2E/a")),
  refuse("a path far above the root", 400, get("/a/../../../b")),
  refuse("two dots with a parameter", 400, get("/a/..;/b")),
  refuse("two dots with a longer parameter", 400, get("/a/..;x=y/b")),
  refuse("one dot with a parameter", 400, get("/a/.;x/b")),
  refuse("two encoded dots with a parameter", 400, get("/a/%2e%2e;/b")),
  refuse("two dots with an encoded parameter", 400, get("/a/..%3b/b")),
  refuse("a parameter without a segment", 400, get("/;/admin")),
  accept("dot segments", get("/a/./b/../c"), { target: "/a/c" }),
  accept("encoded dot segments", get("/a/%2e/b/%2E%2e/c"), { target: "/a/c" }),
  accept("dots at the end", get("/a/b/.."), { target: "/a/" }),
  accept("a dot at the end", get("/a/."), { target: "/a/" }),
  accept("dots back to the root", get("/a/.."), { target: "/" }),
  accept("empty segments", get("//a///b//"), { target: "/a/b/" }),
  accept("empty segments and dots", get("/a//../b"), { target: "/b" }),
  accept("only slashes", get("///"), { target: "/" }),
  accept("three dots", get("/.../a"), { target: "/.../a" }),
  accept("a hidden file", get("/.well-known/x"), { target: "/.well-known/x" }),
  accept("unreserved characters encoded", get("/%61%2Db%7e%5F"), { target: "/a-b~_" }),
  accept("encoding in small letters", get("/%c3%a9%20x"), { target: "/%C3%A9%20x" }),
  accept("double encoding", get("/a/%252e%252e/b%252f"), { target: "/a/%252e%252e/b%252f" }),
  accept("double encoding made by decoding", get("/%25%32%65"), { target: "/%252e" }),
  accept("a parameter of a segment", get("/a;v=1/b;c"), { target: "/a;v=1/b;c" }),
  accept("characters that browsers send raw", get("/a|b{c}"), { target: "/a%7Cb%7Bc%7D" }),
  accept("a query with everything", get("/a?b=%2F..//%zz\\|?&c[]=/../"), { target: "/a?b=%2F..//%zz\\|?&c[]=/../" }),
  accept("a query without a path segment", get("/?"), { target: "/?" }),
  accept("an absolute target", get("http://Other.Example:81/x?y", "Host: h\r\n"), {
    target: "/x?y",
    host: "other.example",
  }),
  accept("an absolute target without a path", get("HTTP://other", "Host: h\r\n"), { target: "/", host: "other" }),
  accept("an absolute target with a query only", get("http://other?x", "Host: h\r\n"), {
    target: "/?x",
    host: "other",
  }),
  accept("an absolute target with dots", get("http://other/a/../b"), { target: "/b", host: "other" }),
  refuse("an absolute target with user information", 400, get("http://u:p@other/")),
  refuse("an absolute target without a host", 400, get("http:///a")),
  refuse("an absolute target with another scheme", 400, get("file:///etc/passwd")),
  refuse("an absolute target above its root", 400, get("http://other/../a")),
  refuse("a relative target", 400, get("a/b")),
  refuse("a target that begins with a query", 400, get("?a")),
  refuse("an asterisk with GET", 400, get("*")),
  refuse("an asterisk with more behind it", 400, "OPTIONS *a HTTP/1.1\r\nHost: h\r\n\r\n"),
  accept("an asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", { target: "*" }),
  accept("OPTIONS of a whole other server", "OPTIONS http://other HTTP/1.1\r\nHost: h\r\n\r\n", {
    target: "*",
    host: "other",
  }),
  refuse("host:port without CONNECT", 400, get("h:80")),
  refuse("CONNECT to a path", 400, "CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n"),
  refuse("CONNECT without a port", 400, "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n"),
  accept("CONNECT with data behind it", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n\x16\x03\x01", {
    host: "h",
    left: "\x16\x03\x01",
  }),
  accept(
    "an upgrade with data behind it",
    `${get("/ws", "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")}\x81\x05hello`,
    {
      left: "\x81\x05hello",
    },
  ),
];

const withHost = (host: string): string => get("/", `Host: ${host}\r\n`);

const hosts: readonly CorpusCase[] = [
  refuse("no host", 400, "GET / HTTP/1.1\r\n\r\n"),
  refuse("two hosts", 400, get("/", "Host: a\r\nHost: b\r\n")),
  refuse("two equal hosts", 400, get("/", "Host: a\r\nhost: a\r\n")),
  refuse("a host with user information", 400, withHost("u@h")),
  refuse("a host with user and password", 400, withHost("u:p@h")),
  refuse("a host with a space", 400, withHost("a b")),
  refuse("a host with a tab", 400, withHost("a\tb")),
  refuse("a host with a comma", 400, withHost("a,b")),
  refuse("a host with a slash", 400, withHost("a/b")),
  refuse("a host with a query", 400, withHost("a?b")),
  refuse("a host with a percent sign", 400, withHost("a%2eb")),
  refuse("a host with a byte above ASCII", 400, withHost("caf\xe9")),
  refuse("a host with a backslash", 400, withHost("a\\b")),
  refuse("a host with quotes", 400, withHost('"a"')),
  refuse("a host with a scheme", 400, withHost("http://a")),
  refuse("a host with an empty label", 400, withHost("a..b")),
  refuse("a host of a dot", 400, withHost(".")),
  refuse("a host with an empty port", 400, withHost("a:")),
  refuse("a host with port 0", 400, withHost("a:0")),
  refuse("a host with port 65536", 400, withHost("a:65536")),
  refuse("a host with a long port", 400, withHost("a:000080")),
  refuse("a host with letters in the port", 400, withHost("a:80x")),
  refuse("a host with two ports", 400, withHost("a:80:81")),
  refuse("a host of a port only", 400, withHost(":80")),
  refuse("an IPv6 host without an end", 400, withHost("[::1")),
  refuse("an IPv6 host without brackets", 400, withHost("::1")),
  refuse("an IPv6 host with nine groups", 400, withHost("[1:2:3:4:5:6:7:8:9]")),
  refuse("an IPv6 host with two gaps", 400, withHost("[1::2::3]")),
  refuse("an IPv6 host with a zone", 400, withHost("[fe80::1%25eth0]")),
  refuse("an IPv6 host with something behind it", 400, withHost("[::1]x")),
  refuse("an empty IPv6 host", 400, withHost("[]")),
  refuse("a bad host beside an absolute target", 400, get("http://a/", "Host: b c\r\n")),
  accept("a host in capitals with a dot behind", withHost("EXAMPLE.com.:8080"), { host: "example.com" }),
  accept("a host with an underscore", withHost("my_service"), { host: "my_service" }),
  accept("an IPv6 host", withHost("[2001:DB8::1]:80"), { host: "[2001:db8::1]" }),
  accept("an IPv6 host with IPv4 in it", withHost("[::ffff:1.2.3.4]"), { host: "[::ffff:1.2.3.4]" }),
  accept("an empty host", withHost(""), { host: "" }),
];

/** What clients send. */
export const requestCorpus: readonly CorpusCase[] = [
  ...lengths,
  ...codings,
  ...chunks,
  ...trailers,
  ...lines,
  ...starts,
  ...targets,
  ...hosts,
];

const answer = (fields: string, body = "", line = "HTTP/1.1 200 OK"): string => `${line}\r\n${fields}\r\n${body}`;

/** What servers send; each refusal is a 502 to the client. */
export const responseCorpus: readonly CorpusCase[] = [
  refuse(
    "content-length and transfer-encoding",
    502,
    answer("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  ),
  refuse("two equal lengths", 502, answer("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
  refuse("a list of lengths", 502, answer("Content-Length: 5, 5\r\n", "hello")),
  refuse("a length with a plus", 502, answer("Content-Length: +5\r\n", "hello")),
  refuse("gzip before chunked", 502, answer("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
  refuse("identity", 502, answer("Transfer-Encoding: identity\r\n", "")),
  refuse("chunked in HTTP/1.0", 502, answer("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "HTTP/1.0 200 OK")),
  refuse("a chunk size with space", 502, answer("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n")),
  refuse("chunk data without an end", 502, answer("Transfer-Encoding: chunked\r\n", "5\r\nhelloX")),
  refuse("a folded field", 502, answer("A: b\r\n c\r\n")),
  refuse("a bare LF", 502, "HTTP/1.1 200 OK\nA: b\r\n\r\n"),
  refuse("space before a colon", 502, answer("Content-Length : 5\r\n", "hello")),
  refuse("NUL in a value", 502, answer("A: \0\r\n")),
  refuse("a set-cookie trailer", 502, answer("Transfer-Encoding: chunked\r\n", "0\r\nSet-Cookie: a=b\r\n\r\n")),
  refuse("HTTP/2.0", 502, answer("", "", "HTTP/2.0 200 OK")),
  refuse("HTTP/1.2", 502, answer("", "", "HTTP/1.2 200 OK")),
  refuse("another protocol", 502, answer("", "", "ICY 200 OK")),
  refuse("an empty line before it", 502, `\r\n${answer("")}`),
  refuse("a status of two digits", 502, answer("", "", "HTTP/1.1 20 OK")),
  refuse("a status of four digits", 502, answer("", "", "HTTP/1.1 2000 OK")),
  refuse("a status below 100", 502, answer("", "", "HTTP/1.1 099 OK")),
  refuse("a status of letters", 502, answer("", "", "HTTP/1.1 abc OK")),
  refuse("two spaces before the status", 502, answer("", "", "HTTP/1.1  200 OK")),
  refuse("NUL in the reason", 502, answer("", "", "HTTP/1.1 200 O\0K")),
  accept("a length", answer("Content-Length: 5\r\n", "helloX"), { body: "hello", left: "X", keepAlive: true }),
  accept("no reason", answer("Content-Length: 0\r\n", "", "HTTP/1.1 200"), { body: "" }),
  accept("an empty reason", answer("Content-Length: 0\r\n", "", "HTTP/1.1 200 "), { body: "" }),
  accept("a reason above ASCII", answer("Content-Length: 0\r\n", "", "HTTP/1.1 404 Non trouv\xe9"), { body: "" }),
  accept("204 with a length", answer("Content-Length: 5\r\n", "hello", "HTTP/1.1 204 No Content"), {
    body: "",
    left: "hello",
    keepAlive: false,
  }),
  accept("204 with length 0", answer("Content-Length: 0\r\n", "", "HTTP/1.1 204 No Content"), {
    body: "",
    keepAlive: true,
  }),
  accept("304 with a length", answer("Content-Length: 5\r\n", "", "HTTP/1.1 304 Not Modified"), {
    body: "",
    keepAlive: true,
  }),
  accept("an interim answer", answer("Link: x\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 103 Early Hints"), {
    body: "",
    left: "HTTP/1.1 200 OK\r\n",
  }),
  accept(
    "another protocol from here",
    answer("Upgrade: x\r\nConnection: upgrade\r\n", "abc", "HTTP/1.1 101 Switching Protocols"),
    { left: "abc" },
  ),
  accept("a body until the end", answer("A: b\r\n", "all of it"), { body: "all of it", keepAlive: false }),
  accept("HTTP/1.0 until the end", answer("", "all of it", "HTTP/1.0 200 OK"), { body: "all of it", keepAlive: false }),
  {
    ...accept("HEAD with a length", answer("Content-Length: 5\r\n", "HTTP"), {
      body: "",
      left: "HTTP",
      keepAlive: true,
    }),
    to: "HEAD",
  },
  {
    ...accept("HEAD with chunked", answer("Transfer-Encoding: chunked\r\n", "HTTP"), { body: "", left: "HTTP" }),
    to: "HEAD",
  },
  { ...accept("CONNECT with a length", answer("Content-Length: 5\r\n", "hello"), { left: "hello" }), to: "CONNECT" },
];
