// Watches what a process writes below a folder, so that a test can tell what a power cut would have left,
// and makes one chosen call fail as a bad disk would. Loaded with LD_PRELOAD.
//
// SHIM_ROOT: paths that begin with this are watched.   SHIM_TRACE: every watched call is appended here.
// SHIM_FAIL_AT: the number of the watched call that fails with EIO, without being carried out.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[FDS];
static int trace = -1;
static long calls, fail_at;
static const char *root;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void start(void) {
    static int started;
    if (started) return;
    started = 1;
    root = getenv("SHIM_ROOT");
    const char *to = getenv("SHIM_TRACE"), *at = getenv("SHIM_FAIL_AT");
    fail_at = at ? atol(at) : 0;
    if (to) trace = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t count) {
    if (trace >= 0 && REAL(write)(trace, bytes, count) != (ssize_t)count) abort();
}

// kind, descriptor, inode, a number, the length of what follows, what follows
static void record(char kind, int fd, uint64_t number, const void *bytes, uint32_t count) {
    char head[25];
    struct stat facts = {0};
    // The inode tells of renames that this shim cannot see, because a library made the system call by itself.
    if (kind == 'O') fstat(fd, &facts);
    uint64_t inode = facts.st_ino;
    head[0] = kind;
    memcpy(head + 1, &fd, 4);
    memcpy(head + 5, &inode, 8);
    memcpy(head + 13, &number, 8);
    memcpy(head + 21, &count, 4);
    put(head, sizeof head);
    put(bytes, count);
}

static int below_root(const char *path) { return root && path && strncmp(path, root, strlen(root)) == 0; }
static int is_watched(int fd) { return fd >= 0 && fd < FDS && watched[fd]; }

// Whether this call is the one that fails.
static int fails(void) {
    calls += 1;
    if (fail_at == 0 || calls != fail_at) return 0;
    errno = EIO;
    return 1;
}

static int open_watched(const char *path, int flags, mode_t mode) {
    int fd = -1;
    if (!(flags & O_CREAT) || !fails()) fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        watched[fd] = 1;
        record('O', fd, (uint64_t)flags, path, (uint32_t)strlen(path));
    }
    return fd;
}

static int any_open(int dir, const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&lock);
    start();
    int fd;
    if (below_root(path)) {
        fd = open_watched(path, flags, mode);
    } else {
        fd = REAL(openat)(dir, path, flags, mode);
        if (fd >= 0 && fd < FDS) watched[fd] = 0;
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_of(int flags, va_list args) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list args;                                                \
        va_start(args, flags);                                       \
        mode_t mode = mode_of(flags, args);                          \
        va_end(args);                                                \
        return any_open(AT_FDCWD, path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                 \
    int name(int dir, const char *path, int flags, ...) {            \
        va_list args;                                                \
        va_start(args, flags);                                       \
        mode_t mode = mode_of(flags, args);                          \
        va_end(args);                                                \
        return any_open(dir, path, flags, mode);                     \
    }
OPENAT(openat)
OPENAT(openat64)

int fcntl64(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    pthread_mutex_lock(&lock);
    int result = REAL(fcntl64)(fd, command, argument);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && is_watched(fd) && result >= 0 && result < FDS) {
        watched[result] = 1;
        record('D', fd, (uint64_t)result, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    return fcntl64(fd, command, argument);
}

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (is_watched(fd)) {
        watched[fd] = 0;
        record('C', fd, 0, "", 0);
    }
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!is_watched(fd)) return REAL(write)(fd, bytes, count);
    pthread_mutex_lock(&lock);
    ssize_t written = fails() ? -1 : REAL(write)(fd, bytes, count);
    if (written > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        record('W', fd, (uint64_t)(end - written), bytes, (uint32_t)written);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_watched(fd)) return REAL(writev)(fd, parts, count);
    // A short write is legal: the caller goes on with the rest.
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len > 0) return write(fd, parts[part].iov_base, parts[part].iov_len);
    return 0;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    if (!is_watched(fd)) return REAL(pwrite64)(fd, bytes, count, offset);
    pthread_mutex_lock(&lock);
    ssize_t written = fails() ? -1 : REAL(pwrite64)(fd, bytes, count, offset);
    if (written > 0) record('W', fd, (uint64_t)offset, bytes, (uint32_t)written);
    pthread_mutex_unlock(&lock);
    return written;
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return pwrite64(fd, bytes, count, offset); }

#define ON_FD(kind, name, call, number)                              \
    pthread_mutex_lock(&lock);                                       \
    int result = is_watched(fd) && fails() ? -1 : call;              \
    if (result == 0 && is_watched(fd)) record(kind, fd, number, "", 0); \
    pthread_mutex_unlock(&lock);                                     \
    return result;

int fsync(int fd) { ON_FD('S', fsync, REAL(fsync)(fd), 0) }
int fdatasync(int fd) { ON_FD('S', fdatasync, REAL(fdatasync)(fd), 0) }
int ftruncate(int fd, off_t length) { ON_FD('T', ftruncate, REAL(ftruncate)(fd, length), (uint64_t)length) }
int ftruncate64(int fd, off64_t length) { ON_FD('T', ftruncate64, REAL(ftruncate64)(fd, length), (uint64_t)length) }

#define ON_PATH(kind, path, call)                                    \
    pthread_mutex_lock(&lock);                                       \
    start();                                                         \
    int below = below_root(path);                                    \
    int result = below && fails() ? -1 : call;                       \
    if (result == 0 && below) record(kind, -1, 0, path, (uint32_t)strlen(path)); \
    pthread_mutex_unlock(&lock);                                     \
    return result;

int mkdir(const char *path, mode_t mode) { ON_PATH('M', path, REAL(mkdir)(path, mode)) }
int unlink(const char *path) { ON_PATH('U', path, REAL(unlink)(path)) }
int rmdir(const char *path) { ON_PATH('U', path, REAL(rmdir)(path)) }

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    start();
    int below = below_root(from) && below_root(to);
    int result = below && fails() ? -1 : REAL(rename)(from, to);
    if (result == 0 && below) {
        char both[8192];
        int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
        record('R', -1, 0, both, (uint32_t)length);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
