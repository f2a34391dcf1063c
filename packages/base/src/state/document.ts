/** One small JSON value in a file, replaced in one step: a reader finds the old one or the new one, whole. */
import { MeshError, messageOf } from "../errors.ts";
import type { Files } from "./files.ts";
import { checkHeader, fileHeader, headerSize, maxPayloadSize, payloadAt, record, recordHeadSize } from "./format.ts";

/** The value in the file at `path`, or undefined when there is no such file. */
export async function readDocument(files: Files, path: string): Promise<unknown> {
  const bytes = await files.read(path);
  if (bytes === undefined) return undefined;
  checkHeader(bytes, "document", path);
  const payload = payloadAt(bytes, headerSize);
  if (payload === undefined || headerSize + recordHeadSize + payload.length !== bytes.length) throw damaged(path);
  try {
    return JSON.parse(payload.toString("utf8"));
  } catch (error) {
    throw damaged(path, error);
  }
}

export async function writeDocument(files: Files, path: string, value: unknown): Promise<void> {
  const payload = Buffer.from(JSON.stringify(value));
  if (payload.length > maxPayloadSize) {
    throw new MeshError("state.too-large", "a document is at most 16 MiB", { path, size: payload.length });
  }
  const fresh = `${path}.new`;
  try {
    const file = await files.open(fresh, "new");
    try {
      await file.write(Buffer.concat([fileHeader("document"), record(payload)]), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(fresh, path);
    await files.syncDirectory(path);
  } catch (error) {
    throw new MeshError(
      "state.write-failed",
      `cannot write ${path}: ${messageOf(error)}; make room on the disk or make it writable`,
      { path },
      { cause: error },
    );
  }
}

function damaged(path: string, cause?: unknown): MeshError {
  return new MeshError(
    "state.damaged",
    `${path} is damaged: restore it from a backup, or move it away to begin empty`,
    { path },
    { cause },
  );
}
