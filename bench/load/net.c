#define _GNU_SOURCE
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *sentence, const char *subject) {
  if (errno != 0) fprintf(stderr, "%s: %s (%s)\n", sentence, subject, strerror(errno));
  else fprintf(stderr, "%s: %s\n", sentence, subject);
  exit(2);
}

uint64_t now_nanos(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void buffer_open(struct buffer *buffer, size_t room, size_t limit) {
  *buffer = (struct buffer){.bytes = malloc(room), .room = room, .limit = limit};
  if (buffer->bytes == NULL) fail("no memory for", "a buffer");
}

void buffer_close(struct buffer *buffer) {
  free(buffer->bytes);
  *buffer = (struct buffer){0};
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size) {
  if (buffer->from == buffer->to) buffer->from = buffer->to = 0;
  if (buffer->to + size <= buffer->room) return buffer->bytes + buffer->to;
  size_t waiting = buffer->to - buffer->from;
  if (waiting + size > buffer->limit) return NULL;
  memmove(buffer->bytes, buffer->bytes + buffer->from, waiting);
  buffer->from = 0;
  buffer->to = waiting;
  while (buffer->room < waiting + size) buffer->room *= 2;
  buffer->bytes = realloc(buffer->bytes, buffer->room);
  if (buffer->bytes == NULL) fail("no memory for", "a buffer");
  return buffer->bytes + buffer->to;
}

enum flow buffer_read(struct buffer *buffer, int socket) {
  /* A quarter of the room at least, so that many frames come with one call. */
  uint8_t *place = buffer_reserve(buffer, buffer->room / 4);
  if (place == NULL) return FLOW_ENDED;
  ssize_t count = read(socket, place, buffer->room - buffer->to);
  if (count > 0) {
    buffer->to += (size_t)count;
    return FLOW_OK;
  }
  return count < 0 && (errno == EAGAIN || errno == EINTR) ? FLOW_BLOCKED : FLOW_ENDED;
}

enum flow buffer_write(struct buffer *buffer, int socket) {
  while (buffer->from < buffer->to) {
    ssize_t count = send(socket, buffer->bytes + buffer->from, buffer->to - buffer->from, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN ? FLOW_BLOCKED : FLOW_ENDED;
    buffer->from += (size_t)count;
  }
  return FLOW_OK;
}

static struct sockaddr_in parse_address(const char *address) {
  struct sockaddr_in parsed = {.sin_family = AF_INET};
  char host[64];
  const char *colon = strrchr(address, ':');
  errno = 0;
  if (colon == NULL || (size_t)(colon - address) >= sizeof host) fail("expected IPv4:PORT, not", address);
  memcpy(host, address, (size_t)(colon - address));
  host[colon - address] = 0;
  parsed.sin_port = htons((uint16_t)atoi(colon + 1));
  if (inet_pton(AF_INET, host, &parsed.sin_addr) != 1) fail("expected IPv4:PORT, not", address);
  return parsed;
}

static void no_delay(int socket) {
  int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int net_listen(const char *address) {
  struct sockaddr_in at = parse_address(address);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1024) != 0) fail("cannot listen at", address);
  return listener;
}

int net_connect(const char *address, int receive_buffer) {
  struct sockaddr_in to = parse_address(address);
  int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client < 0) fail("no socket to connect to", address);
  if (receive_buffer > 0) setsockopt(client, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  no_delay(client);
  if (connect(client, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) fail("cannot connect to", address);
  return client;
}

int net_port(int socket) {
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  if (getsockname(socket, (struct sockaddr *)&at, &size) != 0) fail("no address of", "the listener");
  return ntohs(at.sin_port);
}

int net_accept(int listener) {
  int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client >= 0) no_delay(client);
  return client;
}

void watch_add(int epoll, int socket, uint64_t token) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0) fail("cannot watch", "a socket");
}

void watch_writable(int epoll, int socket, uint64_t token, int wanted) {
  struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.u64 = token};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, socket, &event) != 0) fail("cannot watch", "a socket");
}
