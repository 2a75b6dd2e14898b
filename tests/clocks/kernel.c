/* The clocks of a simulated Linux machine: see kernel.h.
 *
 * The discipline is that of kernel/time/ntp.c and timekeeping.c in Linux 6: a phase-locked loop over ADJ_OFFSET, the old
 * adjtime, frequency and tick, the growth of the largest error, and what setting the clock resets. Written from its
 * behaviour and RFC 5905 appendix A.5.5.6, in floating point. Leap seconds, PPS and TAI are left out.
 */
#include "kernel.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    STEADY_START_NS = SECOND_NS, /* The machine has been up for a second. */
    TICK_US = 10000,                                    /* Nominal microseconds of a hundredth of a second. */
    MAX_FREQUENCY_NS = 500000,                          /* Largest frequency correction, nanoseconds per second. */
    MAX_PHASE_NS = 500000000,                           /* Largest ADJ_OFFSET, nanoseconds. */
    MAX_ADJUST_US = 500,                                /* What adjtime moves in a second, microseconds. */
    MAX_CONSTANT = 10,
    SHIFT_PLL = 2,
    FLL_MIN_S = 256,
    FLL_MAX_S = 2048,
    ERROR_GROWTH_US = 500,     /* Microseconds that the largest error grows in a second. */
    ERROR_LIMIT_US = 16000000, /* Where the kernel gives up: not synchronised. */
};

/* Bits of the status that adjtimex cannot write, but for those of a PPS source, which there is none of. */
#define READ_ONLY (STA_CLOCKERR | STA_NANO | STA_MODE | STA_CLK)

static struct {
    int64_t true_ns, steady_ns, raw_ns, real_minus_steady_ns, next_second_ns;
    double steady_part, raw_part; /* Parts of a nanosecond that are not counted yet. */
    double drift;                 /* Of the crystal, as a fraction. */
    double frequency_ns;          /* Correction, nanoseconds per second. */
    double offset_ns;             /* What the loop has still to take in. */
    double chunk_ns;              /* What of it is taken in within this second. */
    int64_t adjust_us;            /* What adjtime has still to take in. */
    int64_t reference_s;
    int64_t tick_us, constant, maxerror_us, esterror_us;
    int status, steps;
    void (*on_second)(void);
} k;

static double clamp(double value, double limit) { return fmax(-limit, fmin(limit, value)); }

static int64_t clamp_error(int64_t us) { return us < 0 ? 0 : us > ERROR_LIMIT_US ? ERROR_LIMIT_US : us; }

/* Nanoseconds of the steady clocks in a nanosecond of the crystal. */
static double steering(void) { return (double)k.tick_us / TICK_US + (k.frequency_ns + k.chunk_ns) / SECOND_NS; }

static double rate(void) { return (1 + k.drift) * steering(); }

static void forget_discipline(void) {
    k.adjust_us = 0;
    k.offset_ns = 0;
    k.chunk_ns = 0;
    k.status |= STA_UNSYNC;
    k.maxerror_us = k.esterror_us = ERROR_LIMIT_US;
}

void kernel_start(int64_t start_ns, int64_t off_ns, int64_t drift_ppb, void (*on_second)(void)) {
    memset(&k, 0, sizeof k);
    k.true_ns = start_ns;
    k.steady_ns = k.raw_ns = STEADY_START_NS;
    k.real_minus_steady_ns = start_ns + off_ns - k.steady_ns;
    k.next_second_ns = k.steady_ns + SECOND_NS;
    k.drift = (double)drift_ppb / 1e9;
    k.tick_us = TICK_US;
    k.constant = 2;
    k.on_second = on_second;
    forget_discipline();
}

int64_t kernel_true_ns(void) { return k.true_ns; }
int64_t kernel_steady_ns(void) { return k.steady_ns; }
int64_t kernel_real_ns(void) { return k.steady_ns + k.real_minus_steady_ns; }
int64_t kernel_raw_ns(void) { return k.raw_ns; }
int kernel_status(void) { return k.status; }
int64_t kernel_maxerror_us(void) { return k.maxerror_us; }
int kernel_steps(void) { return k.steps; }

int64_t kernel_true_at(int64_t steady_ns) {
    if (steady_ns <= k.steady_ns) return k.true_ns;
    return k.true_ns + (int64_t)ceil((double)(steady_ns - k.steady_ns) / rate());
}

static int64_t whole(double *part, double more) {
    double sum = *part + more, floor_ns = floor(sum);
    *part = sum - floor_ns;
    return (int64_t)floor_ns;
}

/* What the kernel does once a second. */
static void pass_second(void) {
    k.next_second_ns += SECOND_NS;
    k.maxerror_us += ERROR_GROWTH_US;
    if (k.maxerror_us > ERROR_LIMIT_US) {
        k.maxerror_us = ERROR_LIMIT_US;
        k.status |= STA_UNSYNC;
    }
    k.chunk_ns = ldexp(k.offset_ns, -(SHIFT_PLL + (int)k.constant));
    k.offset_ns -= k.chunk_ns;
    int64_t adjust_us = k.adjust_us > MAX_ADJUST_US    ? MAX_ADJUST_US
                        : k.adjust_us < -MAX_ADJUST_US ? -MAX_ADJUST_US
                                                       : k.adjust_us;
    k.adjust_us -= adjust_us;
    k.chunk_ns += (double)adjust_us * 1000;
    k.on_second();
}

void kernel_run(int64_t true_ns) {
    while (k.true_ns < true_ns) {
        int64_t second_ns = kernel_true_at(k.next_second_ns);
        int64_t to_ns = second_ns < true_ns ? second_ns : true_ns;
        double span_ns = (double)(to_ns - k.true_ns);
        k.steady_ns += whole(&k.steady_part, span_ns * rate());
        k.raw_ns += whole(&k.raw_part, span_ns * (1 + k.drift));
        k.true_ns = to_ns;
        if (k.steady_ns >= k.next_second_ns) pass_second();
    }
}

void kernel_set(int64_t real_ns) {
    k.real_minus_steady_ns = real_ns - k.steady_ns;
    k.steps++;
    forget_discipline();
}

static void take_status(int wanted) {
    if ((k.status & STA_PLL) && !(wanted & STA_PLL)) k.status = STA_UNSYNC | (k.status & STA_NANO);
    if (!(k.status & STA_PLL) && (wanted & STA_PLL)) k.reference_s = kernel_real_ns() / SECOND_NS;
    k.status = (k.status & READ_ONLY) | (wanted & ~READ_ONLY);
}

static void take_offset(double offset_ns) {
    if (!(k.status & STA_PLL)) return;
    offset_ns = clamp(offset_ns, MAX_PHASE_NS);
    int64_t now_s = kernel_real_ns() / SECOND_NS;
    int64_t secs = k.status & STA_FREQHOLD ? 0 : now_s - k.reference_s;
    k.reference_s = now_s;
    k.status &= ~STA_MODE;
    double frequency_ns = k.frequency_ns;
    if (secs >= FLL_MIN_S && ((k.status & STA_FLL) || secs > FLL_MAX_S)) {
        k.status |= STA_MODE;
        frequency_ns += ldexp(offset_ns, -2) / (double)secs;
    }
    int64_t most_s = (int64_t)1 << (SHIFT_PLL + 1 + k.constant);
    if (secs > most_s) secs = most_s;
    frequency_ns += ldexp(offset_ns * (double)secs, -2 * (SHIFT_PLL + 2 + (int)k.constant));
    k.frequency_ns = clamp(frequency_ns, MAX_FREQUENCY_NS);
    k.offset_ns = offset_ns;
}

static void take_modes(const struct timex *t) {
    if (t->modes & ADJ_STATUS) take_status(t->status);
    if (t->modes & ADJ_NANO) k.status |= STA_NANO;
    if (t->modes & ADJ_MICRO) k.status &= ~STA_NANO;
    if (t->modes & ADJ_FREQUENCY) k.frequency_ns = clamp((double)t->freq / 65536 * 1000, MAX_FREQUENCY_NS);
    if (t->modes & ADJ_MAXERROR) k.maxerror_us = clamp_error(t->maxerror);
    if (t->modes & ADJ_ESTERROR) k.esterror_us = clamp_error(t->esterror);
    if (t->modes & ADJ_TIMECONST) {
        k.constant = t->constant + (k.status & STA_NANO ? 0 : 4);
        if (k.constant < 0) k.constant = 0;
        if (k.constant > MAX_CONSTANT) k.constant = MAX_CONSTANT;
    }
    if (t->modes & ADJ_OFFSET) take_offset(k.status & STA_NANO ? (double)t->offset : (double)t->offset * 1000);
    if (t->modes & ADJ_TICK) k.tick_us = t->tick;
}

static int tell(struct timex *t) {
    int64_t real_ns = kernel_real_ns();
    int nano = k.status & STA_NANO;
    if ((t->modes & ADJ_OFFSET_SINGLESHOT) != ADJ_OFFSET_SINGLESHOT)
        t->offset = (long)(nano ? k.offset_ns : k.offset_ns / 1000);
    t->freq = (long)lround(k.frequency_ns / 1000 * 65536);
    t->maxerror = (long)k.maxerror_us;
    t->esterror = (long)k.esterror_us;
    t->status = k.status;
    t->constant = (long)k.constant;
    t->precision = 1;
    t->tolerance = 500 * 65536;
    t->tick = (long)k.tick_us;
    t->time.tv_sec = real_ns / SECOND_NS;
    t->time.tv_usec = real_ns % SECOND_NS / (nano ? 1 : 1000);
    return k.status & (STA_UNSYNC | STA_CLOCKERR) ? TIME_ERROR : TIME_OK;
}

int kernel_adjtimex(struct timex *t) {
    if ((t->modes & ADJ_OFFSET_SINGLESHOT) == ADJ_OFFSET_SINGLESHOT) {
        int64_t left_us = k.adjust_us;
        if ((t->modes & ADJ_OFFSET_SS_READ) != ADJ_OFFSET_SS_READ) k.adjust_us = t->offset;
        t->offset = (long)left_us;
        return tell(t);
    }
    if ((t->modes & ADJ_TICK) && (t->tick < TICK_US * 9 / 10 || t->tick > TICK_US * 11 / 10)) {
        errno = EINVAL;
        return -1;
    }
    if (t->modes & ADJ_SETOFFSET) {
        int64_t unit = t->modes & ADJ_NANO ? 1 : 1000;
        if (t->time.tv_usec < 0 || t->time.tv_usec * unit >= SECOND_NS) {
            errno = EINVAL;
            return -1;
        }
        kernel_set(kernel_real_ns() + t->time.tv_sec * SECOND_NS + t->time.tv_usec * unit);
    }
    take_modes(t);
    return tell(t);
}
