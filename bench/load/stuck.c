/*
 * The two clients of the head-of-line scenario, beside a load that somebody else makes: one sends requests and never reads a reply,
 * one sends a frame of 1 MiB at a byte a second. Either comes back when it is cut, after a pause.
 *
 *   stuck PROTOCOL IPv4:PORT [--seconds S]
 *
 * Prints one line of JSON at the end: what each sent and how often it was cut.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "protocol.h"

#define DRIP_BODY (1u << 20)
#define DEAF_BODY 1024
#define PAUSE_NANOS 2000000000u
#define SECOND 1000000000u
/* Requests for each turn of the loop, 10 ms: enough to fill any stage soon, too few to be a load of its own. */
#define DEAF_REQUESTS_A_TURN 8

struct client {
  const struct protocol *protocol;
  int socket;
  unsigned cuts;
  uint64_t sent, next_at, id;
  uint8_t *bytes; /* what is being sent, over and over (deaf) or once (drip) */
  size_t size, at;
};

static const char *address;

static void open_client(struct client *client, int receive_buffer) {
  client->socket = net_connect(address, receive_buffer);
  client->at = 0; /* a frame that was cut short begins anew */
}

static void lose(struct client *client, uint64_t now) {
  close(client->socket);
  client->socket = -1;
  client->cuts++;
  client->next_at = now + PAUSE_NANOS;
}

/* Sends up to `size` bytes of the client's; tells that the peer has ended the connection. */
static int push(struct client *client, size_t size) {
  ssize_t count = send(client->socket, client->bytes + client->at, size, MSG_NOSIGNAL);
  if (count < 0) return errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN;
  client->at += (size_t)count;
  client->sent += (uint64_t)count;
  return 1;
}

/* An end that shows without reading: hang-up, reset, or the peer's FIN. */
static int has_ended(const struct client *client) {
  struct pollfd state = {.fd = client->socket, .events = POLLRDHUP};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR | POLLRDHUP)) != 0;
}

static void turn_deaf(struct client *deaf, uint64_t now) {
  if (deaf->socket < 0) {
    if (now >= deaf->next_at) open_client(deaf, 4096);
    return;
  }
  if (has_ended(deaf)) return lose(deaf, now);
  for (int i = 0; i < DEAF_REQUESTS_A_TURN; i++) {
    size_t before = deaf->at;
    if (!push(deaf, deaf->size - deaf->at)) return lose(deaf, now);
    if (deaf->at == before) return; /* the kernel takes no more */
    if (deaf->at < deaf->size) continue;
    deaf->at = 0;
    deaf->protocol->set_id(deaf->bytes, ++deaf->id);
  }
}

static void turn_drip(struct client *drip, uint64_t now) {
  if (drip->socket < 0) {
    if (now >= drip->next_at) open_client(drip, 0);
    return;
  }
  if (has_ended(drip)) return lose(drip, now);
  if (now < drip->next_at) return;
  /* The head and a little more go at once, so that the peer knows what it has to wait for. */
  if (!push(drip, drip->at == 0 ? 64 : 1)) return lose(drip, now);
  drip->next_at = now + SECOND;
}

static struct client make_client(const struct protocol *protocol, size_t body) {
  size_t body_at;
  struct client client = {.protocol = protocol, .socket = -1, .id = 1, .bytes = malloc(body + FRAME_ROOM)};
  if (client.bytes == NULL) fail("no memory for", "a frame");
  client.size = protocol->make_request(client.bytes, body, &body_at);
  protocol->set_id(client.bytes, 1);
  return client;
}

int main(int count, char **arguments) {
  const struct protocol *protocol = count >= 3 ? find_protocol(arguments[1]) : NULL;
  double seconds = count == 5 && strcmp(arguments[3], "--seconds") == 0 ? atof(arguments[4]) : 10;
  if (protocol == NULL || seconds <= 0) fail("usage", "stuck bolt|dubbo|http IPv4:PORT [--seconds S]");
  address = arguments[2];
  struct client deaf = make_client(protocol, DEAF_BODY), drip = make_client(protocol, DRIP_BODY);
  uint64_t end = now_nanos() + (uint64_t)(seconds * 1e9);
  for (uint64_t now; (now = now_nanos()) < end; poll(NULL, 0, 10)) {
    turn_deaf(&deaf, now);
    turn_drip(&drip, now);
  }
  printf("{\"deafBytes\":%llu,\"deafCuts\":%u,\"dripBytes\":%llu,\"dripCuts\":%u}\n", (unsigned long long)deaf.sent, deaf.cuts,
         (unsigned long long)drip.sent, drip.cuts);
  return 0;
}
