import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import { FrameError } from "../codec.ts";
import { frameLaws } from "../laws.ts";
import { FrameCutter, PartialBytes } from "./channel.ts";
import { frameHeadBytes, type StreamFrame, streamCodec } from "./codec.ts";
import { decodeMessage } from "./decode.ts";
import { encodeMessage } from "./encode.ts";
import { maxHelloFrameBytes, maxLabels, maxRegistrationBytes, maxStreamFrameBytes } from "./limits.ts";
import {
  catalogueKeyOf,
  decodeCatalogueEntry,
  decodeInstance,
  decodeInstanceKey,
  encodeCatalogueEntry,
  encodeCatalogueKey,
  encodeInstance,
  encodeInstanceKey,
  instanceKeyOf,
  type StreamInstance,
} from "./record.ts";
import { arbitraryCatalogueEntry, arbitraryInstance, arbitraryMessage } from "./testing/arbitrary.ts";

function frameOf(bytes: Buffer): StreamFrame {
  const frame = streamCodec.view();
  assert.equal(streamCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
  return frame;
}

/** Reads a frame as far as it can be read; only FrameError may come of it. */
function look(frame: StreamFrame): void {
  try {
    decodeMessage(frame);
  } catch (error) {
    assert.ok(error instanceof FrameError, String(error));
  }
}

/** Labels have no prototype when they come from the wire. */
function plain(instance: StreamInstance): unknown {
  return { ...instance, labels: Object.entries(instance.labels).sort() };
}

frameLaws("the registry stream", streamCodec, arbitraryMessage.map(encodeMessage), { look });

describe("messages of the registry stream", () => {
  it("are read as they were written", () => {
    fc.assert(
      fc.property(arbitraryMessage, (message) => {
        assert.deepEqual({ ...decodeMessage(frameOf(encodeMessage(message))) }, message);
      }),
      { numRuns: 1_000 },
    );
  });

  it("are refused when cut off anywhere in the payload", () => {
    fc.assert(
      fc.property(arbitraryMessage, fc.nat(), (message, cut) => {
        const whole = encodeMessage(message);
        const size = frameHeadBytes + (cut % Math.max(1, whole.length - frameHeadBytes));
        if (size >= whole.length) return;
        const bytes = Buffer.from(whole.subarray(0, size));
        bytes.writeUInt32BE(size - frameHeadBytes, 4);
        assert.throws(() => decodeMessage(frameOf(bytes)), FrameError);
      }),
    );
  });

  it("may be longer than is known, which a later version needs", () => {
    fc.assert(
      fc.property(arbitraryMessage, fc.uint8Array({ maxLength: 8 }), (message, more) => {
        const bytes = Buffer.concat([encodeMessage(message), more]);
        bytes.writeUInt32BE(bytes.length - frameHeadBytes, 4);
        assert.deepEqual({ ...decodeMessage(frameOf(bytes)) }, message);
      }),
    );
  });

  it("of unknown types are passed over from 0x80 on and refused below", () => {
    const bytes = encodeMessage({ type: "reported" });
    bytes[3] = 0x80;
    assert.equal(decodeMessage(frameOf(bytes)), undefined);
    bytes[3] = 0x7f;
    assert.throws(() => decodeMessage(frameOf(bytes)), FrameError);
  });

  it("beyond a limit are not written", () => {
    const text = "x".repeat(2_000);
    assert.throws(
      () => encodeMessage({ type: "goodbye", reason: "orderly", text }),
      (error) => isMeshError(error, "stream.limit"),
    );
    const records = Array.from({ length: 40 }, () => Buffer.alloc(32 * 1024));
    const digest = { high: 0, low: 0 };
    const revision = { epoch: 1, counter: 1 };
    const base = { feed: "service", name: "a/b::", revision, digest, first: true, last: true, total: 40 } as const;
    assert.throws(
      () => encodeMessage({ type: "snapshot", ...base, records }),
      (error) => isMeshError(error, "stream.limit"),
    );
  });
});

describe("records", () => {
  it("of instances are read as they were written, whatever order the labels had", () => {
    fc.assert(
      fc.property(arbitraryInstance, (instance) => {
        const record = encodeInstance(instance);
        assert.deepEqual(plain(decodeInstance(instance.service, record)), plain(instance));
        const reversed = Object.fromEntries(Object.entries(instance.labels).reverse());
        if (!("__proto__" in instance.labels && Object.hasOwn(instance.labels, "__proto__"))) {
          assert.deepEqual(encodeInstance({ ...instance, labels: reversed }), record);
        }
        assert.deepEqual(instanceKeyOf(record), encodeInstanceKey(instance));
        const { host, application, appPort } = instance;
        assert.deepEqual(decodeInstanceKey(encodeInstanceKey(instance)), { host, application, appPort });
      }),
      { numRuns: 500 },
    );
  });

  it("of the catalogue are read as they were written", () => {
    fc.assert(
      fc.property(arbitraryCatalogueEntry, (entry) => {
        const record = encodeCatalogueEntry(entry);
        assert.deepEqual(decodeCatalogueEntry(record), entry);
        assert.deepEqual(catalogueKeyOf(record), encodeCatalogueKey(entry.service));
      }),
    );
  });

  it("with garbage give their own error only", () => {
    const readers = [(bytes: Buffer) => decodeInstance("a/b::", bytes), decodeCatalogueEntry, decodeInstanceKey];
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        arbitraryInstance,
        fc.nat(),
        fc.nat(),
        (garbage, instance, at, to) => {
          const changed = encodeInstance(instance);
          changed[at % changed.length] = to;
          for (const bytes of [Buffer.from(garbage), changed, changed.subarray(0, at % changed.length)]) {
            for (const read of readers) {
              try {
                read(bytes);
              } catch (error) {
                assert.ok(error instanceof FrameError, String(error));
              }
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("keep labels that are called like members of objects apart from them", () => {
    const [instance] = fc.sample(arbitraryInstance, 1) as [StreamInstance];
    const labels = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
    const read = decodeInstance("a/b::", encodeInstance({ ...instance, labels })).labels;
    assert.deepEqual(Object.entries(read), [
      ["__proto__", "x"],
      ["constructor", "y"],
    ]);
    assert.equal(({} as Record<string, unknown>)["x"], undefined);
    assert.equal(Object.getPrototypeOf(read), null);
  });

  it("beyond a limit are not written", () => {
    const [instance] = fc.sample(arbitraryInstance, 1) as [StreamInstance];
    const labels = Object.fromEntries(Array.from({ length: maxLabels + 1 }, (_, index) => [`l${index}`, ""]));
    const registration = { dialect: "native", text: "x".repeat(maxRegistrationBytes + 1) };
    for (const wrong of [{ labels }, { registration }, { port: 65_536 }, { weight: 0.5 }, { incarnation: -1 }]) {
      assert.throws(
        () => encodeInstance({ ...instance, ...wrong }),
        (error) => isMeshError(error, "stream.limit"),
        JSON.stringify(wrong),
      );
    }
  });
});

describe("the frame cutter", () => {
  it("gives the same frames however the bytes arrive", () => {
    fc.assert(
      fc.property(
        fc.array(arbitraryMessage, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
        (messages, sizes) => {
          const frames = messages.map(encodeMessage);
          const bytes = Buffer.concat(frames);
          const got: Buffer[] = [];
          const cutter = new FrameCutter(maxStreamFrameBytes, (frame) => {
            got.push(streamCodec.encode(frame));
            return true;
          });
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] as number;
            assert.ok(cutter.read(Buffer.from(bytes.subarray(at, at + size)), 0));
            at += size;
          }
          assert.deepEqual(got, frames);
          assert.equal(cutter.heldBytes, 0);
        },
      ),
    );
  });

  it("keeps within what all incomplete frames may take together, and gives it back", () => {
    const budget = new PartialBytes(45);
    const frame = encodeMessage({ type: "goodbye", reason: "orderly", text: "x".repeat(30) });
    const cutters = [0, 1].map(() => new FrameCutter(maxStreamFrameBytes, () => true, budget));
    cutters[0]?.read(frame.subarray(0, 30), 0);
    assert.ok(budget.used >= 30 && budget.used <= 45);
    assert.throws(() => cutters[1]?.read(frame.subarray(0, 20), 0), FrameError);
    cutters[0]?.close();
    assert.equal(budget.used, 0);
    cutters[1]?.read(frame.subarray(0, 10), 0);
    cutters[1]?.read(frame.subarray(10), 0);
    assert.equal(budget.used, 0);
  });

  it("says for how long a frame has been incomplete, from its own first byte", () => {
    const frame = encodeMessage({ type: "goodbye", reason: "orderly", text: "x".repeat(30) });
    const cutter = new FrameCutter(maxStreamFrameBytes, () => true);
    cutter.read(frame, 1);
    assert.equal(cutter.unfinishedMs(50), 0);
    cutter.read(frame.subarray(0, 1), 100);
    for (let at = 1; at < frame.length - 1; at++) cutter.read(frame.subarray(at, at + 1), 100 + at);
    assert.equal(cutter.unfinishedMs(200), 100);
    const endAndBegin = Buffer.concat([frame.subarray(-1), frame.subarray(0, 5)]);
    cutter.read(endAndBegin, 300);
    assert.equal(cutter.unfinishedMs(310), 10);
    cutter.restartFrameTime(1_000);
    assert.equal(cutter.unfinishedMs(1_001), 1);
    cutter.read(frame.subarray(5), 2_000);
    assert.equal(cutter.unfinishedMs(3_000), 0);
  });

  it("refuses a frame above its limit as soon as the length is there", () => {
    const head = Buffer.from([0xd5, 0x4d, 1, 1, 0, 0, 0, 0]);
    head.writeUInt32BE(maxHelloFrameBytes, 4);
    const cutter = new FrameCutter(maxHelloFrameBytes, () => true);
    assert.throws(() => cutter.read(head, 0), FrameError);
    head.writeUInt32BE(0xffff_ffff, 4);
    assert.throws(() => new FrameCutter(maxStreamFrameBytes, () => true).read(head, 0), FrameError);
  });
});
