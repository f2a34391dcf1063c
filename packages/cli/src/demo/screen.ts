/**
 * Puts the picture where people look. On a terminal it is drawn over itself, each line in place and in one write, so that nothing
 * flickers; elsewhere there are only lines: what happened, when it happens, and the picture at the end of each step.
 */

export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

export interface Screen {
  readonly live: boolean;
  /** Draws a picture over the last one. Only a live screen does. */
  draw(lines: readonly string[]): void;
  /** A line, or the picture at the end of a step, for a screen that is not live. */
  print(lines: readonly string[]): void;
  /** Leaves the last picture and gives the cursor back. */
  end(): void;
}

const hideCursor = "\x1b[?25l";
const showCursor = "\x1b[?25h";
/** Terminals that know synchronized output show all of it at once; others ignore these. */
const beginFrame = "\x1b[?2026h";
const endFrame = "\x1b[?2026l";
const clearToLineEnd = "\x1b[K";
const clearBelow = "\x1b[J";

/** Of a terminal that does not know its size, or says 0, that of the first ones. */
export function sizeOf(output: Output): { readonly columns: number; readonly rows: number } {
  return { columns: output.columns || 80, rows: output.rows || 24 };
}

export function openScreen(output: Output): Screen {
  return output.isTTY === true ? liveScreen(output) : lineScreen(output);
}

function liveScreen(output: Output): Screen {
  let drawn = 0;
  let open = true;
  return {
    live: true,
    draw(lines) {
      if (!open) return;
      // A picture higher than the terminal would scroll, and could not be drawn over: its end is left out.
      const shown = lines.slice(0, Math.max(1, sizeOf(output).rows - 1));
      const up = drawn === 0 ? hideCursor : `\x1b[${drawn}A\r`;
      const body = shown.map((line) => `${line}${clearToLineEnd}\n`).join("");
      output.write(`${beginFrame}${up}${body}${clearBelow}${endFrame}`);
      drawn = shown.length;
    },
    print() {},
    end() {
      if (open && drawn > 0) output.write(showCursor);
      open = false;
    },
  };
}

function lineScreen(output: Output): Screen {
  return {
    live: false,
    draw() {},
    print(lines) {
      output.write(`${lines.join("\n")}\n`);
    },
    end() {},
  };
}
