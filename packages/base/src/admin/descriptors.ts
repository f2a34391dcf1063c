/**
 * A few descriptors set aside, so that the admin port can still accept when all others are used up: accepting needs one, and without it
 * the system closes the caller. While they are lent, `scarce` is true and who listens for traffic should turn it away.
 */
import { closeSync, openSync } from "node:fs";
import type { Clock } from "../clock.ts";

export interface DescriptorReserve {
  /** True while the process has no descriptors but those that were set aside. */
  readonly scarce: boolean;
  close(): void;
}

export interface ReserveOptions {
  readonly clock: Clock;
  readonly onChange: (scarce: boolean) => void;
}

const spareCount = 8;
const lookEveryMs = 100;

/** Sets descriptors aside and looks every 100 ms whether there is one to be had without them. */
export function openReserve({ clock, onChange }: ReserveOptions): DescriptorReserve {
  let spare = openSpare(spareCount);
  let scarce = spare.length < spareCount;
  const look = (): void => {
    // Taken back only when as many again are free, so that it does not turn at every call.
    const probe = openSpare(scarce ? 2 * spareCount : 1);
    const isScarce = probe.length < (scarce ? 2 * spareCount : 1);
    const keep = scarce && !isScarce ? probe.splice(0, spareCount) : [];
    for (const descriptor of probe) closeSync(descriptor);
    if (isScarce === scarce) return;
    scarce = isScarce;
    // The listener is told first, so that what is set free is not taken by the traffic that used up the rest.
    onChange(scarce);
    if (scarce) for (const descriptor of spare) closeSync(descriptor);
    spare = keep;
  };
  const timer = clock.every(lookEveryMs, look);
  return {
    get scarce() {
      return scarce;
    },
    close() {
      timer.cancel();
      for (const descriptor of spare) closeSync(descriptor);
      spare = [];
    },
  };
}

function openSpare(count: number): number[] {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync("/dev/null", "r"));
  } catch {
    // None is left: how many there were is the answer.
  }
  return opened;
}
