/*
 * HTTP/1.1 with keep-alive: POST with a body, answered by the same body. HTTP has no request ids, so that one stands in the target and in a
 * field of the response, where proxies leave it. What is no such message (another status, no length, a chunked body, a field twice) is a broken
 * stream here, however politely it was meant: no proxy has a reason to send it.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "protocol.h"

#define ID_DIGITS 16
#define HEAD_MAX FRAME_ROOM

static const char request_start[] = "POST /echo/";
static const char response_start[] = "HTTP/1.1 200 ";
static const char blank[] = "\r\n\r\n";

static void put_id(uint8_t *at, uint64_t id) {
  for (int i = ID_DIGITS - 1; i >= 0; i--, id >>= 4) at[i] = (uint8_t)"0123456789abcdef"[id & 15];
}

static int get_id(const uint8_t *at, uint64_t *id) {
  *id = 0;
  for (int i = 0; i < ID_DIGITS; i++) {
    unsigned digit = at[i] >= 'a' && at[i] <= 'f' ? at[i] - 'a' + 10u : at[i] - (unsigned)'0';
    if (digit > 15) return 0;
    *id = *id << 4 | digit;
  }
  return 1;
}

static size_t make_request(uint8_t *out, size_t body_size, size_t *body_at) {
  int head = sprintf((char *)out,
                     "%s0000000000000000 HTTP/1.1\r\n"
                     "Host: bench.example:8080\r\n"
                     "User-Agent: bench-caller/1.0\r\n"
                     "Accept: application/json, text/plain, */*\r\n"
                     "Content-Type: text/plain\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     request_start, body_size);
  *body_at = (size_t)head;
  memset(out + head, 'h', body_size);
  return (size_t)head + body_size;
}

static void set_id(uint8_t *frame, uint64_t id) { put_id(frame + sizeof request_start - 1, id); }

static size_t make_response(uint8_t *out, const struct frame *request) {
  static const char head[] =
      "HTTP/1.1 200 OK\r\n"
      "Content-Type: text/plain\r\n"
      "X-Bench-Id: 0000000000000000\r\n"
      "Content-Length: ";
  memcpy(out, head, sizeof head - 1);
  put_id((uint8_t *)strstr((char *)out, "-Id: ") + 5, request->id);
  uint8_t *at = out + sizeof head - 1;
  at += sprintf((char *)at, "%zu\r\n\r\n", request->body_size);
  memcpy(at, request->body, request->body_size);
  return (size_t)(at - out) + request->body_size;
}

/* HTTP/1.1 has no heartbeats; `look` finds none. */
static size_t make_heartbeat_reply(uint8_t *out, const struct frame *heartbeat) {
  (void)out, (void)heartbeat;
  return 0;
}

/* The value of a line when its name is `name`, which ends in a colon; NULL when it is another field. */
static const uint8_t *value_of(const uint8_t *line, const uint8_t *end, const char *name) {
  size_t length = strlen(name);
  if ((size_t)(end - line) <= length || strncasecmp((const char *)line, name, length) != 0) return NULL;
  for (line += length; line < end && *line == ' ';) line++;
  return line;
}

/* Reads the fields in [at, end), each ended by CRLF; what is wrong there is 0. */
static int read_fields(const uint8_t *at, const uint8_t *end, struct frame *found) {
  int lengths = 0, ids = found->kind == FRAME_REQUEST;
  while (at < end) {
    const uint8_t *line_end = memchr(at, '\r', (size_t)(end - at)), *value;
    if (line_end == NULL || line_end[1] != '\n') return 0;
    if ((value = value_of(at, line_end, "content-length:")) != NULL) {
      lengths++;
      found->body_size = 0;
      if (value == line_end || line_end - value > 8) return 0;
      for (; value < line_end; value++) {
        if (*value < '0' || *value > '9') return 0;
        found->body_size = found->body_size * 10 + (*value - '0');
      }
    } else if (found->kind == FRAME_RESPONSE && (value = value_of(at, line_end, "x-bench-id:")) != NULL) {
      ids++;
      if (line_end - value != ID_DIGITS || !get_id(value, &found->id)) return 0;
    } else if (value_of(at, line_end, "transfer-encoding:") != NULL) {
      return 0;
    }
    at = line_end + 2;
  }
  return lengths == 1 && ids == 1 && found->body_size <= FRAME_MAX;
}

static enum look look(const uint8_t *bytes, size_t size, struct frame *found) {
  size_t start = sizeof request_start - 1;
  if (size < sizeof response_start + ID_DIGITS) return LOOK_MORE;
  if (memcmp(bytes, request_start, start) == 0) {
    found->kind = FRAME_REQUEST;
    if (!get_id(bytes + start, &found->id)) return LOOK_BROKEN;
  } else if (memcmp(bytes, response_start, sizeof response_start - 1) == 0) {
    found->kind = FRAME_RESPONSE;
  } else {
    return LOOK_BROKEN;
  }
  const uint8_t *head_end = memmem(bytes, size < HEAD_MAX ? size : HEAD_MAX, blank, sizeof blank - 1);
  if (head_end == NULL) return size < HEAD_MAX ? LOOK_MORE : LOOK_BROKEN;
  const uint8_t *fields = memchr(bytes, '\n', (size_t)(head_end + 2 - bytes));
  if (!read_fields(fields + 1, head_end + 2, found)) return LOOK_BROKEN;
  found->ok = 1;
  found->body = head_end + sizeof blank - 1;
  found->size = (size_t)(found->body - bytes) + found->body_size;
  return size < found->size ? LOOK_MORE : LOOK_FRAME;
}

const struct protocol http_protocol = {"http", 64, make_request, make_response, make_heartbeat_reply, set_id, look};
