/**
 * The batching of writes. Frames are copied to a stage per connection; every stage that has something is flushed once at the end
 * of a turn of the event loop, since three quarters of the cost of a request are system calls (docs/performance.md). Stages are
 * lent to connections that have something to write, so that an idle connection holds none. They come in two sizes: the replies of one
 * caller in one turn nearly always fit the small one, and a hundred callers that all have something to be told hold 800 KB and not 6 MB.
 */

/** The most that a connection stages. */
export const stageBytes = 64 * 1024;
const smallStageBytes = 8 * 1024;

const free = { small: [] as Buffer[], large: [] as Buffer[] };
/** What is given back beyond these is left to the collector: 2 MB and 4 MB. */
const kept = { small: 256, large: 64 };

/** A stage for `size` bytes, and as a rule for more. */
export function takeStage(size: number): Buffer {
  if (size <= smallStageBytes) return free.small.pop() ?? Buffer.allocUnsafeSlow(smallStageBytes);
  return free.large.pop() ?? Buffer.allocUnsafeSlow(stageBytes);
}

/** Gives a stage back that the kernel has taken whole. */
export function returnStage(stage: Buffer): void {
  if (stage.length === smallStageBytes) {
    if (free.small.length < kept.small) free.small.push(stage);
  } else if (free.large.length < kept.large) free.large.push(stage);
}

/** The large stage that `stage`, which is full, goes on in. */
export function widerStage(stage: Buffer, staged: number): Buffer {
  const wider = takeStage(stageBytes);
  stage.copy(wider, 0, 0, staged);
  returnStage(stage);
  return wider;
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
