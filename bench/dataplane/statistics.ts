/** The few sums that turn rounds into rows. */

/** The middle value (the mean of the middle two); undefined of nothing. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}

/** The slope of the line through `points` that has the least squares; undefined when they do not differ in x. */
export function slope(points: readonly { readonly x: number; readonly y: number }[]): number | undefined {
  const meanX = points.reduce((sum, { x }) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, { y }) => sum + y, 0) / points.length;
  let over = 0;
  let under = 0;
  for (const { x, y } of points) {
    over += (x - meanX) * (y - meanY);
    under += (x - meanX) ** 2;
  }
  return under > 0 ? over / under : undefined;
}

/** `value` with so many decimals, as a number; null stays null, and undefined becomes it. */
export function rounded(value: number | null | undefined, decimals: number): number | null {
  return value === null || value === undefined || !Number.isFinite(value) ? null : Number(value.toFixed(decimals));
}
