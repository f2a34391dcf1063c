/** One end of a connection that speaks `note`: it cuts what it reads into frames and answers heartbeats. */
import type { Socket } from "node:net";
import { codec, kinds, type Note, read, write } from "./codec.ts";

export class Peer {
  readonly #socket: Socket;
  readonly #onNote: (note: Note, peer: Peer) => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket, onNote: (note: Note, peer: Peer) => void) {
    this.#socket = socket;
    this.#onNote = onNote;
    socket.setNoDelay(true);
    socket.on("data", (bytes) => this.#read(bytes));
    socket.on("error", () => socket.destroy());
  }

  send(note: Note): void {
    this.#socket.write(write(note));
  }

  #read(bytes: Buffer): void {
    const all = Buffer.concat([this.#rest, bytes]);
    const frame = codec.view();
    let offset = 0;
    for (;;) {
      const size = codec.decode(all, offset, all.length, frame);
      if (size <= 0) break;
      const note = read(frame);
      if (note.kind === kinds.heartbeat) this.send({ kind: kinds.heartbeatReply, id: note.id });
      else this.#onNote(note, this);
      offset += size;
    }
    this.#rest = all.subarray(offset);
  }
}
