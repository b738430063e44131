// Makes the n-th call that changes files fail, or kills the process at it. To be preloaded; a test calls the
// function at the end through ctypes.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>

namespace {

long left = 0;  // calls until one fails; 0: none fails
int error = 0;  // what it fails with; 0: the process is killed there
bool ever_after = false;
long failed = 0;

bool fails() {
    if (left == 0) return false;
    if (left > 1) {
        --left;
        return false;
    }
    if (!ever_after) left = 0;
    if (error == 0) kill(getpid(), SIGKILL);
    ++failed;
    errno = error;
    return true;
}

template <class F>
F real(F, const char* name) {
    return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define REAL(name) real(name, #name)

extern "C" {

int open(const char* path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return fails() ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return fails() ? -1 : REAL(open64)(path, flags, mode);
}
ssize_t write(int file, const void* data, size_t size) {
    if (left == 1) (void)!REAL(write)(file, data, size / 2);  // a full disk takes a part of it first
    return fails() ? -1 : REAL(write)(file, data, size);
}
int ftruncate(int file, off_t size) noexcept { return fails() ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) noexcept { return fails() ? -1 : REAL(ftruncate64)(file, size); }
int fsync(int file) { return fails() ? -1 : REAL(fsync)(file); }
int rename(const char* from, const char* to) noexcept { return fails() ? -1 : REAL(rename)(from, to); }
int unlink(const char* path) noexcept { return fails() ? -1 : REAL(unlink)(path); }

// ---------------------------------------------------------------------- for the test

// The n-th call from now on fails (0: none) with `with` (0: the process is killed), and if `all` every one
// after it. Gives how many have failed since the last call.
long fail_call(long n, int with, int all) {
    const long before = failed;
    failed = 0;
    left = n;
    error = with;
    ever_after = all != 0;
    return before;
}
}
