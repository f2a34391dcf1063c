/* Sockets, byte buffers and time for the three programs. Every failure that a program cannot go on after ends it, with a sentence. */
#ifndef DUALMESH_BENCH_NET_H
#define DUALMESH_BENCH_NET_H

#include <stddef.h>
#include <stdint.h>

/* Bytes between `from` and `to` are waiting; the buffer grows as needed, to `limit`. */
struct buffer {
  uint8_t *bytes;
  size_t from, to, room, limit;
};

void buffer_open(struct buffer *buffer, size_t room, size_t limit);
void buffer_close(struct buffer *buffer);
/* Makes place for `size` more bytes and returns where to write them; NULL when the limit forbids it. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);

enum flow { FLOW_OK, FLOW_BLOCKED, FLOW_ENDED };
/* Reads once, as much as there is place for. */
enum flow buffer_read(struct buffer *buffer, int socket);
/* Writes what waits until it is gone or the kernel takes no more. */
enum flow buffer_write(struct buffer *buffer, int socket);

/* `address` is IPv4:PORT. Both sockets are non-blocking, with Nagle's delay off. */
int net_listen(const char *address);
int net_connect(const char *address, int receive_buffer);
/* The port that a socket is bound to. */
int net_port(int socket);
int net_accept(int listener);

void watch_add(int epoll, int socket, uint64_t token);
void watch_writable(int epoll, int socket, uint64_t token, int wanted);

uint64_t now_nanos(void);
_Noreturn void fail(const char *sentence, const char *subject);

#endif
