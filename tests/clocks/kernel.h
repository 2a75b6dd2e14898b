/* The clocks of a simulated Linux machine, and what its kernel does to steer them. For tests/clocks only.
 *
 * Three times: true time, which only the world knows; the steady clocks (CLOCK_MONOTONIC, CLOCK_BOOTTIME), which run with
 * the crystal's drift and the kernel's corrections; and CLOCK_REALTIME, which is a steady clock that can be set.
 */
#pragma once
#include <stdint.h>
#include <sys/timex.h>

enum { SECOND_NS = 1000000000 };

/* Starts at true UTC start_ns, with CLOCK_REALTIME off by off_ns and a crystal that is off by drift_ppb. */
void kernel_start(int64_t start_ns, int64_t off_ns, int64_t drift_ppb, void (*on_second)(void));

/* Lets time pass up to a true UTC. */
void kernel_run(int64_t true_ns);

int64_t kernel_true_ns(void);
int64_t kernel_steady_ns(void);
int64_t kernel_real_ns(void);
int64_t kernel_raw_ns(void);
int kernel_status(void);
int64_t kernel_maxerror_us(void);

/* The true UTC at which the steady clocks will show steady_ns, if nothing is changed until then. */
int64_t kernel_true_at(int64_t steady_ns);

/* How often CLOCK_REALTIME was set. */
int kernel_steps(void);

/* clock_settime(CLOCK_REALTIME) and adjtimex. */
void kernel_set(int64_t real_ns);
int kernel_adjtimex(struct timex *t);
