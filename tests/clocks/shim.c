/* Puts a program that keeps the clock into a simulated machine: put before glibc by LD_PRELOAD, for tests/clocks only.
 *
 * The program's clocks are those of kernel.c; its time servers are in the process that started it, which is asked over
 * the socket on standard input. Time passes only when the program waits: then it jumps to the next packet, timer or
 * time-out. So a quarter of an hour takes some milliseconds, and the same seed gives the same run.
 *
 * No call reaches this machine's clock: a filter ends the process at any that would, intercepted or not.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    FDS = 1024,          /* As many as select knows. */
    WORLD_FD = 250,      /* Where standard input is moved, out of the program's way. */
    READ_NS = 100,       /* What reading a clock takes: programs wait for it to move. */
    WAITS_MAX = 100000,  /* A run has some thousands; more is a program that waits for nothing. */
    PACKETS_MAX = 64,    /* On the way or unread at once. */
    PACKET_BYTES = 48,   /* NTP without extensions (RFC 5905 section 7.3). */
    SERVERS = 4,         /* 192.0.2.1 to .4. */
    NTP_PORT = 123,
};

#define SERVER_NET 0xc0000200u /* 192.0.2.0, for documentation (RFC 5737). */
#define NTP_EPOCH_S 2208988800u

/* ---- the world outside ---- */

/* One message, either way; crates/clocks/src/message.rs has the same. */
struct message {
    int64_t kind, true_ns, a, b, c, d;
};

enum { STATE = 1, ASK = 2, END = 3 };
enum { SILENCE = 0, TIME = 1 };

static int64_t end_ns;
static uint64_t chance;

static void broken(const char *what) {
    dprintf(2, "shim: %s\n", what);
    _exit(70);
}

static void tell_world(struct message m) {
    if (syscall(SYS_write, WORLD_FD, &m, sizeof m) != sizeof m) broken("the world is gone");
}

static struct message hear_world(void) {
    struct message m;
    size_t got = 0;
    while (got < sizeof m) {
        ssize_t n = syscall(SYS_read, WORLD_FD, (char *)&m + got, sizeof m - got);
        if (n <= 0) broken("the world is silent");
        got += (size_t)n;
    }
    return m;
}

static void report(void) {
    tell_world((struct message){STATE, kernel_true_ns(), kernel_real_ns(), kernel_status(), kernel_maxerror_us(),
                                kernel_steps()});
}

/* splitmix64. */
static uint64_t draw(void) {
    uint64_t z = chance += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- file descriptors that are ours ---- */

enum kind { REAL = 0, UDP, TIMER };

static struct descriptor {
    enum kind kind;
    int peer;         /* UDP: the server it is connected to, or -1. */
    int wants_stamps; /* UDP: SO_TIMESTAMP or SO_TIMESTAMPNS. */
    clockid_t clock;  /* TIMER. */
    int64_t due_ns;   /* TIMER: on its clock; 0 is never. */
    int64_t every_ns;
    int cancels;      /* TIMER: TFD_TIMER_CANCEL_ON_SET. */
    int steps_seen;
    int epoll;        /* The epoll instance that watches it, or -1. */
    struct epoll_event watched;
} fds[FDS];

static struct packet {
    int used, fd, server, arrived;
    int64_t due_ns, stamp_ns; /* True UTC; CLOCK_REALTIME at the arrival. */
    unsigned char bytes[PACKET_BYTES];
} packets[PACKETS_MAX];

static struct descriptor *ours(int fd) {
    return fd >= 0 && fd < FDS && fds[fd].kind != REAL ? &fds[fd] : NULL;
}

static struct packet *unread(int fd) {
    struct packet *first = NULL;
    for (int i = 0; i < PACKETS_MAX; i++)
        if (packets[i].used && packets[i].arrived && packets[i].fd == fd &&
            (first == NULL || packets[i].due_ns < first->due_ns))
            first = &packets[i];
    return first;
}

static int64_t clock_ns(clockid_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM: return kernel_real_ns();
    case CLOCK_MONOTONIC_RAW: return kernel_raw_ns();
    default: return kernel_steady_ns();
    }
}

static int is_cancelled(const struct descriptor *d) { return d->cancels && d->steps_seen != kernel_steps(); }

static int is_readable(int fd) {
    struct descriptor *d = &fds[fd];
    if (d->kind == UDP) return unread(fd) != NULL;
    return is_cancelled(d) || (d->due_ns != 0 && clock_ns(d->clock) >= d->due_ns);
}

/* ---- time ---- */

static void pass_to(int64_t true_ns) {
    int64_t until_ns = true_ns < end_ns ? true_ns : end_ns;
    for (;;) {
        struct packet *next = NULL;
        for (int i = 0; i < PACKETS_MAX; i++)
            if (packets[i].used && !packets[i].arrived && packets[i].due_ns <= until_ns &&
                (next == NULL || packets[i].due_ns < next->due_ns))
                next = &packets[i];
        if (next == NULL) break;
        kernel_run(next->due_ns);
        next->arrived = 1;
        next->stamp_ns = kernel_real_ns();
    }
    kernel_run(until_ns);
    if (kernel_true_ns() >= end_ns) {
        report();
        tell_world((struct message){END, kernel_true_ns(), 0, 0, 0, 0});
        _exit(0);
    }
}

/* True UTC of the next thing that may wake somebody up, at the latest until_ns. */
static int64_t next_ns(int64_t until_ns) {
    for (int i = 0; i < PACKETS_MAX; i++)
        if (packets[i].used && !packets[i].arrived && packets[i].due_ns < until_ns) until_ns = packets[i].due_ns;
    for (int fd = 0; fd < FDS; fd++) {
        const struct descriptor *d = &fds[fd];
        if (d->kind != TIMER || d->due_ns == 0 || d->epoll < 0) continue;
        int64_t left_ns = d->due_ns - clock_ns(d->clock);
        if (left_ns > end_ns) continue;
        int64_t at_ns = kernel_true_at(kernel_steady_ns() + left_ns);
        if (at_ns < until_ns) until_ns = at_ns;
    }
    return until_ns;
}

static void count_wait(void) {
    static int waits;
    if (++waits > WAITS_MAX) broken("it waits too often");
}

/* Waits until ready(argument) gives something; 0 after the time-out, which is never when negative. */
static int wait_for(int (*ready)(void *), void *argument, int64_t timeout_ns) {
    count_wait();
    int64_t limit_ns = timeout_ns < 0 ? end_ns : kernel_true_at(kernel_steady_ns() + timeout_ns);
    for (;;) {
        int found = ready(argument);
        if (found != 0) return found;
        if (kernel_true_ns() >= limit_ns) return 0;
        pass_to(next_ns(limit_ns));
    }
}

static struct timespec timespec_of(int64_t ns) {
    return (struct timespec){.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
}

/* A timer that is set to the end of time only waits for the clock to be set. */
static int64_t ns_of(const struct timespec *t) {
    return t->tv_sec >= INT64_MAX / 2 / SECOND_NS ? INT64_MAX / 2 : t->tv_sec * (int64_t)SECOND_NS + t->tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID)
        return (int)syscall(SYS_clock_gettime, clock, t);
    if (end_ns != 0) pass_to(kernel_true_ns() + READ_NS);
    *t = timespec_of(clock_ns(clock));
    return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL) *t = now.tv_sec;
    return now.tv_sec;
}

/* Errors are looked at right before and right after the clock is steered. */

int clock_settime(clockid_t clock, const struct timespec *t) {
    if (clock != CLOCK_REALTIME) return errno = EINVAL, -1;
    report();
    kernel_set(ns_of(t));
    report();
    return 0;
}

int settimeofday(const struct timeval *t, const struct timezone *zone) {
    (void)zone;
    if (t == NULL) return 0;
    struct timespec to = {.tv_sec = t->tv_sec, .tv_nsec = t->tv_usec * 1000};
    return clock_settime(CLOCK_REALTIME, &to);
}

int adjtimex(struct timex *t) {
    if (t->modes != 0) report();
    int state = kernel_adjtimex(t);
    if (t->modes != 0) report();
    return state;
}

int ntp_adjtime(struct timex *t) { return adjtimex(t); }

int clock_adjtime(clockid_t clock, struct timex *t) {
    return clock == CLOCK_REALTIME ? adjtimex(t) : (errno = EINVAL, -1);
}

int adjtime(const struct timeval *delta, struct timeval *left) {
    (void)delta, (void)left;
    return errno = ENOSYS, -1;
}

/* ---- chance, names, threads ---- */

ssize_t getrandom(void *into, size_t bytes, unsigned flags) {
    (void)flags;
    for (size_t i = 0; i < bytes; i++) ((unsigned char *)into)[i] = (unsigned char)draw();
    return (ssize_t)bytes;
}

void srandom(unsigned seed) { (void)seed; }

long random(void) { return (long)(draw() & 0x7fffffff); }

static struct sockaddr_in address_of(int server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(NTP_PORT)};
    address.sin_addr.s_addr = htonl(SERVER_NET + 1 + (uint32_t)server);
    return address;
}

static int server_at(const struct sockaddr *address) {
    if (address == NULL || address->sa_family != AF_INET) return -1;
    uint32_t host = ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) - SERVER_NET;
    return host >= 1 && host <= SERVERS ? (int)host - 1 : -1;
}

/* An address is itself; any name leads to all servers. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    (void)service, (void)hints;
    struct in_addr numeric;
    struct addrinfo *list = NULL;
    for (int server = SERVERS - 1; server >= 0; server--) {
        struct sockaddr_in address = address_of(server);
        if (inet_pton(AF_INET, name, &numeric) == 1 && numeric.s_addr != address.sin_addr.s_addr) continue;
        struct addrinfo *info = calloc(1, sizeof *info + sizeof address);
        if (info == NULL) return EAI_MEMORY;
        memcpy(info + 1, &address, sizeof address);
        *info = (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM, .ai_protocol = IPPROTO_UDP,
                                  .ai_addrlen = sizeof address, .ai_addr = (void *)(info + 1), .ai_next = list};
        list = info;
    }
    *found = list;
    return list == NULL ? EAI_NONAME : 0;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* chronyd looks up names in a thread. It is run at once, or the order of things would be the scheduler's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    (void)attributes;
    *thread = pthread_self();
    start(argument);
    return 0;
}

int pthread_join(pthread_t thread, void **result) {
    (void)thread;
    if (result != NULL) *result = NULL;
    return 0;
}

/* ---- what systemd-timesyncd has in libsystemd-shared ---- */

/* The same for its look-ups, which are answered before the call returns. */
int resolve_getaddrinfo_with_destroy_callback(void *resolve, void **query, const char *node, const char *service,
                                              const struct addrinfo *hints,
                                              int (*callback)(void *, int, const struct addrinfo *, void *),
                                              void *destroy, void *userdata) {
    (void)query, (void)destroy;
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(node, service, hints, &list);
    int done = callback(resolve, failed, list, userdata);
    freeaddrinfo(list);
    return done;
}

/* Its user need not exist here, and there are no rights to give up. */
int get_user_creds(const char **user, uid_t *uid, gid_t *gid, const char **home, const char **shell, int flags) {
    (void)user, (void)home, (void)shell, (void)flags;
    *uid = getuid();
    *gid = getgid();
    return 0;
}

int drop_privileges(uid_t uid, gid_t gid, uint64_t kept) {
    (void)uid, (void)gid, (void)kept;
    return 0;
}

/* Its files are in the folder in which it was started. */
static const char *moved(const char *path) {
    if (strcmp(path, "/etc/systemd/timesyncd.conf") == 0) return "timesyncd.conf";
    if (strcmp(path, "/var/lib/systemd/timesync/clock") == 0) return "clock";
    return path;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return (int)syscall(SYS_openat, AT_FDCWD, moved(path), flags, mode);
}

FILE *fopen64(const char *path, const char *mode) { return fopen(moved(path), mode); }

int touch_file(const char *path, int parents, uint64_t stamp, uid_t uid, gid_t gid, mode_t mode) {
    (void)path, (void)parents, (void)stamp, (void)uid, (void)gid, (void)mode;
    return 0;
}

int mkdir_safe_label(const char *path, mode_t mode, uid_t uid, gid_t gid, int flags) {
    (void)path, (void)mode, (void)uid, (void)gid, (void)flags;
    return 0;
}

/* ---- sockets ---- */

static struct descriptor *adopt(int fd, enum kind kind) {
    if (fd < 0 || fd >= FDS) broken("too many descriptors");
    fds[fd] = (struct descriptor){.kind = kind, .peer = -1, .epoll = -1};
    return &fds[fd];
}

int socket(int domain, int type, int protocol) {
    int fd = (int)syscall(SYS_socket, domain, type, protocol);
    if (fd >= 0 && domain == AF_INET && (type & 0xf) == SOCK_DGRAM) adopt(fd, UDP);
    return fd;
}

int close(int fd) {
    if (ours(fd)) fds[fd].kind = REAL;
    for (int i = 0; i < PACKETS_MAX; i++)
        if (packets[i].used && packets[i].fd == fd) packets[i].used = 0;
    return (int)syscall(SYS_close, fd);
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    return ours(fd) ? 0 : (int)syscall(SYS_bind, fd, address, length);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    if (!ours(fd)) return (int)syscall(SYS_connect, fd, address, length);
    fds[fd].peer = server_at(address);
    return fds[fd].peer < 0 ? (errno = ENETUNREACH, -1) : 0;
}

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length) {
    if (!ours(fd)) return (int)syscall(SYS_getsockname, fd, address, length);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(40000)};
    own.sin_addr.s_addr = htonl(SERVER_NET + 100);
    memcpy(address, &own, *length < sizeof own ? *length : sizeof own);
    *length = sizeof own;
    return 0;
}

/* Stamps of the moment when a packet arrives are there; those of the network card are not. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    if (!ours(fd)) return (int)syscall(SYS_setsockopt, fd, level, name, value, length);
    if (level != SOL_SOCKET) return 0;
    if (name == SO_TIMESTAMPING) return errno = ENOPROTOOPT, -1;
    if (name == SO_TIMESTAMP || name == SO_TIMESTAMPNS) fds[fd].wants_stamps = name;
    return 0;
}

static void put32(unsigned char *into, uint32_t value) {
    value = htonl(value);
    memcpy(into, &value, 4);
}

static void put_time(unsigned char *into, int64_t unix_ns) {
    put32(into, (uint32_t)(unix_ns / SECOND_NS + NTP_EPOCH_S));
    put32(into + 4, (uint32_t)(((uint64_t)(unix_ns % SECOND_NS) << 32) / SECOND_NS));
}

/* Writes the server's answer (RFC 5905 section 7.3) to a question. */
static void answer(unsigned char *reply, const unsigned char *question, int server, const struct message *says) {
    uint32_t distance = (uint32_t)((uint64_t)says->c * 65536 / 1000000);
    memset(reply, 0, PACKET_BYTES);
    reply[0] = (unsigned char)((says->d & 3) << 6 | (question[0] & 0x38) | 4);
    reply[1] = 2;
    reply[2] = question[2];
    reply[3] = 0xe9;
    put32(reply + 4, distance);         /* Half the root delay ... */
    put32(reply + 8, distance / 2);     /* ... and the root dispersion are the distance. */
    put32(reply + 12, 0x0a000001u + (uint32_t)server);
    put_time(reply + 16, says->b - 10 * (int64_t)SECOND_NS);
    memcpy(reply + 24, question + 40, 8);
    put_time(reply + 32, says->b);
    put_time(reply + 40, says->b);
}

static ssize_t send_packet(int fd, const void *bytes, size_t length, const struct sockaddr *to) {
    int server = to != NULL ? server_at(to) : fds[fd].peer;
    if (server < 0) return errno = ENETUNREACH, -1;
    if (length < PACKET_BYTES) return (ssize_t)length;
    tell_world((struct message){ASK, kernel_true_ns(), server, 0, 0, 0});
    struct message says = hear_world();
    if (says.kind == SILENCE) return (ssize_t)length;
    for (int i = 0; i < PACKETS_MAX; i++) {
        if (packets[i].used) continue;
        packets[i] = (struct packet){.used = 1, .fd = fd, .server = server, .due_ns = kernel_true_ns() + says.a};
        answer(packets[i].bytes, bytes, server, &says);
        return (ssize_t)length;
    }
    broken("too many packets");
    return -1;
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
    if (!ours(fd)) return syscall(SYS_sendto, fd, bytes, length, flags, to, to_length);
    return send_packet(fd, bytes, length, to);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    return sendto(fd, bytes, length, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (!ours(fd)) return syscall(SYS_sendmsg, fd, message, flags);
    if (message->msg_iovlen != 1) return errno = EINVAL, -1;
    return send_packet(fd, message->msg_iov->iov_base, message->msg_iov->iov_len, message->msg_name);
}

/* Writes when the packet arrived, as the socket was told to. */
static void put_stamp(struct msghdr *message, int wanted, int64_t stamp_ns) {
    struct timespec at = timespec_of(stamp_ns);
    struct timeval rough = {.tv_sec = at.tv_sec, .tv_usec = at.tv_nsec / 1000};
    size_t size = wanted == SO_TIMESTAMPNS ? sizeof at : sizeof rough;
    if (wanted == 0 || message->msg_control == NULL || message->msg_controllen < CMSG_SPACE(size)) {
        message->msg_controllen = 0;
        return;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = wanted};
    memcpy(CMSG_DATA(header), wanted == SO_TIMESTAMPNS ? (void *)&at : (void *)&rough, size);
    message->msg_controllen = CMSG_SPACE(size);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    if (!ours(fd)) return syscall(SYS_recvmsg, fd, message, flags);
    struct packet *packet = flags & MSG_ERRQUEUE ? NULL : unread(fd);
    if (packet == NULL) return errno = EAGAIN, -1;
    size_t length = message->msg_iov->iov_len < PACKET_BYTES ? message->msg_iov->iov_len : PACKET_BYTES;
    memcpy(message->msg_iov->iov_base, packet->bytes, length);
    struct sockaddr_in from = address_of(packet->server);
    if (message->msg_name != NULL && message->msg_namelen >= sizeof from) {
        memcpy(message->msg_name, &from, sizeof from);
        message->msg_namelen = sizeof from;
    }
    message->msg_flags = 0;
    put_stamp(message, fds[fd].wants_stamps, packet->stamp_ns);
    if (!(flags & MSG_PEEK)) packet->used = 0;
    return (ssize_t)length;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    if (!ours(fd)) return (int)syscall(SYS_recvmmsg, fd, messages, count, flags, timeout);
    unsigned got = 0;
    for (; got < count; got++) {
        ssize_t length = recvmsg(fd, &messages[got].msg_hdr, flags);
        if (length < 0) break;
        messages[got].msg_len = (unsigned)length;
    }
    return got == 0 ? -1 : (int)got;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    struct iovec into = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1};
    return recvmsg(fd, &message, flags);
}

/* ---- timers ---- */

int timerfd_create(clockid_t clock, int flags) {
    int fd = (int)syscall(SYS_timerfd_create, CLOCK_MONOTONIC, flags);
    if (fd >= 0) adopt(fd, TIMER)->clock = clock;
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *old) {
    struct descriptor *d = ours(fd);
    if (d == NULL || d->kind != TIMER) return errno = EINVAL, -1;
    if (old != NULL) memset(old, 0, sizeof *old);
    d->due_ns = ns_of(&to->it_value);
    if (d->due_ns != 0 && !(flags & TFD_TIMER_ABSTIME)) d->due_ns += clock_ns(d->clock);
    d->every_ns = ns_of(&to->it_interval);
    d->cancels = (flags & TFD_TIMER_CANCEL_ON_SET) != 0;
    d->steps_seen = kernel_steps();
    return 0;
}

ssize_t read(int fd, void *bytes, size_t length) {
    struct descriptor *d = ours(fd);
    if (d == NULL || d->kind != TIMER) return syscall(SYS_read, fd, bytes, length);
    if (!is_readable(fd)) return errno = EAGAIN, -1;
    if (is_cancelled(d)) {
        d->steps_seen = kernel_steps();
        return errno = ECANCELED, -1;
    }
    uint64_t expired = 1;
    d->due_ns = d->every_ns == 0 ? 0 : d->due_ns + d->every_ns;
    memcpy(bytes, &expired, sizeof expired);
    return sizeof expired;
}

/* ---- waiting ---- */

struct selection {
    int count;
    const fd_set *reads, *writes, *errors;
    fd_set *readable, *writable, *failed;
};

/* Finds what is ready now, ours and the program's own pipes. */
static int selected(void *argument) {
    struct selection *s = argument;
    struct timespec at_once = {0};
    FD_ZERO(s->writable);
    FD_ZERO(s->failed);
    fd_set mine;
    FD_ZERO(&mine);
    FD_ZERO(s->readable);
    int found = 0;
    for (int fd = 0; fd < s->count; fd++) {
        if (s->reads && FD_ISSET(fd, s->reads)) {
            if (!ours(fd)) FD_SET(fd, s->readable);
            else if (is_readable(fd)) FD_SET(fd, &mine), found++;
        }
        if (s->writes && FD_ISSET(fd, s->writes) && !ours(fd)) FD_SET(fd, s->writable);
        if (s->errors && FD_ISSET(fd, s->errors) && !ours(fd)) FD_SET(fd, s->failed);
    }
    int real = (int)syscall(SYS_pselect6, s->count, s->readable, s->writable, s->failed, &at_once, NULL);
    if (real < 0) return real;
    for (int fd = 0; fd < s->count; fd++)
        if (FD_ISSET(fd, &mine)) FD_SET(fd, s->readable);
    return found + real;
}

int select(int count, fd_set *reads, fd_set *writes, fd_set *errors, struct timeval *timeout) {
    fd_set readable, writable, failed;
    struct selection s = {count, reads, writes, errors, &readable, &writable, &failed};
    int64_t timeout_ns = timeout == NULL ? -1 : timeout->tv_sec * (int64_t)SECOND_NS + timeout->tv_usec * 1000;
    int found = wait_for(selected, &s, timeout_ns);
    if (found < 0) return found;
    if (reads != NULL) *reads = readable;
    if (writes != NULL) *writes = writable;
    if (errors != NULL) *errors = failed;
    return found;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
    struct descriptor *d = ours(fd);
    if (d == NULL) return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
    d->epoll = operation == EPOLL_CTL_DEL ? -1 : epoll;
    if (operation != EPOLL_CTL_DEL) d->watched = *event;
    return 0;
}

struct polling {
    int epoll, most;
    struct epoll_event *events;
};

static int polled(void *argument) {
    struct polling *p = argument;
    int found = (int)syscall(SYS_epoll_pwait, p->epoll, p->events, p->most, 0, NULL, 0);
    if (found < 0) return found;
    for (int fd = 0; fd < FDS && found < p->most; fd++) {
        struct descriptor *d = &fds[fd];
        if (d->kind == REAL || d->epoll != p->epoll || !(d->watched.events & EPOLLIN) || !is_readable(fd)) continue;
        p->events[found] = d->watched;
        p->events[found++].events = EPOLLIN;
        if (d->watched.events & EPOLLONESHOT) d->watched.events = 0;
    }
    return found;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms) {
    struct polling p = {epoll, most, events};
    return wait_for(polled, &p, timeout_ms < 0 ? -1 : timeout_ms * (int64_t)1000000);
}

/* ---- start ---- */

/* Ends the process at any system call that sets this machine's clock. */
static void keep_off_the_clock(void) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_settime, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_adjtime, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_adjtimex, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_settimeofday, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        broken("no filter against setting the clock");
}

__attribute__((constructor)) static void begin(void) {
    keep_off_the_clock();
    if (dup2(0, WORLD_FD) < 0 || fcntl(WORLD_FD, F_SETFD, FD_CLOEXEC) < 0) broken("no world on standard input");
    int nothing = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
    dup2(nothing, 0);
    syscall(SYS_close, nothing);
    /* The first message: start, how far the clock is off, the crystal, how long, and chance. */
    struct message start = hear_world();
    kernel_start(start.true_ns, start.a, start.b, report);
    chance = (uint64_t)start.d;
    end_ns = start.true_ns + start.c;
}
