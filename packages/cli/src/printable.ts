/** What others chose (the words of a process, the answer of a stranger's socket), for a terminal that would do what control characters say. */

/** The same text, with control characters but for ends of lines as they are written in source code. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) =>
    char === "\n" ? char : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
