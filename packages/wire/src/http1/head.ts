/**
 * Why this exists: a received head as a view. One view serves a connection; it holds offsets into the bytes that were read, so that a
 * field which nobody asks for costs no allocation.
 */
import { canonicalHostAt } from "./canonical.ts";
import { tokensOf } from "./lists.ts";
import { type FieldId, field, sameName } from "./names.ts";

/** How the body of a message ends (RFC 9112 section 6.3). `tunnel`: what follows is no HTTP message (101, or 2xx to CONNECT). */
export const framing = { none: 0, length: 1, chunked: 2, untilClose: 3, tunnel: 4 } as const;
export type Framing = (typeof framing)[keyof typeof framing];

export const method = {
  other: 0,
  GET: 1,
  HEAD: 2,
  POST: 3,
  PUT: 4,
  DELETE: 5,
  CONNECT: 6,
  OPTIONS: 7,
  TRACE: 8,
  PATCH: 9,
} as const;
export type Method = (typeof method)[keyof typeof method];

export const targetForm = { origin: 0, absolute: 1, authority: 2, asterisk: 3 } as const;
export type TargetForm = (typeof targetForm)[keyof typeof targetForm];

const nothing: Buffer = Buffer.alloc(0);

/** Heads up to this size are retained one in the memory of the other, which is taken in such steps; a larger one has its own. */
const ownBytes = 2_048;
const ownStep = 256;

/** Numbers a field has in the table: where its name and its value begin and end, and its id. */
const stride = 5;

/** Most heads fit; the table grows from nothing by doubling, so that trailers which never come take no memory. */
const firstCapacity = 16;

const noTable: Int32Array = new Int32Array(0);

/** A table of fields: of a head, or of a chunked body's trailers. Offsets are absolute in `bytes`; values are without space around them. */
export class Fields {
  bytes: Buffer = nothing;
  count = 0;
  #table: Int32Array = noTable;
  /** A bit for each id that is there, so that most questions are answered without a walk. */
  #seenLow = 0;
  #seenHigh = 0;

  /** The known id of field `index`; 0 for a name that `names.ts` does not list. */
  id(index: number): FieldId | 0 {
    return this.#table[index * stride + 4] as FieldId | 0;
  }
  nameStart(index: number): number {
    return this.#table[index * stride] as number;
  }
  nameEnd(index: number): number {
    return this.#table[index * stride + 1] as number;
  }
  valueStart(index: number): number {
    return this.#table[index * stride + 2] as number;
  }
  valueEnd(index: number): number {
    return this.#table[index * stride + 3] as number;
  }

  has(id: FieldId): boolean {
    return ((id < 32 ? this.#seenLow >>> id : this.#seenHigh >>> (id - 32)) & 1) === 1;
  }

  /** The index of the first field of this id at or after `from`, or -1. Costs nothing when there is none. */
  find(id: FieldId, from = 0): number {
    if (!this.has(id)) return -1;
    for (let index = from; index < this.count; index++) {
      if (this.#table[index * stride + 4] === id) return index;
    }
    return -1;
  }

  /** The same by any name, in lower case. */
  findName(name: string, from = 0): number {
    for (let index = from; index < this.count; index++) {
      if (sameName(this.bytes, this.nameStart(index), this.nameEnd(index), name)) return index;
    }
    return -1;
  }

  /** Texts are decoded as latin1, byte for byte. */
  name(index: number): string {
    return this.bytes.toString("latin1", this.nameStart(index), this.nameEnd(index));
  }
  value(index: number): string {
    return this.bytes.toString("latin1", this.valueStart(index), this.valueEnd(index));
  }

  /** Internal to the codec, as the two below. */
  clear(): void {
    this.count = 0;
    this.#seenLow = 0;
    this.#seenHigh = 0;
  }

  add(nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, id: number): void {
    const at = this.count * stride;
    if (at === this.#table.length) this.#grow();
    const table = this.#table;
    table[at] = nameStart;
    table[at + 1] = nameEnd;
    table[at + 2] = valueStart;
    table[at + 3] = valueEnd;
    table[at + 4] = id;
    this.count++;
    if (id < 32) this.#seenLow |= 1 << id;
    else this.#seenHigh |= 1 << (id - 32);
  }

  /** The bytes have moved to `bytes`, `by` to the left. */
  move(bytes: Buffer, by: number): void {
    this.bytes = bytes;
    for (let at = 0; at < this.count * stride; at += stride) {
      for (let part = 0; part < 4; part++) this.#table[at + part] = (this.#table[at + part] as number) - by;
    }
  }

  #grow(): void {
    const larger = new Int32Array(Math.max(firstCapacity * stride, this.#table.length * 2));
    larger.set(this.#table);
    this.#table = larger;
  }
}

/**
 * The head of a request or a response. Valid until the next `read` of its reader; after `retain` until the reader reports the next head.
 */
export class Http1Head {
  readonly fields: Fields = new Fields();
  bytes: Buffer = nothing;
  /** The whole head in `bytes`, the empty line included, and where the first field begins. */
  start = 0;
  end = 0;
  linesStart = 0;
  /** The minor version: 1 or 0. */
  minor = 1;
  framing: Framing = framing.none;
  /** The stated length; -1 when none is stated. Where `framing` is not `length` (HEAD, 304) it describes and does not frame. */
  contentLength = -1;
  /** False when the connection must not be used again after this message (RFC 9112 section 9.3), or when doubt is left. */
  keepAlive = true;
  /** The sender waits for `100 Continue` (RFC 9110 section 10.1.1); never set for HTTP/1.0. */
  expectContinue = false;
  /** `Connection` has `upgrade` and there is an `Upgrade` field (RFC 9110 section 7.8); `upgradeProtocol()` names it. */
  upgrade = false;
  /** `Connection` names fields that are not known by themselves to be for one hop. */
  nominates = false;

  /** Requests. */
  method: Method = method.other;
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  form: TargetForm = targetForm.origin;
  /** The path in canonical form: the raw range of the target where nothing had to change. `*` for asterisk-form, empty for CONNECT. */
  pathBytes: Buffer = nothing;
  pathStart = 0;
  pathEnd = 0;
  /** The query with its `?` in `bytes`, byte-exact; empty when there is none. */
  queryStart = 0;
  queryEnd = 0;
  /** The authority in `bytes`: the target's, else the value of `Host`; checked, and empty when there is none. */
  authorityStart = 0;
  authorityEnd = 0;
  /** True when the start line is canonical as received, so that it is copied as it came. */
  canonical = true;

  /** Responses: 0 for a request. */
  status = 0;
  /** Responses: the reason phrase, often empty. */
  reasonStart = 0;
  reasonEnd = 0;

  /** Where heads are retained; nothing before the first one and after `forget`. */
  #own: Buffer = nothing;

  methodText(): string {
    return this.bytes.toString("latin1", this.start, this.methodEnd);
  }
  /** The canonical path, without the query. */
  path(): string {
    return this.pathBytes.toString("latin1", this.pathStart, this.pathEnd);
  }
  query(): string {
    return this.bytes.toString("latin1", this.queryStart, this.queryEnd);
  }
  /** Canonical host: lower case, without trailing dot and port; of the absolute form's authority, else of `Host`. Empty when there is none. */
  host(): string {
    return canonicalHostAt(this.bytes, this.authorityStart, this.authorityEnd).host;
  }
  /** The port that goes with `host()`; 0 when none is stated. */
  port(): number {
    return canonicalHostAt(this.bytes, this.authorityStart, this.authorityEnd).port;
  }
  /** The first token of `Upgrade`, in lower case; empty when this is no upgrade. */
  upgradeProtocol(): string {
    const index = this.upgrade ? this.fields.find(field.upgrade) : -1;
    return index < 0 ? "" : (tokensOf(this.fields.value(index))[0] ?? "");
  }

  /** Copies the head out of the shared buffer, so that it stays readable until the next head. Offsets change with it. */
  retain(): void {
    const size = this.end - this.start;
    const copy = size > ownBytes ? Buffer.allocUnsafeSlow(size) : this.#ownMemory(size);
    this.bytes.copy(copy, 0, this.start, this.end);
    this.move(copy, this.start);
  }

  /** The heads of one connection are much alike: the memory of the last one does for the next. */
  #ownMemory(size: number): Buffer {
    if (this.#own.length < size) this.#own = Buffer.allocUnsafeSlow(Math.ceil(size / ownStep) * ownStep);
    return this.#own;
  }

  /** Internal to the codec: the bytes have moved to `bytes`, `by` to the left. */
  move(bytes: Buffer, by: number): void {
    if (this.pathBytes === this.bytes) {
      this.pathBytes = bytes;
      this.pathStart -= by;
      this.pathEnd -= by;
    }
    this.bytes = bytes;
    this.start -= by;
    this.end -= by;
    this.linesStart -= by;
    this.methodEnd -= by;
    this.targetStart -= by;
    this.targetEnd -= by;
    this.queryStart -= by;
    this.queryEnd -= by;
    this.authorityStart -= by;
    this.authorityEnd -= by;
    this.reasonStart -= by;
    this.reasonEnd -= by;
    this.fields.move(bytes, by);
  }

  /** Internal to the codec: lets go of all bytes. */
  forget(): void {
    this.bytes = nothing;
    this.pathBytes = nothing;
    this.fields.bytes = nothing;
    this.fields.clear();
    this.#own = nothing;
  }
}
