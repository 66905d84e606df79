/* The load of streams of the benchmarks, for rows that outrun stream_load.py; the same words, the same JSON.
 *
 *   stream_load PORT STREAMS SECONDS RAMP_S REQUEST
 *
 * Keeps STREAMS open, their starts spread over the ramp.  Prints "counting" when it begins to count, a
 * second after the ramp, and a line of JSON SECONDS later.  Linux only (epoll).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TAIL = 8, READ = 1 << 18, READY = 1024, FIRSTS = 1 << 20 };

struct stream {
    int fd;
    int connected;
    int waits;   /* for the first event */
    int counted; /* it began while we counted */
    double asked_at;
    char tail[TAIL];
};

static char request[1 << 16], buffer[TAIL + READ];
static size_t request_size;
static int poller, counting;
static long events, reads, ended, broken, first_count;
static double firsts[FIRSTS];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void ask(struct stream *s) {
    memset(s->tail, 0, TAIL);
    s->asked_at = now();
    s->waits = 1;
    s->counted = counting;
    if (send(s->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) broken++;
}

static void begin(struct stream *s, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(s->fd, (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS) broken++;
    epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &wanted);
}

static void readable(struct stream *s) {
    static const char mark[] = "\ndata: ", last[] = "\r\n0\r\n\r\n";
    ssize_t got = recv(s->fd, buffer + TAIL, READ, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        broken++;
        close(s->fd);
        return;
    }
    memcpy(buffer, s->tail, TAIL);
    char *at = buffer + TAIL - (sizeof mark - 2), *stop = buffer + TAIL + got;
    long found = 0;
    while ((at = memmem(at, stop - at, mark, sizeof mark - 1))) {
        found++;
        at += sizeof mark - 1;
    }
    if (counting) {
        events += found;
        reads++;
    }
    if (found && s->waits) {
        s->waits = 0;
        if (s->counted && first_count < FIRSTS) firsts[first_count++] = now() - s->asked_at;
    }
    memcpy(s->tail, stop - TAIL, TAIL);
    if (!memcmp(stop - (sizeof last - 1), last, sizeof last - 1)) {
        if (s->waits) broken++; /* an answer without an event */
        if (counting) ended++;
        ask(s);
    }
}

int main(int count, char **words) {
    if (count != 6) return 2;
    int port = atoi(words[1]), most = atoi(words[2]), begun = 0;
    double seconds = atof(words[3]), ramp_s = atof(words[4]);
    FILE *file = fopen(words[5], "rb");
    if (!file) return 2;
    request_size = fread(request, 1, sizeof request, file);
    poller = epoll_create1(0);
    struct stream *streams = calloc(most, sizeof *streams);
    struct epoll_event ready[READY];
    double started_at = now(), counted_from = 0, at;
    for (;;) {
        at = now();
        while (begun < most && at - started_at >= ramp_s * begun / most) begin(&streams[begun++], port);
        if (!counting && at - started_at >= ramp_s + 1) {
            puts("counting");
            fflush(stdout);
            counting = 1;
            counted_from = now();
        }
        if (counting && at - counted_from >= seconds) break;
        int n = epoll_wait(poller, ready, READY, begun < most ? 1 : 20);
        for (int i = 0; i < n; i++) {
            struct stream *s = ready[i].data.ptr;
            if (s->connected) {
                readable(s);
            } else {
                struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = s};
                epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &wanted);
                s->connected = 1;
                ask(s);
            }
        }
    }
    double took = now() - counted_from;
    qsort(firsts, first_count, sizeof *firsts, ascending);
    printf("{\"seconds\": %.4f, \"events_per_s\": %.1f, \"events\": %ld, \"reads\": %ld, \"streams\": %ld, \"broken\": %ld, "
           "\"first_p50_ms\": %.3f, \"first_p99_ms\": %.3f}\n",
           took, events / took, events, reads, ended, broken,
           first_count ? firsts[first_count / 2] * 1e3 : 0, first_count ? firsts[(long)(first_count * 0.99)] * 1e3 : 0);
    return 0;
}
