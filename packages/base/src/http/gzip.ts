/** Compression of small services' messages: answers for who takes it, requests within the limit that their body has unzipped. */
import zlib from "node:zlib";

/** Below, compressing costs more than it saves. */
const worthBytes = 1_024;
/** An answer that is given again and again (a whole list) is compressed once, as long as its service keeps it. */
const once = new WeakMap<Buffer, Promise<Buffer>>();

/** Whether an `Accept-Encoding` allows gzip. */
export function takesGzip(accept: string | undefined): boolean {
  for (const item of (accept ?? "").split(",")) {
    const [coding = "", ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    if (coding === "gzip" || coding === "x-gzip") return !parameters.some((one) => /^q=0(\.0*)?$/.test(one));
  }
  return false;
}

/** The body as gzip; undefined where that is not worth it. */
export async function compressed(body: Buffer): Promise<Buffer | undefined> {
  if (body.length < worthBytes) return undefined;
  let zipped = once.get(body);
  if (zipped === undefined) {
    zipped = new Promise((resolve, reject) => {
      zlib.gzip(body, { level: 4 }, (error, result) => (error === null ? resolve(result) : reject(error)));
    });
    once.set(body, zipped);
  }
  return zipped;
}

/** The body of a request as it was before its encoding; what unzips to more than `maxBytes` is not unzipped further. */
export function unzipped(
  encoding: string | undefined,
  body: Buffer,
  maxBytes: number,
): Promise<Buffer | "too large" | "malformed" | "unknown encoding"> {
  const coding = (encoding ?? "identity").trim().toLowerCase();
  if (coding === "identity" || coding === "") return Promise.resolve(body);
  if (coding !== "gzip" && coding !== "x-gzip") return Promise.resolve("unknown encoding");
  return new Promise((resolve) => {
    zlib.gunzip(body, { maxOutputLength: maxBytes }, (error, result) => {
      if (error === null) resolve(result);
      else resolve((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE" ? "too large" : "malformed");
    });
  });
}
