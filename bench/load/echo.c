/*
 * The provider of every bench: answers each request with the request's own body, and heartbeats with theirs.
 *
 *   echo PROTOCOL IPv4:PORT        prints {"port":N} once it listens; ends with its standard input
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net.h"
#include "protocol.h"

#define CONNECTIONS_MAX 16384
#define EVENTS 256
#define LISTENER UINT64_MAX
#define INPUT (UINT64_MAX - 1)

/* Replies that one connection may leave unread before it is cut. */
#define UNREAD_MAX (64u << 20)

struct connection {
  int socket;
  int waits; /* for the kernel to take more */
  struct buffer in, out;
};

static struct connection connections[CONNECTIONS_MAX];
static const struct protocol *protocol;
static int epoll;

static void open_connection(int socket) {
  if (socket >= CONNECTIONS_MAX) {
    close(socket);
    return;
  }
  struct connection *connection = &connections[socket];
  *connection = (struct connection){.socket = socket};
  buffer_open(&connection->in, 64 << 10, 2 * FRAME_MAX);
  buffer_open(&connection->out, 64 << 10, UNREAD_MAX);
  watch_add(epoll, socket, (uint64_t)socket);
}

static void end_connection(struct connection *connection) {
  close(connection->socket);
  buffer_close(&connection->in);
  buffer_close(&connection->out);
  connection->socket = -1;
}

static int answer(struct connection *connection) {
  struct buffer *in = &connection->in, *out = &connection->out;
  struct frame frame;
  for (;;) {
    enum look look = protocol->look(in->bytes + in->from, in->to - in->from, &frame);
    if (look == LOOK_MORE) return 1;
    if (look == LOOK_BROKEN) return 0;
    in->from += frame.size;
    if (frame.kind != FRAME_REQUEST && frame.kind != FRAME_HEARTBEAT) continue;
    uint8_t *place = buffer_reserve(out, FRAME_ROOM + frame.body_size);
    if (place == NULL) return 0;
    out->to += frame.kind == FRAME_REQUEST ? protocol->make_response(place, &frame) : protocol->make_heartbeat_reply(place, &frame);
  }
}

static int serve(struct connection *connection, uint32_t events) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    enum flow flow = buffer_read(&connection->in, connection->socket);
    if (flow == FLOW_ENDED || (flow == FLOW_OK && !answer(connection))) return 0;
  }
  enum flow flow = buffer_write(&connection->out, connection->socket);
  if (flow == FLOW_ENDED) return 0;
  int waits = flow == FLOW_BLOCKED;
  if (waits != connection->waits) watch_writable(epoll, connection->socket, (uint64_t)connection->socket, waits);
  connection->waits = waits;
  return 1;
}

int main(int count, char **arguments) {
  if (count != 3 || (protocol = find_protocol(arguments[1])) == NULL) fail("usage", "echo bolt|dubbo|http IPv4:PORT");
  int listener = net_listen(arguments[2]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  watch_add(epoll, listener, LISTENER);
  watch_add(epoll, STDIN_FILENO, INPUT);
  printf("{\"port\":%d}\n", net_port(listener));
  fflush(stdout);
  struct epoll_event events[EVENTS];
  for (;;) {
    int ready = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      uint64_t token = events[i].data.u64;
      if (token == INPUT) {
        char unused[64];
        if (read(STDIN_FILENO, unused, sizeof unused) <= 0) return 0; /* the harness is gone */
      } else if (token == LISTENER) {
        for (int socket; (socket = net_accept(listener)) >= 0;) open_connection(socket);
      } else if (!serve(&connections[token], events[i].events)) {
        end_connection(&connections[token]);
      }
    }
  }
}
