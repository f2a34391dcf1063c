/**
 * S7, S8: whatever a client sends, a sidecar and the server behind it agree on which requests that is: each that the sidecar forwards is received as
 * forwarded, not one more and not one fewer, and what it refuses reaches nobody and ends the connection.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { seededRandom } from "@dualmesh/base/random";
import { type CorpusCase, requestCorpus } from "@dualmesh/wire/http1/corpus";
import { type Backend, missingNginx, missingTomcat, openNginx, openNode, openTomcat } from "./http-backends.ts";
import { type Answer, ByteClient, type Taken } from "./http-bytes.ts";
import { counted, HttpMesh, type Route } from "./http-mesh.ts";
import { expectedOf, hiddenRequests, type Sequence, surrounded } from "./http-sequences.ts";

const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
const random = seededRandom(seed);
const sequences: readonly Sequence[] = [...requestCorpus.map(withoutRest), ...hiddenRequests];

/** What stands behind an accepted message of the corpus would be the beginning of the marker. */
function withoutRest({ name, bytes, verdict }: CorpusCase): Sequence {
  const rest = verdict.kind === "accept" ? (verdict.left?.length ?? 0) : 0;
  return { name, bytes: bytes.subarray(0, bytes.length - rest) };
}

/** A canonical form that every server understands alike is worth little if most are refused behind the sidecar. */
const maxRefusedBehind = 6;

let mesh: HttpMesh;
before(async () => {
  mesh = await HttpMesh.open();
  console.log(`split at random places: SEED=${seed}`);
});
after(() => mesh[Symbol.asyncDispose]());

const backends: readonly { name: string; missing: string | undefined; open: () => Promise<Backend> }[] = [
  { name: "node:http", missing: undefined, open: openNode },
  { name: "Tomcat", missing: missingTomcat(), open: openTomcat },
  { name: "nginx", missing: missingNginx(), open: openNginx },
];

for (const { name, missing, open } of backends) {
  describe(name, { skip: missing ?? false }, () => {
    let backend: Backend;
    let routes: readonly Route[];
    before(async () => {
      backend = await open();
      routes = [await mesh.direct(backend.port), await mesh.pair(backend.port)];
    });
    after(() => backend.close());

    for (const [index, hops] of ["one sidecar", "a pair"].entries()) {
      test(`behind ${hops}, ${sequences.length} messages end where the sidecar says`, {
        timeout: 120_000,
      }, async (t) => {
        const refused = new Set<string>();
        for (const [number, sequence] of sequences.entries()) {
          const bytes = surrounded(sequence.bytes, number);
          for (const cuts of [[], randomCuts(bytes.length)]) {
            const route = routes[index] as Route;
            if (await isRefusedBehind(route, backend, bytes, cuts, `${sequence.name}, cut at ${cuts}, SEED=${seed}`))
              refused.add(sequence.name);
          }
        }
        assert.deepEqual(await backend.taken(), [], "nothing comes late");
        t.diagnostic(`forwarded, and refused by ${name}: ${[...refused].join("; ") || "none"}`);
        assert.ok(refused.size <= maxRefusedBehind, `${name} refused ${refused.size} of what was forwarded`);
      });
    }
  });
}

/** Up to eight places, more of them near the beginning, where the heads are. */
function randomCuts(length: number): number[] {
  const places = Array.from({ length: 8 }, () => Math.floor(random.next() ** 2 * length));
  return [...new Set(places)].sort((one, other) => one - other);
}

/** Sends, compares everybody's view, and tells whether the server refused something that had been forwarded. */
async function isRefusedBehind(
  route: Route,
  backend: Backend,
  bytes: Buffer,
  cuts: readonly number[],
  what: string,
): Promise<boolean> {
  const expected = expectedOf(bytes);
  const wanted = expected.forwarded.length + (expected.refusal > 0 ? 1 : 0);
  const figures = route.hops.map((hop) => answeredBy(route, hop));
  const client = await ByteClient.connect(route.url);
  let answers: Answer[];
  try {
    await client.send(bytes, cuts);
    answers = await client.answers(new Array(wanted).fill("GET"));
    if (!expected.closes) client.socket.end();
    await client.until(`the end of the connection`, () => client.over);
  } catch (error) {
    throw new Error(what, { cause: error });
  } finally {
    client.socket.destroy();
  }
  const seen = `${what}; the client got ${JSON.stringify(client.text.slice(0, 500))}`;
  const fromServer = answers.filter((answer) => !answer.fields.has("proxy-status"));
  const received = await backend.taken();
  // A server may refuse what is forwarded or answer it by itself, and may end its connection before the whole request has come.
  const understood = fromServer.flatMap((answer, at) => (isNote(answer) ? [expected.forwarded[at] as Taken] : []));
  assert.deepEqual(received, understood, seen);
  assert.deepEqual(
    fromServer.filter(isNote).map(({ body }) => body),
    understood.map(noteOf),
    what,
  );
  const refusedBehind = understood.length < fromServer.length;
  if (!refusedBehind) {
    assert.equal(understood.length, expected.forwarded.length, seen);
    assert.equal(answers.length, wanted, seen);
    if (expected.refusal > 0) assert.equal(answers.at(-1)?.status, expected.refusal, seen);
  }
  for (const [at, hop] of route.hops.entries())
    assert.equal(answeredBy(route, hop) - (figures[at] as number), fromServer.length, `counted at hop ${at}: ${seen}`);
  return refusedBehind;
}

function noteOf(one: Taken): string {
  return `${Object.values(one).join("\t")}\n`;
}

function isNote({ status, body }: Answer): boolean {
  return status === 200 && body.includes("\t");
}

/** Exchanges that an answer of the server ended. */
function answeredBy(route: Route, hop: Route["hops"][number]): number {
  const totals = counted(hop, route.service);
  return (totals.get("ok") ?? 0) + (totals.get("error") ?? 0);
}
