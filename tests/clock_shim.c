/* Moves the clocks of an unmodified program: preloaded, it adds an offset to the wall clock and can move or
 * hold the monotonic clock. The values come from a file that stays mapped, so a change is seen at once.
 *
 * CLOCK_SHIM_FILE names it: four 64-bit integers in the machine's byte order.
 *   0  sequence: odd while a writer is at work
 *   1  nanoseconds added to the wall clock
 *   2  nanoseconds added to the monotonic clock
 *   3  the monotonic clock's fixed value in nanoseconds; 0: it runs
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NANOS INT64_C(1000000000)

struct clocks { uint64_t sequence; int64_t wall, monotonic, held; };

static const struct clocks *clocks;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CLOCK_SHIM_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof *clocks, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) clocks = map;
}

static struct clocks read_clocks(void) {
    struct clocks now = {0, 0, 0, 0};
    if (!clocks) return now;
    uint64_t before, after;
    do {
        before = __atomic_load_n(&clocks->sequence, __ATOMIC_ACQUIRE);
        now.wall = __atomic_load_n(&clocks->wall, __ATOMIC_RELAXED);
        now.monotonic = __atomic_load_n(&clocks->monotonic, __ATOMIC_RELAXED);
        now.held = __atomic_load_n(&clocks->held, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&clocks->sequence, __ATOMIC_RELAXED);
    } while (before != after || (before & 1));
    return now;
}

int clock_gettime(clockid_t id, struct timespec *out) {
    int failed = real_clock_gettime ? real_clock_gettime(id, out) : (int)syscall(SYS_clock_gettime, id, out);
    if (failed) return failed;
    struct clocks now = read_clocks();
    int64_t nanos = (int64_t)out->tv_sec * NANOS + out->tv_nsec;
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        nanos += now.wall;
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
        nanos = now.held ? now.held : nanos + now.monotonic;
        break;
    default:
        return 0;
    }
    out->tv_sec = nanos / NANOS;
    out->tv_nsec = nanos % NANOS;
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
