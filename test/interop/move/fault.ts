/**
 * Plants a fault in a sidecar: `node --import fault.ts main.ts sidecar run …` with FAULT=errors (one request in twenty is refused) or FAULT=slow
 * (every answer is 200 ms late). The product has no hook for it: its own functions are replaced here, behind the back of its figures.
 */
import { FrameExchange } from "@dualmesh/sidecar/request/exchange";
import { FrameWay } from "@dualmesh/sidecar/request/frame-way";
import { Requests } from "@dualmesh/sidecar/request/request";

const oneIn = 20;
const lateMs = 200;

const fault = process.env["FAULT"];
if (fault === "errors") plantErrors();
else if (fault === "slow") plantDelay();
else if (fault !== undefined) throw new Error(`no such fault: ${fault}`);

function plantErrors(): void {
  const take = Requests.prototype.take;
  let requests = 0;
  Requests.prototype.take = function (caller, frame) {
    if (++requests % oneIn !== 0) return take.call(this, caller, frame);
    const origin = { service: "", series: undefined as never, route: undefined, startedMs: 0, deadlineMs: 0 };
    new FrameExchange(caller, frame, origin).answer("overload", "a planted fault");
  };
}

function plantDelay(): void {
  const reply = FrameWay.prototype.reply;
  FrameWay.prototype.reply = function (bytes, start, end) {
    const copy = Buffer.from(bytes.subarray(start, end));
    setTimeout(() => reply.call(this, copy, 0, copy.length), lateMs);
  };
}
