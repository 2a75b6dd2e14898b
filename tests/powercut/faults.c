/* Plants one fault into a program that is not told of it: some syncs answer at once and do nothing.
 *
 * For the power-cut test only, put before glibc by LD_PRELOAD. PERCH_TEST_FAULT says which syncs: of the database's files
 * ("database"), of the folders of blobs ("blob-folders"), or of files with signing keys ("keys"). The product has no
 * switch for any of this.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_skipped(int fd) {
    const char *fault = getenv("PERCH_TEST_FAULT");
    char link[64], path[PATH_MAX];
    struct stat about;
    if (fault == NULL || fstat(fd, &about) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strcmp(fault, "database") == 0) return strstr(path, "/perch.sqlite") != NULL;
    if (strcmp(fault, "blob-folders") == 0) return S_ISDIR(about.st_mode) && strstr(path, "/blobs") != NULL;
    if (strcmp(fault, "keys") == 0) return S_ISREG(about.st_mode) && strstr(path, "/keys/") != NULL;
    return 0;
}

int fsync(int fd) { return is_skipped(fd) ? 0 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return is_skipped(fd) ? 0 : (int)syscall(SYS_fdatasync, fd); }
