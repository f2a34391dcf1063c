/**
 * The named limits of the registry stream, as docs/registry-stream.md states them. A peer that goes beyond one is malformed and is
 * cut; an encoder that is asked to go beyond one refuses with `stream.limit`.
 */

/** The format of frames and messages below; the third byte of every frame. */
export const streamVersion = 1;

/** Head and payload of one frame. */
export const maxStreamFrameBytes = 1024 * 1024;
/** A frame before the hello was acknowledged. */
export const maxHelloFrameBytes = 16 * 1024;
/** Chunks of a snapshot and single deltas are closed once they have grown to this. */
export const chunkBytes = 256 * 1024;

export const maxRecordBytes = 32 * 1024;
export const maxServiceBytes = 1_024;
export const maxHostBytes = 255;
export const maxApplicationBytes = 255;
export const maxAddressBytes = 255;
export const maxZoneBytes = 128;
export const maxIdentityBytes = 512;
export const maxReasonBytes = 255;
export const maxLabels = 64;
export const maxLabelNameBytes = 128;
export const maxLabelValueBytes = 1_024;
export const maxDialectBytes = 32;
export const maxRegistrationBytes = 16 * 1024;
/** Applications that one catalogue entry names; of more, the first in order. */
export const maxCatalogueApplications = 64;

export const maxNodeIdBytes = 255;
export const maxAgentBytes = 255;
export const maxCredentialsBytes = 4_096;
export const maxTextBytes = 1_024;
export const tokenBytes = 32;
export const registryIdBytes = 16;

/** How long an accepted connection may take to say its whole hello, and the registry to acknowledge it. */
export const helloTimeoutMs = 5_000;
/** How long a frame may take from its first byte to its last, however many come between. A slow link carries the largest in this at 280 kbit/s. */
export const frameTimeoutMs = 30_000;
/** A peer from which nothing was heard for this many ping periods is gone. */
export const silentPings = 3;
