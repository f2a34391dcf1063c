/** Why this exists: which bytes may stand where, as tables, so that each scan is one look-up a byte. */
function table(allowed: (byte: number, char: string) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (allowed(byte, String.fromCharCode(byte)) ? 1 : 0));
}

/** RFC 9110 section 5.6.2: `tchar`. */
export const tokenBytes: Uint8Array = table((_, char) => /[A-Za-z0-9!#$%&'*+.^_`|~-]/.test(char));

/** RFC 9110 section 5.5: what a field's value consists of, the space inside it included. CR, LF, NUL and other controls are not. */
export const valueBytes: Uint8Array = table((byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f));

/**
 * RFC 9112 section 3.2: a request target has no space and no control. A fragment is never sent (RFC 9110 section 4.2.5), and bytes above ASCII
 * are no part of a URI (RFC 3986 section 2).
 */
export const targetBytes: Uint8Array = table((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x23);

/**
 * RFC 3986 section 2.3: means the same encoded or not, so that the canonical form has it decoded. Hosts have names of these only; percent-encoding
 * and sub-delims are in their grammar (section 3.2.2) and in no host's name.
 */
export const unreservedBytes: Uint8Array = table((_, char) => /[A-Za-z0-9._~-]/.test(char));

/** What a path has raw: `pchar` (RFC 3986 section 3.3) without `%`, which has a meaning of its own, and `/`. */
export const pathBytes: Uint8Array = table((_, char) => /[A-Za-z0-9._~!$&'()*+,;=:@/-]/.test(char));

/** The value of a hexadecimal digit; 255 for what is none. */
export const hexDigits: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? 255 : digit;
});

export const cr = 0x0d;
export const lf = 0x0a;
export const space = 0x20;
export const tab = 0x09;
