/*
 * Callers at a steady rate over many connections that are kept: an open loop, in which request k is due at the start plus k / RATE, goes to the
 * connections in turn, and counts from when it was due, however late it could be sent or was answered. Each reply is checked against its
 * request as in load.c. A connection that ends is counted as lost, its requests as failed, and is opened anew when it is due again.
 *
 *   steady RATE BODY (PROTOCOL IPv4:PORT CONNECTIONS)…
 *
 * Prints {"opened":N} when all connections are open. Then time is cut into windows: each line of standard input is the name of the one that begins.
 * A request belongs to the window in which it was due; the line of a window is printed once all its requests are answered or have failed.
 * The end of the input ends the load: then there is a line for all windows of each name together, and one for all connections.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "latency.h"
#include "net.h"
#include "protocol.h"

#define SLOT_BITS 5
#define SLOTS (1u << SLOT_BITS)
#define WAITING 1024 /* requests of one connection that are due and cannot be sent; one more has failed */
#define TARGETS_MAX 8
#define WINDOWS 8
#define NAME_MAX_BYTES 16
#define EVENTS 256
#define INPUT UINT64_MAX
#define TIMER (UINT64_MAX - 1)
#define ANSWER_NANOS 5000000000u /* a request that is not answered by then has failed, and its connection is given up */
#define LOOK_NANOS 250000000u
#define OPENING_MICROS 200

/* `window` counts windows from the beginning. */
struct request {
  uint64_t id; /* 0 for none */
  uint64_t due, window;
};

struct target {
  const struct protocol *protocol;
  const char *address;
  unsigned connections, in_flight;
  uint8_t *template;
  size_t template_size, body_at;
};

struct connection {
  const struct target *target;
  int socket; /* -1 while it is lost */
  int waits;  /* for the kernel to take more */
  int lost;   /* it was, at some time */
  unsigned in_flight, first_waiting, waiting;
  uint64_t generation;
  struct request slots[SLOTS], queue[WAITING];
  struct buffer in, out;
};

struct tally {
  char name[NAME_MAX_BYTES];
  uint64_t nanos, calls, failed, lost, worst, late;
  uint64_t worst_at; /* from the beginning of its window until the worst call was due */
  struct latencies latencies;
};

struct window {
  uint64_t opened, outstanding;
  int closed;
  struct tally tally;
};

static struct target targets[TARGETS_MAX];
static unsigned target_count, connection_count;
static struct connection *connections;
static size_t body;
static int epoll;
static struct window windows[WINDOWS];
/* Windows are printed in order: those from `printed` up to `current` still wait for answers, or for their end. */
static uint64_t printed, current;
static struct tally totals[WINDOWS];
static unsigned total_count;

static struct window *window_of(uint64_t number) { return &windows[number % WINDOWS]; }

static void print_tally(const char *kind, const struct tally *tally) {
  printf("{\"%s\":\"%s\",\"seconds\":%.3f,\"calls\":%llu,\"failed\":%llu,\"lost\":%llu,\"p50Ms\":%.4f,\"p99Ms\":%.4f,\"worstMs\":%.4f,\"worstAtMs\":%.1f,\"lateMs\":%.4f}\n",
         kind, tally->name, (double)tally->nanos / 1e9, (unsigned long long)tally->calls, (unsigned long long)tally->failed,
         (unsigned long long)tally->lost, latency_quantile_micros(&tally->latencies, 0.5) / 1e3,
         latency_quantile_micros(&tally->latencies, 0.99) / 1e3, (double)tally->worst / 1e6, (double)tally->worst_at / 1e6,
         (double)tally->late / 1e6);
  fflush(stdout);
}

static struct tally *total_of(const char *name) {
  for (unsigned i = 0; i < total_count; i++)
    if (strcmp(totals[i].name, name) == 0) return &totals[i];
  errno = 0;
  if (total_count == WINDOWS) fail("too many names of windows, at", name);
  strcpy(totals[total_count].name, name);
  return &totals[total_count++];
}

static void add_to_total(const struct tally *tally) {
  struct tally *total = total_of(tally->name);
  total->nanos += tally->nanos;
  total->calls += tally->calls;
  total->failed += tally->failed;
  total->lost += tally->lost;
  if (tally->worst > total->worst) total->worst = tally->worst, total->worst_at = tally->worst_at;
  if (tally->late > total->late) total->late = tally->late;
  latency_merge(&total->latencies, &tally->latencies);
}

static void print_windows(void) {
  for (; printed <= current; printed++) {
    struct window *window = window_of(printed);
    if (!window->closed || window->outstanding > 0) return;
    print_tally("window", &window->tally);
    add_to_total(&window->tally);
  }
}

static void close_window(void) {
  struct window *window = window_of(current);
  window->closed = 1;
  window->tally.nanos = now_nanos() - window->opened;
  print_windows();
}

static void begin_window(uint64_t number, const char *name) {
  struct window *window = window_of(number);
  errno = 0;
  if (number - printed >= WINDOWS) fail("windows begin faster than requests are answered, at", name);
  memset(window, 0, sizeof *window);
  window->opened = now_nanos();
  snprintf(window->tally.name, sizeof window->tally.name, "%s", name);
  current = number;
}

static void request_failed(const struct request *request) {
  struct window *window = window_of(request->window);
  window->tally.failed++;
  window->outstanding--;
}

static void request_answered(const struct request *request, uint64_t now) {
  struct window *window = window_of(request->window);
  uint64_t nanos = now - request->due;
  latency_add(&window->tally.latencies, nanos);
  if (nanos > window->tally.worst) {
    window->tally.worst = nanos;
    window->tally.worst_at = request->due > window->opened ? request->due - window->opened : 0;
  }
  window->outstanding--;
}

/* Something waits. */
static struct request take_waiting(struct connection *connection) {
  struct request request = connection->queue[connection->first_waiting];
  connection->waiting--;
  connection->first_waiting = connection->waiting == 0 ? 0 : (connection->first_waiting + 1) % WAITING;
  return request;
}

static uint64_t number_of(const struct connection *connection) { return (uint64_t)(connection - connections); }

static void open_connection(struct connection *connection) {
  connection->socket = net_connect(connection->target->address, 0);
  buffer_open(&connection->in, 4 << 10, 2 * FRAME_MAX);
  buffer_open(&connection->out, 4 << 10, (size_t)64 << 20);
  watch_add(epoll, connection->socket, number_of(connection));
  connection->waits = 0;
}

/* What was in flight has failed; what could not be sent yet waits for the connection to be opened anew. */
static void lose_connection(struct connection *connection) {
  for (unsigned slot = 0; slot < SLOTS; slot++) {
    if (connection->slots[slot].id != 0) request_failed(&connection->slots[slot]);
    connection->slots[slot].id = 0;
  }
  connection->in_flight = 0;
  connection->lost = 1;
  window_of(current)->tally.lost++;
  close(connection->socket);
  buffer_close(&connection->in);
  buffer_close(&connection->out);
  connection->socket = -1;
}

static void put_request(struct connection *connection, struct request request) {
  const struct target *target = connection->target;
  unsigned slot = 0;
  while (connection->slots[slot].id != 0) slot++;
  /* The low bits name the slot, the others tell one use of it from the next; all fit the protocol's ids and wrap with them. */
  uint64_t generation_mask = (1ull << (target->protocol->id_bits - SLOT_BITS - 1)) - 1;
  request.id = ((++connection->generation & generation_mask) << SLOT_BITS | slot) + 1;
  uint8_t *place = buffer_reserve(&connection->out, target->template_size);
  if (place == NULL) fail("a connection takes no more", "requests");
  char stamp[STAMP + 1];
  memcpy(place, target->template, target->template_size);
  target->protocol->set_id(place, request.id);
  make_stamp(stamp, number_of(connection), request.id);
  memcpy(place + target->body_at, stamp, STAMP);
  connection->out.to += target->template_size;
  connection->slots[slot] = request;
  connection->in_flight++;
}

/* Sends what waits, as far as the protocol allows and the kernel takes it. Returns 0 when the connection has ended. */
static int send_waiting(struct connection *connection) {
  if (connection->socket < 0 && connection->waiting > 0) open_connection(connection);
  while (connection->waiting > 0 && connection->in_flight < connection->target->in_flight) {
    put_request(connection, take_waiting(connection));
  }
  enum flow flow = buffer_write(&connection->out, connection->socket);
  if (flow == FLOW_ENDED) return 0;
  int waits = flow == FLOW_BLOCKED;
  if (waits != connection->waits) watch_writable(epoll, connection->socket, number_of(connection), waits);
  connection->waits = waits;
  return 1;
}

/* Takes the replies that have come. Returns 0 when the stream is broken, or holds what nobody asked for. */
static int take_replies(struct connection *connection) {
  const struct protocol *protocol = connection->target->protocol;
  struct buffer *in = &connection->in;
  struct frame frame;
  uint64_t now = now_nanos();
  for (;;) {
    enum look look = protocol->look(in->bytes + in->from, in->to - in->from, &frame);
    if (look == LOOK_MORE) return 1;
    if (look == LOOK_BROKEN) return 0;
    in->from += frame.size;
    if (frame.kind == FRAME_HEARTBEAT) {
      uint8_t *place = buffer_reserve(&connection->out, FRAME_ROOM);
      if (place != NULL) connection->out.to += protocol->make_heartbeat_reply(place, &frame);
    }
    if (frame.kind != FRAME_RESPONSE) continue;
    struct request *request = &connection->slots[(frame.id - 1) & (SLOTS - 1)];
    if (frame.id == 0 || request->id != frame.id) return 0;
    char stamp[STAMP + 1];
    make_stamp(stamp, number_of(connection), frame.id);
    if (frame.ok && frame.body_size == body && memcmp(frame.body, stamp, STAMP) == 0) request_answered(request, now);
    else request_failed(request);
    request->id = 0;
    connection->in_flight--;
  }
}

static int serve(struct connection *connection, uint32_t events) {
  if (events & EPOLLIN) {
    enum flow flow = buffer_read(&connection->in, connection->socket);
    if (flow == FLOW_ENDED || (flow == FLOW_OK && !take_replies(connection))) return 0;
  }
  if (events & (EPOLLHUP | EPOLLERR)) return 0;
  return send_waiting(connection);
}

/* Everything that is due by now: to the connections in turn. */
static uint64_t send_due(uint64_t start, double interval, uint64_t next) {
  for (;; next++) {
    uint64_t due = start + (uint64_t)((double)next * interval), now = now_nanos();
    if (due > now) return next;
    struct window *window = window_of(current);
    struct connection *connection = &connections[next % connection_count];
    window->tally.calls++;
    window->outstanding++;
    if (now - due > window->tally.late) window->tally.late = now - due;
    struct request request = {.due = due, .window = current};
    if (connection->waiting == WAITING) request_failed(&request);
    else connection->queue[(connection->first_waiting + connection->waiting++) % WAITING] = request;
    if (!send_waiting(connection)) lose_connection(connection);
  }
}

/* What was due so long ago has failed. Its connection is given up too, if it was sent: the reply may still come. */
static void fail_overdue(uint64_t now) {
  for (unsigned i = 0; i < connection_count; i++) {
    struct connection *connection = &connections[i];
    while (connection->waiting > 0 && now >= connection->queue[connection->first_waiting].due + ANSWER_NANOS) {
      struct request request = take_waiting(connection);
      request_failed(&request);
    }
    for (unsigned slot = 0; connection->in_flight > 0 && slot < SLOTS; slot++) {
      const struct request *request = &connection->slots[slot];
      if (request->id != 0 && now >= request->due + ANSWER_NANOS) lose_connection(connection);
    }
  }
}

/* Returns 0 at the end of the input. */
static int read_names(void) {
  static char line[NAME_MAX_BYTES];
  static size_t length;
  char bytes[256];
  ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return 1;
  for (ssize_t i = 0; i < count; i++) {
    if (bytes[i] != '\n') {
      if (length < sizeof line - 1) line[length++] = bytes[i];
      continue;
    }
    line[length] = 0;
    length = 0;
    close_window();
    begin_window(current + 1, line);
  }
  return count > 0;
}

static void open_all(void) {
  for (unsigned row = 0, opened = 0; opened < connection_count; row++) {
    for (unsigned i = 0; i < target_count; i++) {
      if (row >= targets[i].connections) continue;
      struct connection *connection = &connections[opened++];
      connection->target = &targets[i];
      open_connection(connection);
      struct pollfd wanted = {.fd = connection->socket, .events = POLLOUT};
      errno = 0;
      if (poll(&wanted, 1, 10000) != 1 || (wanted.revents & (POLLERR | POLLHUP))) fail("cannot connect to", targets[i].address);
      usleep(OPENING_MICROS); /* so that no queue of a listener overflows, which would cost seconds */
    }
  }
  printf("{\"opened\":%u}\n", connection_count);
  fflush(stdout);
}

static void run(double interval) {
  struct epoll_event events[EVENTS];
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), sending = 1;
  watch_add(epoll, timer, TIMER);
  watch_add(epoll, STDIN_FILENO, INPUT);
  begin_window(0, "warm-up");
  uint64_t start = now_nanos(), next = 0, looked = start;
  while (sending || printed <= current) {
    if (sending) {
      next = send_due(start, interval, next);
      uint64_t due = start + (uint64_t)((double)next * interval);
      struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)}};
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    }
    int ready = epoll_wait(epoll, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      uint64_t token = events[i].data.u64, expirations;
      if (token == TIMER) {
        if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("no time can be told by", "the timer");
      } else if (token == INPUT) {
        if (read_names()) continue;
        epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        close_window();
        sending = 0;
      } else if (connections[token].socket >= 0 && !serve(&connections[token], events[i].events)) {
        lose_connection(&connections[token]);
      }
    }
    uint64_t now = now_nanos();
    if (now - looked >= LOOK_NANOS) fail_overdue(now), looked = now;
    print_windows();
  }
}

int main(int count, char **arguments) {
  errno = 0;
  if (count < 6 || (count - 3) % 3 != 0 || (count - 3) / 3 > TARGETS_MAX)
    fail("usage", "steady RATE BODY (bolt|dubbo|http IPv4:PORT CONNECTIONS)…");
  double rate = atof(arguments[1]);
  body = (size_t)atol(arguments[2]);
  if (!(rate > 0)) fail("the rate must be above 0, not", arguments[1]);
  if (body < 1024 || body > 65535) fail("the body must have 1024 to 65535 bytes, not", arguments[2]);
  for (char **words = arguments + 3; words < arguments + count; words += 3) {
    struct target *target = &targets[target_count++];
    target->protocol = find_protocol(words[0]);
    if (target->protocol == NULL) fail("no such protocol", words[0]);
    target->address = words[1];
    target->connections = (unsigned)atoi(words[2]);
    target->in_flight = target->protocol == &http_protocol ? 1 : SLOTS; /* HTTP/1.1 has one in flight */
    target->template = malloc(body + FRAME_ROOM);
    if (target->template == NULL) fail("no memory for", "a request");
    target->template_size = target->protocol->make_request(target->template, body, &target->body_at);
    connection_count += target->connections;
  }
  if (connection_count == 0) fail("usage", "at least one connection");
  connections = calloc(connection_count, sizeof *connections);
  if (connections == NULL) fail("no memory for", "the connections");
  epoll = epoll_create1(EPOLL_CLOEXEC);
  open_all();
  run(1e9 / rate);
  for (unsigned i = 0; i < total_count; i++) print_tally("total", &totals[i]);
  unsigned kept = 0;
  for (unsigned i = 0; i < connection_count; i++) kept += !connections[i].lost;
  printf("{\"connections\":%u,\"kept\":%u}\n", connection_count, kept);
  return 0;
}
