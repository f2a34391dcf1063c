/** Where discovery is at an ensemble: the layouts' places, also below the roots that applications are given (a chroot). */
import type { Layouts, Located } from "../layout.ts";

export interface Places {
  /** The nodes below which discovery is. */
  readonly roots: readonly string[];
  locate(path: string): Located;
  /** The application whose instances are the children of this path. */
  applicationOf(path: string): string | undefined;
}

/** `chroots` are written as in a client's connect string: `/company/team`. */
export function placesOf(layouts: Layouts, chroots: readonly string[] = []): Places {
  const inner = (path: string): string => {
    for (const chroot of chroots) if (path.startsWith(`${chroot}/`)) return path.slice(chroot.length);
    return path;
  };
  return {
    roots: ["", ...chroots].flatMap((chroot) => layouts.roots.map((root) => chroot + root)),
    locate: (path) => layouts.locate(inner(path)),
    applicationOf: (path) => /^\/services\/([^/]+)$/.exec(inner(path))?.[1],
  };
}
