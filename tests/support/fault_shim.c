/* Stands between a process and its disk: records what is written, and makes calls fail on demand.
 *
 * Loaded with LD_PRELOAD by fault_shim.py, which knows the formats of both files below.
 *
 * SHIM_ROOT     The directory whose files are watched; nothing else is recorded or made to fail.
 * SHIM_LOG      Where each change of a file, each sync and each byte sent is appended, in the order
 *               in which the process did it. Not set: nothing is recorded.
 * SHIM_CONTROL  A file that says which calls fail and how far the clock is off; read anew at each
 *               call, so that a test changes its mind while the process runs.
 * SHIM_BOOT_ID  A file that is read instead of the kernel's boot id.
 *
 * A sync is recorded when it begins and when it has ended, and is not held up by the lock: what is
 * sent while it goes on was sent before it ended. Everything else is done and recorded under one
 * lock, so that the order in the log is the order on the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16, RENAME = 32, UNLINK = 64, MKDIR = 128 };

struct control {
    int64_t operations, error, after, times, half, faults, clock_ns, unused;
    char path[192];
};

struct head {
    uint32_t kind, path_bytes;
    uint64_t file, number, data_bytes;
};

#define FDS 65536
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LOOK_UP(name)                                                                              \
    static __typeof__(&name) real;                                                                 \
    if (real == NULL)                                                                              \
        real = REAL(name);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static struct control *control;
static char boot_id[PATH_MAX];
static char *path_of[FDS];
static uint64_t file_of[FDS];
static uint64_t syncs;

static void record(char kind, const char *path, size_t path_bytes, uint64_t file, uint64_t number,
                   const void *data, size_t data_bytes) {
    if (log_fd < 0)
        return;
    LOOK_UP(writev)
    struct head head = {(uint32_t)kind, (uint32_t)path_bytes, file, number, data_bytes};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)path, path_bytes}, {(void *)data, data_bytes}};
    if (real(log_fd, parts, 3) != (ssize_t)(sizeof head + path_bytes + data_bytes))
        abort();
}

/* Returns the path below the root, or NULL for a file that is not watched. */
static const char *watched(const char *path) {
    if (root_bytes == 0 || strncmp(path, root, root_bytes) != 0)
        return NULL;
    return path[root_bytes] == '/' ? path + root_bytes + 1 : path[root_bytes] == 0 ? "" : NULL;
}

/* The index of the log is shared memory: no power cut leaves anything of it that is believed. */
static int is_index(const char *path) {
    size_t bytes = strlen(path);
    return bytes > 4 && strcmp(path + bytes - 4, "-shm") == 0;
}

static void resolve(int directory, const char *path, char *full) {
    char at[64], base[PATH_MAX] = "";
    if (path[0] == '/' || directory == AT_FDCWD) {
        snprintf(full, PATH_MAX, "%s", path);
        return;
    }
    snprintf(at, sizeof at, "/proc/self/fd/%d", directory);
    ssize_t bytes = readlink(at, base, sizeof base - 1);
    base[bytes < 0 ? 0 : bytes] = 0;
    if (snprintf(full, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
        abort();
}

/* Returns 0, or the error that a call is to fail with. */
static int fault(int operation, const char *path) {
    if (control == NULL || path == NULL || !(control->operations & operation))
        return 0;
    if (control->path[0] && strstr(path, control->path) == NULL)
        return 0;
    if (__atomic_fetch_sub(&control->after, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    int64_t times = __atomic_load_n(&control->times, __ATOMIC_SEQ_CST);
    if (times == 0 || (times > 0 && __atomic_fetch_sub(&control->times, 1, __ATOMIC_SEQ_CST) <= 0))
        return 0;
    __atomic_fetch_add(&control->faults, 1, __ATOMIC_SEQ_CST);
    return (int)control->error;
}

static int fails(int operation, const char *path) {
    int error = fault(operation, path);
    if (error)
        errno = error;
    return error;
}

static const char *path_at(int fd) { return fd >= 0 && fd < FDS ? path_of[fd] : NULL; }

static int is_recorded(int fd) { return path_at(fd) != NULL && !is_index(path_of[fd]); }

/* Says how many bytes of a failing write still arrive: none, or half of them. */
static size_t half_of(size_t bytes) {
    return control->half && __atomic_exchange_n(&control->half, 0, __ATOMIC_SEQ_CST) ? bytes / 2 : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("SHIM_LOG"), *told = getenv("SHIM_CONTROL"), *boot = getenv("SHIM_BOOT_ID");
    const char *where = getenv("SHIM_ROOT");
    LOOK_UP(open64)
    snprintf(boot_id, sizeof boot_id, "%s", boot ? boot : "");
    snprintf(root, sizeof root, "%s", where ? where : "");
    root_bytes = strlen(root);
    if (told) {
        int fd = real(told, O_RDWR | O_CLOEXEC);
        void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED)
            abort();
        control = mapped;
    }
    if (log) {
        struct stat found;
        log_fd = real(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (log_fd < 0 || stat(root, &found) != 0)
            abort();
        record('M', "", 0, found.st_ino, 0, NULL, 0);
    }
}

static int opened(int (*real)(int, const char *, int, ...), int directory, const char *path,
                  int flags, mode_t mode) {
    char full[PATH_MAX];
    struct stat found;
    if (boot_id[0] && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_id;
    resolve(directory, path, full);
    const char *name = watched(full);
    if (name == NULL)
        return real(directory, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = -1;
    int is_new = (flags & O_CREAT) && lstat(full, &found) != 0;
    if (!fails(OPEN, name))
        fd = real(directory, path, flags, mode);
    if (fd >= 0 && fd < FDS && fstat(fd, &found) == 0) {
        free(path_of[fd]);
        path_of[fd] = strdup(name);
        file_of[fd] = found.st_ino;
        if (is_new && !is_index(name))
            record('C', name, strlen(name), found.st_ino, 0, NULL, 0);
        else if ((flags & O_TRUNC) && !is_index(name))
            record('T', "", 0, found.st_ino, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, mode)                                                                          \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return opened(REAL(openat64), AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return opened(REAL(openat64), AT_FDCWD, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    MODE(flags, mode)
    return opened(REAL(openat64), directory, path, flags, mode);
}

int close(int fd) {
    LOOK_UP(close)
    if (path_at(fd) == NULL)
        return real(fd);
    pthread_mutex_lock(&lock);
    free(path_of[fd]);
    path_of[fd] = NULL;
    int done = real(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Writes at a place, or (-1) where the file stands, as the kernel would; holds the lock. */
static ssize_t put(int fd, const void *data, size_t bytes, off64_t at) {
    static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
    static ssize_t (*real_write)(int, const void *, size_t);
    if (real_pwrite == NULL) {
        real_pwrite = REAL(pwrite64);
        real_write = REAL(write);
    }
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    int error = fault(WRITE, path_of[fd]);
    size_t taken = error ? half_of(bytes) : bytes;
    if (!error || taken > 0) {
        done = at >= 0 ? real_pwrite(fd, data, taken, at) : real_write(fd, data, taken);
        error = errno;
        if (done > 0 && is_recorded(fd)) {
            off64_t start = at >= 0 ? at : lseek64(fd, 0, SEEK_CUR) - done;
            record('W', "", 0, file_of[fd], (uint64_t)start, data, (size_t)done);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

/* Sockets and pipes are what others see: what goes there is recorded before it goes. */
static void sending(int fd, const struct iovec *parts, int count) {
    struct stat found;
    if (log_fd < 0 || fstat(fd, &found) != 0)
        return;
    if (!S_ISSOCK(found.st_mode) && !S_ISFIFO(found.st_mode))
        return;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++)
        record('S', "", 0, (uint64_t)fd, 0, parts[i].iov_base, parts[i].iov_len);
    pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *data, size_t bytes) {
    LOOK_UP(write)
    if (path_at(fd) != NULL)
        return put(fd, data, bytes, -1);
    struct iovec part = {(void *)data, bytes};
    sending(fd, &part, 1);
    return real(fd, data, bytes);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) {
    LOOK_UP(pwrite64)
    return path_at(fd) != NULL ? put(fd, data, bytes, at) : real(fd, data, bytes, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    LOOK_UP(writev)
    /* Nobody writes to a watched file by several parts; who begins to is to notice. */
    if (path_at(fd) != NULL)
        abort();
    sending(fd, parts, count);
    return real(fd, parts, count);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    LOOK_UP(sendmsg)
    sending(fd, message->msg_iov, (int)message->msg_iovlen);
    return real(fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags) {
    LOOK_UP(send)
    struct iovec part = {(void *)data, bytes};
    sending(fd, &part, 1);
    return real(fd, data, bytes, flags);
}

ssize_t read(int fd, void *data, size_t bytes) {
    LOOK_UP(read)
    return fails(READ, path_at(fd)) ? -1 : real(fd, data, bytes);
}

ssize_t pread64(int fd, void *data, size_t bytes, off64_t at) {
    LOOK_UP(pread64)
    return fails(READ, path_at(fd)) ? -1 : real(fd, data, bytes, at);
}

static int synced(int (*real)(int), int fd) {
    if (path_at(fd) == NULL)
        return real(fd);
    pthread_mutex_lock(&lock);
    uint64_t file = file_of[fd], number = ++syncs;
    int error = fault(SYNC, path_of[fd]);
    record(error ? 'X' : 'B', "", 0, file, number, NULL, 0);
    pthread_mutex_unlock(&lock);
    int done = error ? -1 : real(fd);
    if (error)
        errno = error;
    if (done == 0) {
        pthread_mutex_lock(&lock);
        record('E', "", 0, file, number, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int fsync(int fd) { return synced(REAL(fsync), fd); }

int fdatasync(int fd) { return synced(REAL(fdatasync), fd); }

int ftruncate64(int fd, off64_t size) {
    LOOK_UP(ftruncate64)
    if (path_at(fd) == NULL)
        return real(fd, size);
    pthread_mutex_lock(&lock);
    int done = fails(TRUNCATE, path_of[fd]) ? -1 : real(fd, size);
    if (done == 0 && is_recorded(fd))
        record('T', "", 0, file_of[fd], (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Does a change of names and records it: one name, or two with a zero byte between them. */
static int named(int operation, char kind, const char *one, const char *two,
                 int (*change)(const char *, const char *)) {
    char both[2 * PATH_MAX];
    struct stat found = {0};
    const char *name = watched(one), *other = two ? watched(two) : NULL;
    if (name == NULL)
        return change(one, two);
    pthread_mutex_lock(&lock);
    int done = fails(operation, other ? other : name) ? -1 : change(one, two);
    if (done == 0 && !is_index(name)) {
        size_t bytes = strlen(name);
        memcpy(both, name, bytes);
        if (two) {
            both[bytes] = 0;
            strcpy(both + bytes + 1, other ? other : "");
            bytes += 1 + strlen(other ? other : "");
        }
        if (kind == 'M')
            lstat(one, &found);
        record(kind, both, bytes, found.st_ino, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

static int do_rename(const char *one, const char *two) { return REAL(rename)(one, two); }
static int do_link(const char *one, const char *two) { return REAL(link)(one, two); }
static int do_unlink(const char *one, const char *two) { return (void)two, REAL(unlink)(one); }
static int do_rmdir(const char *one, const char *two) { return (void)two, REAL(rmdir)(one); }
static __thread mode_t mode_made;
static int do_mkdir(const char *one, const char *two) { return (void)two, REAL(mkdir)(one, mode_made); }

int rename(const char *from, const char *to) { return named(RENAME, 'R', from, to, do_rename); }
int link(const char *from, const char *to) { return named(RENAME, 'L', from, to, do_link); }
int unlink(const char *path) { return named(UNLINK, 'U', path, NULL, do_unlink); }
int rmdir(const char *path) { return named(UNLINK, 'D', path, NULL, do_rmdir); }

int mkdir(const char *path, mode_t mode) {
    mode_made = mode;
    return named(MKDIR, 'M', path, NULL, do_mkdir);
}

int unlinkat(int directory, const char *path, int flags) {
    char full[PATH_MAX];
    resolve(directory, path, full);
    if (watched(full) == NULL)
        return REAL(unlinkat)(directory, path, flags);
    return flags & AT_REMOVEDIR ? rmdir(full) : unlink(full);
}

static int64_t clock_ns(void) { return control ? control->clock_ns : 0; }

int clock_gettime(clockid_t clock, struct timespec *at) {
    LOOK_UP(clock_gettime)
    int done = real(clock, at);
    if (done == 0 && clock == CLOCK_REALTIME && clock_ns()) {
        int64_t now = at->tv_sec * INT64_C(1000000000) + at->tv_nsec + clock_ns();
        at->tv_sec = now / 1000000000;
        at->tv_nsec = now % 1000000000;
    }
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return done;
}
