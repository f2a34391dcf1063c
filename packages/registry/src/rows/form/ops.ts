/**
 * The shared part of a record is a little program that writes the record: literal bytes, and places into which the own part's bytes go. These are its
 * words.
 */

/** One byte each; some are followed by a length and so many bytes. */
export const op = {
  /** u16 length, bytes. */
  literal: 1,
  /** A text that is four numbers and dots, in four own bytes. The first such text of a record is its host. */
  address: 2,
  /** A text that is the host. */
  host: 3,
  /** Two own bytes. */
  port: 4,
  samePort: 5,
  /** Six own bytes of eight. */
  time: 6,
  sameTime: 7,
  /** Eight own bytes. */
  long: 8,
  /** A text in parts, up to `endOfText`. */
  text: 9,
  partHost: 10,
  partAddress: 11,
  partAppPort: 12,
  partPort: 13,
  /** Digits, as an own number of variable length. */
  partNumber: 14,
  /** An even count of hexadecimal digits, packed, behind a length of one own byte. */
  partHex: 15,
  /** Behind a length of one own byte. */
  partRaw: 16,
  endOfText: 17,
} as const;
