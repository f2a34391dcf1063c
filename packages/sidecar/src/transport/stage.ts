/**
 * The batching of writes. Frames are copied to a stage per connection; every stage that has something is flushed once at the end
 * of a turn of the event loop, since three quarters of the cost of a request are system calls (docs/performance.md). Stages are
 * lent to connections that have something to write, so that an idle connection holds none.
 */

export const stageBytes = 64 * 1024;
const keptStages = 256;
const free: Buffer[] = [];

export function takeStage(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(stageBytes);
}

/** Gives a stage back that the kernel has taken whole. */
export function returnStage(stage: Buffer): void {
  if (free.length < keptStages) free.push(stage);
}

export interface Flushable {
  /** Writes what is staged. */
  flush(): void;
}

let dirty: Flushable[] = [];
let spare: Flushable[] = [];
let scheduled = false;

/** Flushes `connection` at the end of this turn. The caller sees to it that it is enrolled once. */
export function enroll(connection: Flushable): void {
  dirty.push(connection);
  if (!scheduled) {
    scheduled = true;
    setImmediate(flushAll);
  }
}

function flushAll(): void {
  scheduled = false;
  const now = dirty;
  dirty = spare;
  for (let index = 0; index < now.length; index++) (now[index] as Flushable).flush();
  now.length = 0;
  spare = now;
}
