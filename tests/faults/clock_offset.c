/* Preloaded into one program, it moves that program's wall clock by CLOCK_OFFSET seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static long offset;

/* At the start, for PostgreSQL writes other texts over its program's name later. */
__attribute__((constructor)) static void read_offset(void) {
    const char *program = getenv("CLOCK_OFFSET_PROGRAM");
    const char *seconds = getenv("CLOCK_OFFSET");
    if (program != NULL && seconds != NULL && strcmp(program, program_invocation_short_name) == 0)
        offset = strtol(seconds, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*next)(struct timeval *, void *);
    if (next == NULL) next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = next(now, zone);
    if (result == 0) now->tv_sec += offset;
    return result;
}
