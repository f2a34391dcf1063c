/**
 * The owner of long-lived things. What is deferred to a scope is ended when the scope is, last in, first out; a scope ends once.
 * `await using scope = new Scope()` ends it with the block.
 */
import { messageOf } from "./errors.ts";
import type { Log } from "./log.ts";

type End = () => void | Promise<void>;

export class Scope implements AsyncDisposable {
  readonly #ends: End[] = [];
  readonly #abort = new AbortController();
  readonly #log: Log | undefined;
  #ending: Promise<void> | undefined;

  constructor(log?: Log) {
    this.#log = log;
  }

  /** Aborted when the scope begins to end. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Runs `end` when the scope ends; at once if it has already ended. */
  defer(end: End): void {
    if (this.#ending === undefined) this.#ends.push(end);
    else void this.#run(end);
  }

  /** Keeps `thing` until the scope ends, then disposes of it. */
  use<T extends AsyncDisposable | Disposable>(thing: T): T {
    this.defer(
      () => (Symbol.asyncDispose in thing ? thing[Symbol.asyncDispose]() : thing[Symbol.dispose]()) as Promise<void>,
    );
    return thing;
  }

  /** A scope that ends with this one, or earlier. */
  child(): Scope {
    return this.use(new Scope(this.#log));
  }

  end(): Promise<void> {
    this.#ending ??= this.#finish();
    return this.#ending;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }

  async #finish(): Promise<void> {
    this.#abort.abort(new DOMException("the scope has ended", "AbortError"));
    while (this.#ends.length > 0) await this.#run(this.#ends.pop() as End);
  }

  async #run(end: End): Promise<void> {
    try {
      await end();
    } catch (error) {
      this.#log?.warn({ error: messageOf(error) }, "an owned thing did not end cleanly");
    }
  }
}
