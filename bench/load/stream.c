/*
 * Both ends of the streaming bench: a server that takes and gives bodies of any length over HTTP/1.1, and a client that sends or fetches one.
 * Every byte is checked against a pattern whose period fits no buffer, so that a block lost, doubled or moved is seen.
 *
 *   stream serve IPv4:PORT                          prints {"port":N} once it listens; ends with its standard input
 *   stream up|down IPv4:PORT BYTES                  prints {"bytes":N,"seconds":S} when the whole exchange was right, else ends with a sentence
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

#define PERIOD 65521
#define BLOCK (64 << 10)
#define HEAD_MAX 4096

static uint8_t pattern[PERIOD + BLOCK];

static void make_pattern(void) {
  uint32_t state = 2463534242u;
  for (size_t i = 0; i < sizeof pattern; i++) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    pattern[i] = i < PERIOD ? (uint8_t)state : pattern[i - PERIOD];
  }
}

static int send_all(int socket, const void *bytes, size_t size) {
  for (const uint8_t *at = bytes; size > 0;) {
    ssize_t count = send(socket, at, size, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return 0;
    at += count, size -= (size_t)count;
  }
  return 1;
}

static int send_body(int socket, uint64_t size) {
  for (uint64_t at = 0; at < size;) {
    size_t block = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
    if (!send_all(socket, pattern + at % PERIOD, block)) return 0;
    at += block;
  }
  return 1;
}

/* What was read behind a head waits in `bytes`. */
struct reader {
  int socket;
  size_t from, to;
  uint8_t bytes[BLOCK];
};

static int fill(struct reader *reader) {
  if (reader->from == reader->to) reader->from = reader->to = 0;
  ssize_t count;
  do count = recv(reader->socket, reader->bytes + reader->to, sizeof reader->bytes - reader->to, 0);
  while (count < 0 && errno == EINTR);
  if (count <= 0) return 0;
  reader->to += (size_t)count;
  return 1;
}

/* Reads a head as text, and the length of its body; 0 when the connection ended or it is no head. */
static int read_head(struct reader *reader, char head[HEAD_MAX], uint64_t *length) {
  for (;;) {
    uint8_t *start = reader->bytes + reader->from, *end = memmem(start, reader->to - reader->from, "\r\n\r\n", 4);
    size_t size = end == NULL ? reader->to - reader->from : (size_t)(end - start) + 4;
    if (size >= HEAD_MAX || (end == NULL && !fill(reader))) return 0;
    if (end == NULL) continue;
    memcpy(head, start, size);
    head[size] = 0;
    reader->from += size;
    const char *field = strcasestr(head, "\r\ncontent-length:");
    *length = field == NULL ? 0 : strtoull(field + 17, NULL, 10);
    return strcasestr(head, "\r\ntransfer-encoding:") == NULL;
  }
}

static int check_body(struct reader *reader, uint64_t size) {
  for (uint64_t at = 0; at < size;) {
    if (reader->from == reader->to && !fill(reader)) return 0;
    size_t block = reader->to - reader->from;
    if (block > size - at) block = (size_t)(size - at);
    if (memcmp(reader->bytes + reader->from, pattern + at % PERIOD, block) != 0) return 0;
    reader->from += block;
    at += block;
  }
  return 1;
}

static void be_blocking(int socket) { fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK); }

static void *serve(void *argument) {
  struct reader *reader = argument;
  char head[HEAD_MAX], reply[256];
  uint64_t length;
  while (read_head(reader, head, &length)) {
    uint64_t wanted = 0;
    if (sscanf(head, "GET /down/%lu ", &wanted) != 1 && (strncmp(head, "POST /up ", 9) != 0 || !check_body(reader, length))) break;
    int size = sprintf(reply, "HTTP/1.1 200 OK\r\nX-Taken: %lu\r\nContent-Type: application/octet-stream\r\nContent-Length: %lu\r\n\r\n", length, wanted);
    if (!send_all(reader->socket, reply, (size_t)size) || !send_body(reader->socket, wanted)) break;
  }
  close(reader->socket);
  free(reader);
  return NULL;
}

static int run_server(const char *address) {
  int listener = net_listen(address);
  printf("{\"port\":%d}\n", net_port(listener));
  fflush(stdout);
  struct pollfd watched[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
  for (;;) {
    char unused[64];
    if (poll(watched, 2, -1) < 0 && errno != EINTR) fail("cannot wait for", "connections");
    if (watched[0].revents != 0 && read(STDIN_FILENO, unused, sizeof unused) <= 0) return 0; /* the harness is gone */
    for (int socket; (socket = net_accept(listener)) >= 0;) {
      pthread_t thread;
      struct reader *reader = calloc(1, sizeof *reader);
      if (reader == NULL) fail("no memory for", "a connection");
      reader->socket = socket;
      be_blocking(socket);
      if (pthread_create(&thread, NULL, serve, reader) != 0) fail("no thread for", "a connection");
      pthread_detach(thread);
    }
  }
}

static int run_client(const char *way, const char *address, uint64_t size) {
  static struct reader reader;
  char head[HEAD_MAX];
  uint64_t length = 0, up = strcmp(way, "up") == 0 ? size : 0, taken = 0;
  reader.socket = net_connect(address, 0);
  struct pollfd connecting = {.fd = reader.socket, .events = POLLOUT};
  poll(&connecting, 1, 5000);
  be_blocking(reader.socket);
  uint64_t from = now_nanos();
  if (up > 0) sprintf(head, "POST /up HTTP/1.1\r\nHost: bench.example:8080\r\nContent-Type: application/octet-stream\r\nContent-Length: %lu\r\n\r\n", up);
  else sprintf(head, "GET /down/%lu HTTP/1.1\r\nHost: bench.example:8080\r\n\r\n", size);
  if (!send_all(reader.socket, head, strlen(head)) || !send_body(reader.socket, up)) fail("the body was not taken by", address);
  errno = 0;
  if (!read_head(&reader, head, &length)) fail("no answer with a length from", address);
  const char *told = strcasestr(head, "\r\nx-taken:");
  if (told != NULL) taken = strtoull(told + 10, NULL, 10);
  if (strncmp(head, "HTTP/1.1 200 ", 13) != 0 || told == NULL || taken != up || length != size - up) fail("a wrong answer", head);
  if (!check_body(&reader, length)) fail("a wrong or short body from", address);
  printf("{\"bytes\":%lu,\"seconds\":%.6f}\n", size, (double)(now_nanos() - from) / 1e9);
  return 0;
}

int main(int count, char **arguments) {
  make_pattern();
  if (count == 3 && strcmp(arguments[1], "serve") == 0) return run_server(arguments[2]);
  uint64_t size = count == 4 ? strtoull(arguments[3], NULL, 10) : 0;
  if (size == 0 || (strcmp(arguments[1], "up") != 0 && strcmp(arguments[1], "down") != 0)) fail("usage", "stream serve IPv4:PORT | up|down IPv4:PORT BYTES");
  return run_client(arguments[1], arguments[2], size);
}
