/**
 * Why this exists: what every frame codec must hold, written once. Each protocol folder calls `frameLaws` in a test of its own with
 * frames of its own. Test support: no part of the product imports it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type FrameCodec, FrameError, maxFrameBytes } from "./codec.ts";

/** How often each law is tried; fast-check prints the seed of a failure. */
const runs = 200;

/** What codecs may allocate while thousands of hostile frames pass: what the test needs itself, and nothing for what is promised. */
const maxHostileBytes = 4 * 1_024 * 1_024;

export interface LawOptions<Frame> {
  /** Reads all that can be read of a decoded frame (service, headers, …); must not throw, whatever the frame holds. */
  readonly look?: (frame: Frame) => void;
  /** False when only a connection's first frame can be told from other protocols, and `arbitraryFrameBytes` makes others too. */
  readonly everyFrameSniffs?: boolean;
}

/** Runs the laws. `arbitraryFrameBytes` makes whole, well-formed frames of every kind. */
export function frameLaws<Frame>(
  name: string,
  codec: FrameCodec<Frame>,
  arbitraryFrameBytes: fc.Arbitrary<Buffer>,
  options: LawOptions<Frame> = {},
): void {
  const look = options.look ?? (() => {});
  const several = fc.array(arbitraryFrameBytes, { minLength: 1, maxLength: 4 });

  describe(`laws of ${name}`, () => {
    it("gives the same frames wherever the bytes are split", () => {
      fc.assert(
        fc.property(several, fc.nat({ max: 20 }), (frames, before) => {
          const bytes = Buffer.concat([Buffer.alloc(before, 0xff), ...frames]);
          assert.deepEqual(framesOf(codec, bytes, before), frames);
          splitEverywhere(codec, bytes, before, frames);
        }),
        { numRuns: runs },
      );
    });

    it("encodes what it decoded as it was", () => {
      fc.assert(
        fc.property(arbitraryFrameBytes, (frame) => {
          const view = codec.view();
          assert.equal(codec.decode(frame, 0, frame.length, view), frame.length);
          assert.deepEqual(codec.encode(view), frame);
          look(view);
        }),
        { numRuns: runs },
      );
    });

    const sniffs = (): void => {
      fc.assert(
        fc.property(arbitraryFrameBytes, (frame) => {
          assert.equal(codec.sniff(frame), "yes");
          for (let size = 0; size < Math.min(frame.length, 32); size++) {
            assert.notEqual(codec.sniff(frame.subarray(0, size)), "no");
          }
        }),
        { numRuns: runs },
      );
    };
    // A protocol whose connections begin with a frame of another kind is told by that one only.
    if (options.everyFrameSniffs !== false)
      it("says yes to the beginning of its own frames, and more to less of it", sniffs);

    it("answers garbage with its own error or by asking for more, within the limits", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => survive(codec, Buffer.from(garbage), look)),
        { numRuns: runs * 5 },
      );
    });

    it("answers frames with changed bytes with its own error, another frame, or by asking for more", () => {
      const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 });
      fc.assert(
        fc.property(several, changes, fc.nat(), (frames, changed, cut) => {
          const bytes = Buffer.concat(frames);
          for (const [at, value] of changed) bytes[at % bytes.length] = value;
          survive(codec, bytes, look);
          survive(codec, bytes.subarray(0, cut % bytes.length), look);
        }),
        { numRuns: runs * 5 },
      );
    });

    it("believes no hostile length, and allocates nothing for one", () => {
      const [frame] = fc.sample(arbitraryFrameBytes, { numRuns: 1, seed: 7 }) as [Buffer];
      const before = process.memoryUsage().arrayBuffers;
      for (let at = 0; at < frame.length && at < 512; at++) {
        for (const length of hostileLengths) {
          if (at + length.length > frame.length) continue;
          const bytes = Buffer.from(frame);
          length.copy(bytes, at);
          survive(codec, bytes, look);
        }
      }
      // The copies made here are garbage or at most a few thousand times the frame; a believed length would be gigabytes.
      const grown = process.memoryUsage().arrayBuffers - before;
      assert.ok(grown < maxHostileBytes + frame.length * 512 * hostileLengths.length, `${grown} bytes more`);
    });
  });
}

/** 0, -1, 2^31-1, -2^31, the frame limit and one more, each as four bytes; all ones as two. */
const hostileLengths: readonly Buffer[] = [0, -1, 0x7fff_ffff, -0x8000_0000, maxFrameBytes, maxFrameBytes + 1]
  .map((length) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(length);
    return bytes;
  })
  .concat(Buffer.from([0xff, 0xff]));

/** All frames from `offset` on, made whole again. */
function framesOf<Frame>(codec: FrameCodec<Frame>, bytes: Buffer, offset: number): Buffer[] {
  const view = codec.view();
  const frames: Buffer[] = [];
  for (let at = offset; at < bytes.length; ) {
    const size = codec.decode(bytes, at, bytes.length, view);
    assert.ok(size > 0, `asks for ${-size} bytes of whole frames`);
    frames.push(codec.encode(view));
    at += size;
  }
  return frames;
}

/** As a reader would see it: with every number of bytes there, the next frame or a request for more that is neither too small nor too large. */
function splitEverywhere<Frame>(
  codec: FrameCodec<Frame>,
  bytes: Buffer,
  offset: number,
  frames: readonly Buffer[],
): void {
  const view = codec.view();
  let at = offset;
  for (const frame of frames) {
    for (let there = 0; there < frame.length; there++) {
      const size = codec.decode(bytes, at, at + there, view);
      assert.ok(size < 0 && -size > there && -size <= frame.length, `${size} with ${there} of ${frame.length} bytes`);
    }
    assert.equal(codec.decode(bytes, at, at + frame.length, view), frame.length);
    assert.deepEqual(codec.encode(view), frame);
    at += frame.length;
  }
}

/** Reads as far as it goes; anything but frames, a request for more within the limits, or a FrameError fails. */
function survive<Frame>(codec: FrameCodec<Frame>, bytes: Buffer, look: (frame: Frame) => void): void {
  const view = codec.view();
  let at = 0;
  while (at < bytes.length) {
    let size: number;
    try {
      size = codec.decode(bytes, at, bytes.length, view);
    } catch (error) {
      assert.ok(error instanceof FrameError, `raised ${String(error)}`);
      return;
    }
    const there = bytes.length - at;
    if (size < 0) {
      assert.ok(-size > there && -size <= maxFrameBytes, `asks for ${-size} bytes with ${there} there`);
      return;
    }
    assert.ok(size > 0 && size <= there, `a frame of ${size} bytes out of ${there}`);
    look(view);
    assert.deepEqual(
      codec.encode(view),
      Buffer.from(bytes.subarray(at, at + size)),
      "an accepted frame is encoded as it was",
    );
    at += size;
  }
}
