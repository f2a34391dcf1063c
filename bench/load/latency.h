/* Latencies in buckets that grow with the value: every quantile is right within 0.8 %, whatever the count. */
#ifndef DUALMESH_BENCH_LATENCY_H
#define DUALMESH_BENCH_LATENCY_H

#include <stdint.h>
#include <string.h>

#define STEPS 128 /* buckets for each doubling */

struct latencies {
  uint64_t count;
  uint64_t buckets[58 * STEPS];
};

static inline void latency_clear(struct latencies *all) { memset(all, 0, sizeof *all); }

static inline void latency_add(struct latencies *all, uint64_t nanos) {
  /* Below 2 x STEPS a bucket is one nanosecond; above, the highest eight bits of the value choose it. */
  unsigned shift = nanos < 2 * STEPS ? 0 : 56 - (unsigned)__builtin_clzll(nanos);
  all->buckets[shift * STEPS + (nanos >> shift)]++;
  all->count++;
}

/* Adds all of `some` to `all`. */
static inline void latency_merge(struct latencies *all, const struct latencies *some) {
  for (unsigned i = 0; i < sizeof all->buckets / sizeof *all->buckets; i++) all->buckets[i] += some->buckets[i];
  all->count += some->count;
}

static inline double latency_quantile_micros(const struct latencies *all, double quantile) {
  uint64_t wanted = (uint64_t)((double)all->count * quantile), seen = 0;
  for (unsigned i = 0; i < sizeof all->buckets / sizeof *all->buckets; i++) {
    seen += all->buckets[i];
    if (seen <= wanted) continue;
    unsigned shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
    double low = (double)((uint64_t)(i - shift * STEPS) << shift);
    return (low + (double)(1ull << shift) / 2) / 1000;
  }
  return 0;
}

#endif
