/* Loaded before a broker under callgrind: signals that no broker uses start the counting and end its parts. Until then the
 * broker runs uncounted, and so several times faster. */

#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>

#include <valgrind/callgrind.h>

static volatile sig_atomic_t wanted;

static void on_signal(int number)
{
    wanted = number;
}

static void serve(void)
{
    int number = wanted;

    wanted = 0;
    switch (number) {
    case SIGPROF:
        CALLGRIND_START_INSTRUMENTATION;
        break;
    case SIGVTALRM:
        CALLGRIND_ZERO_STATS;
        break;
    case SIGXCPU:
        CALLGRIND_DUMP_STATS;
        break;
    }
}

/* In the place of libc's: what both brokers wait in, and a signal ends. valgrind does not survive these requests in the handler. */
int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    int ready = epoll_pwait(fd, events, count, timeout, NULL);

    if (wanted != 0)
        serve();
    return ready;
}

__attribute__((constructor)) static void probe(void)
{
    const int signals[] = {SIGPROF, SIGVTALRM, SIGXCPU};
    struct sigaction action = {.sa_handler = on_signal};

    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}
