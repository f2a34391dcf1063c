/** How surprising a count is: exact tails, so that a few calls are not taken for many. */

/**
 * The chance of `count` or more out of `total` when each happens with chance `ratio`. With different chances for each it is an upper
 * bound when `ratio` is their mean and `count` is above what is expected (Hoeffding 1956).
 */
export function binomialTail(count: number, total: number, ratio: number): number {
  if (count <= 0 || ratio >= 1) return 1;
  if (ratio <= 0 || count > total) return 0;
  if (count <= total * ratio) return 1; // not the exact figure, but nothing to be surprised at
  let term = Math.exp(logChoose(total, count) + count * Math.log(ratio) + (total - count) * Math.log1p(-ratio));
  let sum = 0;
  const odds = ratio / (1 - ratio);
  // Above the mean each term is smaller than the one before, soon by a constant factor.
  for (let at = count; at <= total && term > sum * 1e-12; at++) {
    sum += term;
    term *= ((total - at) / (at + 1)) * odds;
  }
  return Math.min(1, sum);
}

/** The largest ratio that `count` out of `total` still agrees with, `deviations` away (Wilson 1927); 1 without any. */
export function upperRatio(count: number, total: number, deviations: number): number {
  if (total === 0) return 1;
  const square = deviations * deviations;
  const ratio = count / total;
  const spread = deviations * Math.sqrt((ratio * (1 - ratio)) / total + square / (4 * total * total));
  return Math.min(1, (ratio + square / (2 * total) + spread) / (1 + square / total));
}

function logChoose(total: number, count: number): number {
  return logFactorial(total) - logFactorial(count) - logFactorial(total - count);
}

/** By Stirling's series; exact to ten digits, and below 16 by multiplication. */
function logFactorial(value: number): number {
  if (value < 16) {
    let product = 1;
    for (let factor = 2; factor <= value; factor++) product *= factor;
    return Math.log(product);
  }
  const inverse = 1 / value;
  const series = inverse / 12 - inverse ** 3 / 360 + inverse ** 5 / 1_260;
  return value * Math.log(value) - value + Math.log(2 * Math.PI * value) / 2 + series;
}
