/*
 * The caller of every bench: a closed loop of `connections` x `in flight` requests, each reply checked against the request that it
 * answers (id, status, size, and a stamp in the body, so that a reply handed to the wrong caller is seen). The CPU time of other
 * processes is read here, at the two ends of the very window in which requests are counted.
 *
 *   load PROTOCOL IPv4:PORT [--connections N] [--in-flight N] [--seconds S] [--warm-up S] [--body BYTES] [--watch PID]… [--progress S]
 *
 * Prints one line of JSON at the end, and with --progress one every S seconds; exit code 1 when nothing was answered.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "latency.h"
#include "net.h"
#include "protocol.h"

#define SLOT_BITS 10
#define SLOTS_MAX (1u << SLOT_BITS)
#define WATCHED_MAX 8
#define CORES_MAX 64
#define EVENTS 256
#define REOPENINGS_MAX 1000
#define DRAIN_NANOS 2000000000u

struct slot {
  uint64_t id; /* of the request in flight; 0 for none */
  uint64_t sent;
};

struct connection {
  int socket, waits;
  uint64_t generation;
  struct slot *slots;
  struct buffer in, out;
};

struct core {
  uint64_t busy, idle;
};

/* What is read at each end of the window. */
struct reading {
  uint64_t at, own, watched[WATCHED_MAX];
  struct core cores[CORES_MAX];
  int core_count;
};

static struct options {
  const char *address;
  unsigned connections, in_flight;
  double seconds, warm_up, progress;
  size_t body;
  pid_t watched[WATCHED_MAX];
  int watched_count;
} options = {.connections = 4, .in_flight = 16, .seconds = 3, .warm_up = 1, .body = 1024};

static const struct protocol *protocol;
static uint8_t *template;
static size_t template_size, body_at;
static struct connection *connections;
static int epoll;
static int measuring, sending = 1;
static uint64_t total_replies, errors, reopenings, in_flight;
static struct latencies latencies;

static void send_request(struct connection *connection, unsigned slot) {
  /* The low bits name the slot, the others tell one use of it from the next; all fit the protocol's ids and wrap with them. */
  uint64_t generation_mask = (1ull << (protocol->id_bits - SLOT_BITS - 1)) - 1;
  uint64_t id = ((++connection->generation & generation_mask) << SLOT_BITS | slot) + 1;
  uint8_t *place = buffer_reserve(&connection->out, template_size);
  if (place == NULL) fail("a connection takes no more", "requests");
  char stamp[STAMP + 1];
  memcpy(place, template, template_size);
  protocol->set_id(place, id);
  make_stamp(stamp, (uint64_t)(connection - connections), id);
  memcpy(place + body_at, stamp, STAMP);
  connection->out.to += template_size;
  connection->slots[slot] = (struct slot){.id = id, .sent = now_nanos()};
  in_flight++;
}

static void open_connection(struct connection *connection) {
  connection->socket = net_connect(options.address, 0);
  connection->waits = 0;
  buffer_open(&connection->in, 256 << 10, 2 * FRAME_MAX);
  buffer_open(&connection->out, 64 << 10, (size_t)64 << 20);
  watch_add(epoll, connection->socket, (uint64_t)(connection - connections));
  for (unsigned slot = 0; slot < options.in_flight; slot++) send_request(connection, slot);
  watch_writable(epoll, connection->socket, (uint64_t)(connection - connections), 1);
  connection->waits = 1;
}

/* Everything in flight on a lost connection is an error; so is the loss itself when nothing was. */
static void reopen_connection(struct connection *connection) {
  unsigned lost = 0;
  for (unsigned slot = 0; slot < options.in_flight; slot++) {
    lost += connection->slots[slot].id != 0;
    connection->slots[slot].id = 0;
  }
  in_flight -= lost;
  errors += lost > 0 ? lost : 1;
  close(connection->socket);
  buffer_close(&connection->in);
  buffer_close(&connection->out);
  errno = 0;
  if (++reopenings > REOPENINGS_MAX) fail("too many connections were lost to", options.address);
  if (sending) open_connection(connection);
  else connection->socket = -1;
}

static int reply_is_right(const struct connection *connection, const struct frame *frame, uint64_t id) {
  char stamp[STAMP + 1];
  make_stamp(stamp, (uint64_t)(connection - connections), id);
  return frame->ok && frame->body_size == options.body && memcmp(frame->body, stamp, STAMP) == 0;
}

/* Takes the replies that have come, and sends a request for each. Returns 0 when the stream is broken. */
static int take_replies(struct connection *connection) {
  struct frame frame;
  uint64_t now = now_nanos();
  for (;;) {
    struct buffer *in = &connection->in;
    enum look look = protocol->look(in->bytes + in->from, in->to - in->from, &frame);
    if (look == LOOK_MORE) return 1;
    if (look == LOOK_BROKEN) return 0;
    in->from += frame.size;
    if (frame.kind == FRAME_HEARTBEAT) {
      uint8_t *place = buffer_reserve(&connection->out, FRAME_ROOM);
      if (place != NULL) connection->out.to += protocol->make_heartbeat_reply(place, &frame);
    }
    if (frame.kind != FRAME_RESPONSE) continue;
    unsigned slot = (unsigned)(frame.id - 1) & (SLOTS_MAX - 1);
    if (slot >= options.in_flight || frame.id == 0 || connection->slots[slot].id != frame.id) {
      errors++; /* nobody asked, or it was answered before */
      continue;
    }
    if (!reply_is_right(connection, &frame, frame.id)) errors++;
    else if (measuring) latency_add(&latencies, now - connection->slots[slot].sent);
    total_replies++;
    in_flight--;
    connection->slots[slot].id = 0;
    if (sending) send_request(connection, slot);
  }
}

static int serve(struct connection *connection, uint32_t events) {
  if (events & (EPOLLHUP | EPOLLERR)) return 0;
  if (events & EPOLLIN) {
    enum flow flow = buffer_read(&connection->in, connection->socket);
    if (flow == FLOW_ENDED || (flow == FLOW_OK && !take_replies(connection))) return 0;
  }
  enum flow flow = buffer_write(&connection->out, connection->socket);
  if (flow == FLOW_ENDED) return 0;
  int waits = flow == FLOW_BLOCKED;
  if (waits != connection->waits) watch_writable(epoll, connection->socket, (uint64_t)(connection - connections), waits);
  connection->waits = waits;
  return 1;
}

static uint64_t cpu_nanos(pid_t process) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  struct timespec time;
  errno = 0;
  if ((process != 0 && clock_getcpuclockid(process, &clock) != 0) || clock_gettime(clock, &time) != 0)
    fail("no CPU time can be read of", "a watched process");
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void read_cores(struct reading *reading) {
  FILE *file = fopen("/proc/stat", "r");
  char line[512];
  reading->core_count = 0;
  if (file == NULL) return;
  while (fgets(line, sizeof line, file) != NULL && reading->core_count < CORES_MAX) {
    unsigned long long t[8] = {0};
    if (memcmp(line, "cpu", 3) != 0 || line[3] == ' ') continue; /* the first line is the sum of all */
    if (sscanf(line, "cpu%*u %llu %llu %llu %llu %llu %llu %llu %llu", t, t + 1, t + 2, t + 3, t + 4, t + 5, t + 6, t + 7) < 4) continue;
    reading->cores[reading->core_count++] = (struct core){.busy = t[0] + t[1] + t[2] + t[5] + t[6] + t[7], .idle = t[3] + t[4]};
  }
  fclose(file);
}

static void read_all(struct reading *reading) {
  for (int i = 0; i < options.watched_count; i++) reading->watched[i] = cpu_nanos(options.watched[i]);
  reading->own = cpu_nanos(0);
  read_cores(reading);
  reading->at = now_nanos();
}

static void print_result(const struct reading *from, const struct reading *to) {
  double seconds = (double)(to->at - from->at) / 1e9;
  double requests = latencies.count > 0 ? (double)latencies.count : 1;
  printf("{\"requests\":%llu,\"seconds\":%.3f,\"rps\":%.1f,\"p50Micros\":%.2f,\"p99Micros\":%.2f,\"errors\":%llu,\"unanswered\":%llu,"
         "\"reopenings\":%llu,\"ownCpuMicros\":%.4f,\"watchedCpuMicros\":[",
         (unsigned long long)latencies.count, seconds, (double)latencies.count / seconds, latency_quantile_micros(&latencies, 0.5),
         latency_quantile_micros(&latencies, 0.99), (unsigned long long)errors, (unsigned long long)in_flight,
         (unsigned long long)reopenings, (double)(to->own - from->own) / 1e3 / requests);
  for (int i = 0; i < options.watched_count; i++)
    printf("%s%.4f", i > 0 ? "," : "", (double)(to->watched[i] - from->watched[i]) / 1e3 / requests);
  printf("],\"coreBusy\":[");
  for (int i = 0; i < to->core_count && i < from->core_count; i++) {
    double busy = (double)(to->cores[i].busy - from->cores[i].busy), idle = (double)(to->cores[i].idle - from->cores[i].idle);
    printf("%s%.4f", i > 0 ? "," : "", busy + idle > 0 ? busy / (busy + idle) : 0);
  }
  printf("]}\n");
}

static void run_until(uint64_t end) {
  static uint64_t started, next_progress;
  struct epoll_event events[EVENTS];
  uint64_t now = now_nanos();
  if (started == 0) started = now, next_progress = now + (uint64_t)(options.progress * 1e9);
  while (now < end && (sending || in_flight > 0)) {
    uint64_t left = end - now;
    int wait = left > 100000000u ? 100 : (int)(left / 1000000u) + 1;
    int ready = epoll_wait(epoll, events, EVENTS, wait);
    for (int i = 0; i < ready; i++) {
      struct connection *connection = &connections[events[i].data.u64];
      if (connection->socket >= 0 && !serve(connection, events[i].events)) reopen_connection(connection);
    }
    now = now_nanos();
    if (options.progress > 0 && now >= next_progress) {
      printf("{\"progress\":true,\"seconds\":%.3f,\"requests\":%llu,\"errors\":%llu}\n", (double)(now - started) / 1e9,
             (unsigned long long)total_replies, (unsigned long long)errors);
      fflush(stdout);
      next_progress += (uint64_t)(options.progress * 1e9);
    }
  }
}

static void read_options(int count, char **arguments) {
  static const struct option names[] = {{"connections", 1, 0, 'c'}, {"in-flight", 1, 0, 'f'}, {"seconds", 1, 0, 's'},
                                        {"warm-up", 1, 0, 'u'},     {"body", 1, 0, 'b'},      {"watch", 1, 0, 'w'},
                                        {"progress", 1, 0, 'p'},    {0, 0, 0, 0}};
  for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;) {
    switch (option) {
      case 'c': options.connections = (unsigned)atoi(optarg); break;
      case 'f': options.in_flight = (unsigned)atoi(optarg); break;
      case 's': options.seconds = atof(optarg); break;
      case 'u': options.warm_up = atof(optarg); break;
      case 'b': options.body = (size_t)atol(optarg); break;
      case 'p': options.progress = atof(optarg); break;
      case 'w':
        if (options.watched_count < WATCHED_MAX) options.watched[options.watched_count++] = atoi(optarg);
        break;
      default: exit(2);
    }
  }
  if (count - optind != 2 || (protocol = find_protocol(arguments[optind])) == NULL) fail("usage", "load bolt|dubbo|http IPv4:PORT [options]");
  options.address = arguments[optind + 1];
  if (options.connections < 1 || options.in_flight < 1 || options.in_flight > SLOTS_MAX) fail("connections and in-flight must be", "1 or more");
  if (options.body < 1024 || options.body > 65535) fail("--body must be", "1024 to 65535");
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  template = malloc(options.body + FRAME_ROOM);
  connections = calloc(options.connections, sizeof *connections);
  if (template == NULL || connections == NULL) fail("no memory for", "the connections");
  template_size = protocol->make_request(template, options.body, &body_at);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned i = 0; i < options.connections; i++) {
    connections[i].slots = calloc(options.in_flight, sizeof(struct slot));
    open_connection(&connections[i]);
  }
  struct reading from, to;
  run_until(now_nanos() + (uint64_t)(options.warm_up * 1e9));
  read_all(&from);
  measuring = 1;
  run_until(from.at + (uint64_t)(options.seconds * 1e9));
  measuring = 0;
  read_all(&to);
  sending = 0;
  run_until(now_nanos() + DRAIN_NANOS);
  errors += in_flight; /* not answered within the time to drain */
  print_result(&from, &to);
  return latencies.count > 0 ? 0 : 1;
}
