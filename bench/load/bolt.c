/*
 * SOFABolt v1 as SOFA-RPC speaks it. The body stands for the serialised SofaRequest: no proxy here decodes it, so that it may be
 * any bytes of the right length.
 */
#include <string.h>

#include "protocol.h"

#define REQUEST_HEAD 22
#define RESPONSE_HEAD 20

static const char request_class[] = "com.alipay.sofa.rpc.core.request.SofaRequest";
static const char response_class[] = "com.alipay.sofa.rpc.core.response.SofaResponse";

static const char *const request_headers[][2] = {
    {"sofa_head_target_service", "bench.Echo:1.0"},
    {"service", "bench.Echo:1.0"},
    {"sofa_head_method_name", "echo"},
    {"app", "bench-caller"},
    {"protocol", "bolt"},
    {"type", "sync"},
    {"rpc_trace_context.sofaTraceId", "7f0000011764000000000100100001"},
    {"rpc_trace_context.sofaRpcId", "0"},
    {"rpc_trace_context.samp", "true"},
    {"rpc_trace_context.sysPenAttrs", ""},
    {"rpc_trace_context.sofaPenAttrs", ""},
};

static uint8_t *put_text(uint8_t *at, const char *text) {
  size_t length = strlen(text);
  put32(at, (uint32_t)length);
  memcpy(at + 4, text, length);
  return at + 4 + length;
}

static size_t make_request(uint8_t *out, size_t body_size, size_t *body_at) {
  static const uint8_t fixed[] = {1, 1, 0, 1, 1, 0, 0, 0, 0, 1};
  size_t class_length = sizeof request_class - 1;
  uint8_t *at = out + REQUEST_HEAD;
  memcpy(out, fixed, sizeof fixed);
  put32(out + 10, 3000);
  put16(out + 14, (uint32_t)class_length);
  put32(out + 18, (uint32_t)body_size);
  memcpy(at, request_class, class_length);
  at += class_length;
  uint8_t *headers = at;
  for (size_t i = 0; i < sizeof request_headers / sizeof *request_headers; i++) {
    at = put_text(at, request_headers[i][0]);
    at = put_text(at, request_headers[i][1]);
  }
  put16(out + 16, (uint32_t)(at - headers));
  *body_at = (size_t)(at - out);
  memset(at, 'b', body_size);
  return *body_at + body_size;
}

static void set_id(uint8_t *frame, uint64_t id) { put32(frame + 5, (uint32_t)id); }

static size_t make_response(uint8_t *out, const struct frame *request) {
  static const uint8_t fixed[] = {1, 0, 0, 2, 1, 0, 0, 0, 0, 1, 0, 0};
  size_t class_length = sizeof response_class - 1;
  memcpy(out, fixed, sizeof fixed);
  set_id(out, request->id);
  put16(out + 12, (uint32_t)class_length);
  put16(out + 14, 0);
  put32(out + 16, (uint32_t)request->body_size);
  memcpy(out + RESPONSE_HEAD, response_class, class_length);
  memcpy(out + RESPONSE_HEAD + class_length, request->body, request->body_size);
  return RESPONSE_HEAD + class_length + request->body_size;
}

static size_t make_heartbeat_reply(uint8_t *out, const struct frame *heartbeat) {
  static const uint8_t fixed[RESPONSE_HEAD] = {1, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  memcpy(out, fixed, sizeof fixed);
  set_id(out, heartbeat->id);
  return sizeof fixed;
}

static enum look look(const uint8_t *bytes, size_t size, struct frame *found) {
  if (size < 2) return LOOK_MORE;
  if (bytes[0] != 1 || bytes[1] > 2) return LOOK_BROKEN;
  size_t head = bytes[1] == 0 ? RESPONSE_HEAD : REQUEST_HEAD;
  if (size < head) return LOOK_MORE;
  const uint8_t *lengths = bytes + head - 8;
  size_t before_body = head + get16(lengths) + get16(lengths + 2);
  size_t body_size = get32(lengths + 4);
  if (body_size > FRAME_MAX) return LOOK_BROKEN;
  if (size < before_body + body_size) return LOOK_MORE;
  int heartbeat = get16(bytes + 2) == 0;
  switch (bytes[1]) {
    case 0: found->kind = heartbeat ? FRAME_HEARTBEAT_REPLY : FRAME_RESPONSE; break;
    case 1: found->kind = heartbeat ? FRAME_HEARTBEAT : FRAME_REQUEST; break;
    default: found->kind = FRAME_ONEWAY;
  }
  found->size = before_body + body_size;
  found->id = get32(bytes + 5);
  found->ok = bytes[1] != 0 || get16(bytes + 10) == 0;
  found->body = bytes + before_body;
  found->body_size = body_size;
  return LOOK_FRAME;
}

const struct protocol bolt_protocol = {"bolt", 32, make_request, make_response, make_heartbeat_reply, set_id, look};
