/* The streaming provider of the benchmarks, for rows that outrun upstream.py.
 *
 *   stream_upstream PORT TICK_US EVENTS HEAD EVENT END
 *
 * Every POST is answered with the bytes of the file HEAD and one EVENT, then with one EVENT per tick until
 * EVENTS were sent, then with END.  Tick 0 is as fast as the reader takes them.  Streams do not tick in
 * step: they are served in SLOTS groups, spread over the tick.  Linux only (epoll).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MOST = 65536, REQUEST = 16384, READY = 1024, SLOTS = 16 };

struct piece {
    char *data;
    size_t size;
};

struct connection {
    int fd;
    int active; /* its place in `open`, or -1 */
    int left;   /* events still to send */
    const char *rest;
    size_t rest_size; /* what a full socket did not take */
    size_t got;
    char request[REQUEST];
};

static struct piece head, event, end;
static struct connection *connections[MOST], *open_streams[MOST];
static int open_count, events_each, poller;

static struct piece from_file(const char *name) {
    FILE *file = fopen(name, "rb");
    struct piece piece = {malloc(1 << 16), 0};
    if (!file) {
        perror(name);
        exit(2);
    }
    piece.size = fread(piece.data, 1, 1 << 16, file);
    fclose(file);
    return piece;
}

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event wanted = {.events = events, .data.fd = c->fd};
    epoll_ctl(poller, operation, c->fd, &wanted);
}

static void send_bytes(struct connection *c, const char *data, size_t size) {
    ssize_t sent = send(c->fd, data, size, MSG_NOSIGNAL);
    if (sent == (ssize_t)size) return;
    if (sent < 0) {
        if (errno != EAGAIN) return; /* the reading side sees the end */
        sent = 0;
    }
    c->rest = data + sent;
    c->rest_size = size - sent;
    watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void stop(struct connection *c) {
    if (c->active < 0) return;
    open_streams[c->active] = open_streams[--open_count];
    open_streams[c->active]->active = c->active;
    c->active = -1;
}

static void start(struct connection *c) {
    send_bytes(c, head.data, head.size); /* head ends with the first event */
    c->left = events_each - 1;
    c->active = open_count;
    open_streams[open_count++] = c;
}

/* One event on every stream of a group that has room; group -1 is all. */
static void burst(int group) {
    for (int i = 0; i < open_count;) {
        struct connection *c = open_streams[i];
        if (c->rest_size || (group >= 0 && c->fd % SLOTS != group)) {
            i++;
        } else if (c->left) {
            c->left--;
            send_bytes(c, event.data, event.size);
            i++;
        } else {
            stop(c); /* another one takes its place */
            send_bytes(c, end.data, end.size);
        }
    }
}

static void leave(struct connection *c) {
    stop(c);
    connections[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static int complete(struct connection *c) {
    char *body = strstr(c->request, "\r\n\r\n"), *length;
    if (!body) return 0;
    length = strcasestr(c->request, "\r\ncontent-length:");
    if (!length || length > body) return strstr(body + 4, "0\r\n\r\n") != NULL;
    return c->got - (body + 4 - c->request) >= (size_t)atol(length + 17);
}

static void readable(struct connection *c) {
    ssize_t got = recv(c->fd, c->request + c->got, REQUEST - 1 - c->got, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        leave(c);
        return;
    }
    c->got += got;
    c->request[c->got] = 0;
    if (complete(c)) {
        c->got = 0;
        start(c);
    }
}

static void writable(struct connection *c) {
    const char *data = c->rest;
    size_t size = c->rest_size;
    c->rest_size = 0;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (size) send_bytes(c, data, size);
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->active = -1;
        connections[fd] = c;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

int main(int count, char **words) {
    if (count != 7) return 2;
    int port = atoi(words[1]), on = 1, listener, timer = -1, group = 0;
    long tick_us = atol(words[2]), slot_us = tick_us / SLOTS;
    events_each = atoi(words[3]);
    head = from_file(words[4]), event = from_file(words[5]), end = from_file(words[6]);
    memcpy(head.data + head.size, event.data, event.size);
    head.size += event.size;

    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) {
        perror("stream_upstream");
        return 1;
    }
    poller = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener}, ready[READY];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wanted);
    if (tick_us) {
        struct timespec each = {slot_us / 1000000, slot_us % 1000000 * 1000};
        struct itimerspec every = {each, each};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        timerfd_settime(timer, 0, &every, NULL);
        wanted.data.fd = timer;
        epoll_ctl(poller, EPOLL_CTL_ADD, timer, &wanted);
    }
    for (;;) {
        int n = epoll_wait(poller, ready, READY, !tick_us && open_count ? 0 : -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            unsigned long long ticks;
            if (fd == listener) {
                accept_all(listener);
            } else if (fd == timer) {
                if (read(timer, &ticks, sizeof ticks) > 0) burst(group++ % SLOTS);
            } else {
                if (connections[fd] && ready[i].events & EPOLLOUT) writable(connections[fd]);
                if (connections[fd] && ready[i].events & ~EPOLLOUT) readable(connections[fd]);
            }
        }
        if (!tick_us) burst(-1);
    }
}
