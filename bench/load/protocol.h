/*
 * What the load generator, the echo server and the stuck clients know of a protocol: how to make its frames, how to cut a
 * stream into them, and where the request id stands. One file per protocol implements it (bolt.c, dubbo.c, http.c); a new protocol is a
 * file and a line in `find_protocol`.
 */
#ifndef DUALMESH_BENCH_PROTOCOL_H
#define DUALMESH_BENCH_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

enum frame_kind { FRAME_REQUEST, FRAME_ONEWAY, FRAME_RESPONSE, FRAME_HEARTBEAT, FRAME_HEARTBEAT_REPLY, FRAME_OTHER };

/* A frame found at the head of some bytes. `body` is what the application sent; it points into those bytes. */
struct frame {
  enum frame_kind kind;
  size_t size;
  uint64_t id;
  int ok; /* a response: its status says success */
  const uint8_t *body;
  size_t body_size;
};

enum look { LOOK_MORE, LOOK_FRAME, LOOK_BROKEN };

struct protocol {
  const char *name;
  unsigned id_bits;
  /* Writes a request whose body is `body_size` bytes of text and returns its size; `body_at` tells where the body begins. */
  size_t (*make_request)(uint8_t *out, size_t body_size, size_t *body_at);
  /* Writes the response to `request`, with the request's body as its own; returns its size. */
  size_t (*make_response)(uint8_t *out, const struct frame *request);
  size_t (*make_heartbeat_reply)(uint8_t *out, const struct frame *heartbeat);
  void (*set_id)(uint8_t *frame, uint64_t id);
  enum look (*look)(const uint8_t *bytes, size_t size, struct frame *found);
};

/* The most bytes that a frame has beside its body, and the largest frame that is read. */
#define FRAME_ROOM 2048
#define FRAME_MAX (8u << 20)

extern const struct protocol bolt_protocol;
extern const struct protocol dubbo_protocol;
extern const struct protocol http_protocol;

/* The protocol of this name, or NULL. */
const struct protocol *find_protocol(const char *name);

/* The beginning of each body that a caller sends: it tells which connection and request a reply belongs to, in text. */
#define STAMP 16

static inline void make_stamp(char stamp[STAMP + 1], uint64_t connection, uint64_t id) {
  static const char digits[] = "0123456789abcdef";
  uint64_t value = connection << 40 ^ id;
  for (int i = STAMP - 1; i >= 0; i--, value >>= 4) stamp[i] = digits[value & 15];
}

static inline uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static inline uint64_t get64(const uint8_t *at) { return (uint64_t)get32(at) << 32 | get32(at + 4); }
static inline void put16(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }
static inline void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16), put16(at + 2, value); }
static inline void put64(uint8_t *at, uint64_t value) { put32(at, (uint32_t)(value >> 32)), put32(at + 4, (uint32_t)value); }

#endif
