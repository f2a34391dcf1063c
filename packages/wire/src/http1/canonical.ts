/**
 * Why this exists: one canonical form of path and host, which is what is routed, authorised and forwarded. Two parts of a system that
 * read one path differently are how access rules are walked around.
 */
/** A path's canonical text; raises `Http1Error` (400) for a path that cannot have one. For rules and configuration; heads have it already. */
export function canonicalPath(_path: string): string {
  throw new Error("not built yet");
}

/** `host[:port]` in canonical form; raises `Http1Error` (400). */
export function canonicalHost(_authority: string): { readonly host: string; readonly port: number } {
  throw new Error("not built yet");
}
