import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Directory, Publication, PublishOptions } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { Publisher } from "./publisher.ts";
import { loopbackStandIn } from "./testing/door-fixture.ts";

const instance = (weight: number): Instance => ({ ...loopbackStandIn("bolt/a:1.0:"), weight });

/** A directory that answers a publication only when told to, and notes what it is asked. */
function slowDirectory() {
  const asked: string[] = [];
  let options: (PublishOptions & { readonly signal?: AbortSignal }) | undefined;
  let answer = (): void => {};
  let refuse = (_reason: string): void => {};
  const publication: Publication = {
    update: async (value) => void asked.push(`update ${value.weight}`),
    withdraw: async () => void asked.push("withdraw"),
  };
  const directory: Directory = {
    publish: (value, given) => {
      asked.push(`publish ${value.weight}`);
      options = given;
      return new Promise((resolve, reject) => {
        answer = () => resolve(publication);
        refuse = (reason) => reject(new Error(reason));
        given?.signal?.addEventListener("abort", () => {
          asked.push("given up");
          reject(given.signal?.reason);
        });
      });
    },
    watch: () => ({ close() {} }),
    watchCatalogue: () => ({ close() {} }),
  };
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    directory,
    asked,
    settle,
    answer: () => answer(),
    refuse: (reason: string) => refuse(reason),
    accept: () => options?.onAccepted?.(),
    supersede: () => options?.onSuperseded?.(),
  };
}

const claimant = () => ({ superseded: false, refused: "" });

function newPublisher(directory: Directory, clock = new FakeClock()) {
  return new Publisher<ReturnType<typeof claimant>>({
    directory,
    clock,
    told: new ThrottledLog({ log: silentLog, clock }),
  });
}

describe("publishing registrations", () => {
  it("gives up what is not in force yet when it is withdrawn", async () => {
    const { directory, asked, settle } = slowDirectory();
    const publisher = newPublisher(directory);
    const one = claimant();
    void publisher.publish(one, instance(1));
    publisher.withdraw(one, instance(1));
    await settle();
    assert.deepEqual(asked, ["publish 1", "given up"]);
  });

  it("brings into force what changed while the first publication was on its way", async () => {
    const { directory, asked, settle, answer } = slowDirectory();
    const publisher = newPublisher(directory);
    void publisher.publish(claimant(), instance(1));
    void publisher.publish(claimant(), instance(2));
    answer();
    await settle();
    assert.deepEqual(asked, ["publish 1", "update 2"]);
  });

  it("hands over to the claim before when the last one ends, and withdraws with the last of all", async () => {
    const { directory, asked, settle, answer } = slowDirectory();
    const publisher = newPublisher(directory);
    const [one, two] = [claimant(), claimant()];
    void publisher.publish(one, instance(1));
    answer();
    await settle();
    void publisher.publish(two, instance(2));
    publisher.withdraw(two, instance(2));
    publisher.withdraw(two, instance(2));
    publisher.withdraw(one, instance(1));
    await settle();
    assert.deepEqual(asked, ["publish 1", "update 2", "update 1", "withdraw"]);
  });

  it("tells whoever claims an instance that the directory has taken it on, or that it refuses it", async () => {
    const { directory, asked, accept, refuse } = slowDirectory();
    const publisher = newPublisher(directory);
    const claims = [publisher.publish(claimant(), instance(1)), publisher.publish(claimant(), instance(2))];
    refuse("there are too many");
    for (const claim of claims) await assert.rejects(claim, /there are too many/);
    const again = publisher.publish(claimant(), instance(3));
    accept();
    await again;
    assert.deepEqual(asked, ["publish 1", "publish 3"], "what was refused is forgotten, not updated");
  });

  it("keeps what was taken on and is refused later, says why, and tries again until it is withdrawn", async () => {
    const clock = new FakeClock();
    const { directory, asked, accept, refuse, answer } = slowDirectory();
    const publisher = newPublisher(directory, clock);
    const one = claimant();
    const taken = publisher.publish(one, instance(1));
    accept();
    await taken;
    refuse("the registry says no");
    await clock.advance(9_999);
    assert.equal(one.refused, "the registry says no");
    assert.deepEqual(asked, ["publish 1"]);
    await clock.advance(1);
    answer();
    await clock.advance(0);
    assert.equal(one.refused, "");
    assert.deepEqual(asked, ["publish 1", "publish 1"]);
    publisher.withdraw(one, instance(1));

    const two = claimant();
    void publisher.publish(two, instance(2), true);
    refuse("no");
    await clock.advance(5_000);
    publisher.withdraw(two, instance(2));
    await clock.advance(60_000);
    assert.deepEqual(asked.slice(2), ["withdraw", "publish 2", "given up"]);
  });

  it("leaves alone what another owner registered later", async () => {
    const { directory, asked, settle, answer, supersede } = slowDirectory();
    const publisher = newPublisher(directory);
    const one = claimant();
    void publisher.publish(one, instance(1));
    answer();
    await settle();
    supersede();
    publisher.withdraw(one, instance(1));
    await settle();
    assert.equal(one.superseded, true);
    assert.deepEqual(asked, ["publish 1"]);
  });
});
