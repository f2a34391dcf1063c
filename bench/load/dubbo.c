/*
 * Dubbo with hessian2, as Dubbo 3 speaks it: the body is one String argument, and the answer is a value with attachments. Bodies
 * of 1,024 to 65,535 ASCII characters only, so that the argument has Hessian's final long form.
 */
#include <string.h>

#include "protocol.h"

#define HEAD 16

static const char *const call[] = {"2.0.2", "bench.Echo", "0.0.0", "echo", "Ljava/lang/String;"};
static const char *const attachments[][2] = {
    {"path", "bench.Echo"},  {"remote.application", "bench-caller"}, {"interface", "bench.Echo"},
    {"version", "0.0.0"},    {"timeout", "3000"},
};

static uint8_t *put_text(uint8_t *at, const char *text, size_t length) {
  if (length < 32) {
    *at++ = (uint8_t)length;
  } else if (length < 1024) {
    *at++ = (uint8_t)(0x30 + (length >> 8));
    *at++ = (uint8_t)length;
  } else {
    *at++ = 'S';
    put16(at, (uint32_t)length);
    at += 2;
  }
  if (text != NULL) memcpy(at, text, length);
  return at + length;
}

/* The text at `at`: sets where it stands and its length (ASCII only, as in all that is measured here) and returns what follows, or NULL. */
static const uint8_t *get_text(const uint8_t *at, const uint8_t *end, const uint8_t **text, size_t *length) {
  if (at >= end) return NULL;
  size_t head = 1;
  if (*at < 32) *length = *at;
  else if (*at >= 0x30 && *at < 0x34 && end - at >= 2) *length = (size_t)(at[0] - 0x30) << 8 | at[1], head = 2;
  else if (*at == 'S' && end - at >= 3) *length = get16(at + 1), head = 3;
  else return NULL;
  if ((size_t)(end - at) < head + *length) return NULL;
  *text = at + head;
  return at + head + *length;
}

static size_t make_request(uint8_t *out, size_t body_size, size_t *body_at) {
  static const uint8_t fixed[] = {0xda, 0xbb, 0xc2, 0};
  uint8_t *at = out + HEAD;
  memcpy(out, fixed, sizeof fixed);
  put64(out + 4, 0);
  for (size_t i = 0; i < sizeof call / sizeof *call; i++) at = put_text(at, call[i], strlen(call[i]));
  at = put_text(at, NULL, body_size);
  memset(at - body_size, 'd', body_size);
  *body_at = (size_t)(at - body_size - out);
  *at++ = 'H';
  for (size_t i = 0; i < sizeof attachments / sizeof *attachments; i++) {
    at = put_text(at, attachments[i][0], strlen(attachments[i][0]));
    at = put_text(at, attachments[i][1], strlen(attachments[i][1]));
  }
  *at++ = 'Z';
  put32(out + 12, (uint32_t)(at - out - HEAD));
  return (size_t)(at - out);
}

static void set_id(uint8_t *frame, uint64_t id) { put64(frame + 4, id); }

static size_t make_response(uint8_t *out, const struct frame *request) {
  static const uint8_t fixed[] = {0xda, 0xbb, 0x02, 20};
  uint8_t *at = out + HEAD;
  memcpy(out, fixed, sizeof fixed);
  set_id(out, request->id);
  *at++ = 0x94; /* a value with attachments */
  at = put_text(at, (const char *)request->body, request->body_size);
  *at++ = 'H';
  at = put_text(at, "dubbo", 5);
  at = put_text(at, "2.0.2", 5);
  *at++ = 'Z';
  put32(out + 12, (uint32_t)(at - out - HEAD));
  return (size_t)(at - out);
}

static size_t make_heartbeat_reply(uint8_t *out, const struct frame *heartbeat) {
  static const uint8_t fixed[HEAD + 1] = {0xda, 0xbb, 0x22, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'N'};
  memcpy(out, fixed, sizeof fixed);
  set_id(out, heartbeat->id);
  return sizeof fixed;
}

/* Sets the frame's body: the first argument of a request, the value of a response. */
static int find_body(const uint8_t *at, const uint8_t *end, struct frame *found) {
  if (found->kind == FRAME_RESPONSE) {
    if (at >= end || (*at != 0x91 && *at != 0x94)) return found->ok = 0; /* an exception, or nothing */
    return get_text(at + 1, end, &found->body, &found->body_size) != NULL;
  }
  for (size_t i = 0; i < sizeof call / sizeof *call; i++) {
    at = get_text(at, end, &found->body, &found->body_size);
    if (at == NULL) return 0;
  }
  return get_text(at, end, &found->body, &found->body_size) != NULL;
}

static enum look look(const uint8_t *bytes, size_t size, struct frame *found) {
  if (size < HEAD) return LOOK_MORE;
  if (bytes[0] != 0xda || bytes[1] != 0xbb) return LOOK_BROKEN;
  size_t length = get32(bytes + 12);
  if (length > FRAME_MAX) return LOOK_BROKEN;
  if (size < HEAD + length) return LOOK_MORE;
  unsigned flags = bytes[2];
  found->size = HEAD + length;
  found->id = get64(bytes + 4);
  found->ok = (flags & 0x80) != 0 || bytes[3] == 20;
  found->body = bytes + HEAD;
  found->body_size = 0;
  if (flags & 0x20) {
    found->kind = !(flags & 0x80) ? FRAME_HEARTBEAT_REPLY : flags & 0x40 ? FRAME_HEARTBEAT : FRAME_OTHER;
    return LOOK_FRAME;
  }
  found->kind = !(flags & 0x80) ? FRAME_RESPONSE : flags & 0x40 ? FRAME_REQUEST : FRAME_ONEWAY;
  if (found->kind == FRAME_RESPONSE && !found->ok) return LOOK_FRAME; /* the body is an error text */
  if (!find_body(bytes + HEAD, bytes + HEAD + length, found) && found->kind != FRAME_RESPONSE) return LOOK_BROKEN;
  return LOOK_FRAME;
}

const struct protocol dubbo_protocol = {"dubbo", 64, make_request, make_response, make_heartbeat_reply, set_id, look};
