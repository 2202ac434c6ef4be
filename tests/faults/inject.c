/* Preloaded, it fails, or ends the process at, the n-th system call of some kinds below a folder.
 *
 * inject_arm(folder, kinds, n, error) starts to count; error 0 counts only, and -1 kills. Of a write
 * that kills, the first half arrives. inject_count() says how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, FSYNC = 2, RENAME = 4, OPEN = 8, MKDIR = 16, UNLINK = 32 };

static char folder[PATH_MAX];
static int kinds, place, failure, seen;

void inject_arm(const char *below, int which, int n, int error) {
    snprintf(folder, sizeof folder, "%s", below);
    kinds = which, place = n, failure = error, seen = 0;
}

int inject_count(void) { return seen; }

static int below(const char *path) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int descriptor_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int path_below(int directory, const char *path) {
    if (path && path[0] == '/') return below(path);
    return directory == AT_FDCWD ? 0 : descriptor_below(directory);
}

/* Whether this call, the next one that counts, is the one to fail. */
static int now(int kind, int inside) {
    if (!folder[0] || !(kinds & kind) || !inside) return 0;
    return ++seen == place && failure != 0;
}

static int fail(void) {
    if (failure == -1) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = failure;
    return -1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (now(WRITE, folder[0] && descriptor_below(fd))) {
        if (failure == -1 && real(fd, data, size / 2) < 0) return fail();
        return fail();
    }
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return now(WRITE, folder[0] && descriptor_below(fd)) ? fail() : real(fd, data, count);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset at) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset); \
        return now(WRITE, folder[0] && descriptor_below(fd)) ? fail() : real(fd, data, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SENDFILE(name, offset) \
    ssize_t name(int to, int from, offset *at, size_t size) { \
        REAL(ssize_t, #name, int, int, offset *, size_t); \
        return now(WRITE, folder[0] && descriptor_below(to)) ? fail() : real(to, from, at, size); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define TRUNCATE(name, offset) \
    int name(int fd, offset size) { \
        REAL(int, #name, int, offset); \
        return now(WRITE, folder[0] && descriptor_below(fd)) ? fail() : real(fd, size); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        return now(FSYNC, folder[0] && descriptor_below(fd)) ? fail() : real(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *old, const char *new) {
    REAL(int, "rename", const char *, const char *);
    return now(RENAME, path_below(AT_FDCWD, new)) ? fail() : real(old, new);
}

int renameat(int from, const char *old, int to, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return now(RENAME, path_below(to, new)) ? fail() : real(from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    return now(RENAME, path_below(to, new)) ? fail() : real(from, old, to, new, flags);
}

#define OPEN_AT(name) \
    int name(int directory, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return now(OPEN, path_below(directory, path)) ? fail() : real(directory, path, flags, mode); \
    }
OPEN_AT(openat)
OPEN_AT(openat64)

#define OPEN_PATH(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return now(OPEN, path_below(AT_FDCWD, path)) ? fail() : real(path, flags, mode); \
    }
OPEN_PATH(open)
OPEN_PATH(open64)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return now(MKDIR, path_below(AT_FDCWD, path)) ? fail() : real(path, mode);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    return now(MKDIR, path_below(directory, path)) ? fail() : real(directory, path, mode);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return now(UNLINK, path_below(AT_FDCWD, path)) ? fail() : real(path);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    return now(UNLINK, path_below(AT_FDCWD, path)) ? fail() : real(path);
}

int unlinkat(int directory, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return now(UNLINK, path_below(directory, path)) ? fail() : real(directory, path, flags);
}
