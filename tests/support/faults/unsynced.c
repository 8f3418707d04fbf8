/* Keeps what a loss of power leaves of files: their bytes as they were when they were last synced.

Loaded into a server by LD_PRELOAD, it takes the place of fsync and fdatasync: of a file below UNSYNCED_DATA each makes the
copy in UNSYNCED_KEPT equal to the file before it returns. power.py, which loads it as a library, makes the files equal to
their copies once the server was killed. Copies have the names of inodes, so a file that is renamed keeps its copy, and one that
is deleted is gone: names are as a file system with a journal keeps them, in order and at once. A file that is renamed over another
one is written out first, as ext4 and btrfs do by themselves. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096 /* of so many bytes each is either written or not */

static int open_copy(int file, const char *folder, int flags) {
  struct statx is;
  char path[PATH_MAX];
  if (statx(file, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &is) < 0) return -1;
  snprintf(path, sizeof path, "%s/%llu-%lld-%u", folder, (unsigned long long)is.stx_ino,
           (long long)is.stx_btime.tv_sec, is.stx_btime.tv_nsec); /* numbers of inodes are used again */
  int copy = open(path, flags | O_CLOEXEC, 0666);
  if (copy >= 0 && flags & O_CREAT) fchmod(copy, 0666); /* of whatever user */
  return copy;
}

/* Makes `to` equal to `from`; but of the blocks that differ it leaves so many per cent as they are. */
static int make_equal(int from, int to, int left_percent) {
  char wanted[4 * BLOCK], there[4 * BLOCK];
  struct stat size, old;
  if (fstat(from, &size) < 0 || fstat(to, &old) < 0) return -1;
  if (size.st_size != old.st_size && (size.st_size > old.st_size || rand() % 100 >= left_percent))
    if (ftruncate(to, size.st_size) < 0) return -1;
  for (off_t at = 0; at < size.st_size;) {
    ssize_t read = pread(from, wanted, sizeof wanted, at);
    if (read <= 0) return (int)read;
    ssize_t has = pread(to, there, (size_t)read, at);
    if (has != read || memcmp(wanted, there, (size_t)read))
      for (ssize_t block = 0; block < read; block += BLOCK) {
        size_t bytes = (size_t)(read - block < BLOCK ? read - block : BLOCK);
        if (block + (ssize_t)bytes <= has && !memcmp(wanted + block, there + block, bytes)) continue;
        if (left_percent && rand() % 100 < left_percent) continue;
        if (pwrite(to, wanted + block, bytes, at + block) != (ssize_t)bytes) return -1;
      }
    at += read;
  }
  return 0;
}

/* For power.py: as if the machine had written this file out by itself. */
int keep(int file, const char *folder) {
  int copy = open_copy(file, folder, O_RDWR | O_CREAT);
  if (copy < 0) return -1;
  flock(copy, LOCK_EX); /* who syncs later must not write what is older */
  int made = make_equal(file, copy, 0);
  close(copy);
  return made;
}

/* For power.py: what is left of this file, and `survives_percent` of the blocks that were not synced. */
int lose(int file, const char *folder, int survives_percent, unsigned seed) {
  srand(seed);
  int copy = open_copy(file, folder, O_RDONLY);
  if (copy < 0) return errno == ENOENT ? ftruncate(file, 0) : -1;
  int made = make_equal(copy, file, survives_percent);
  close(copy);
  return made;
}

static int sync_file(int file, long number) {
  const char *data = getenv("UNSYNCED_DATA"), *folder = getenv("UNSYNCED_KEPT");
  char link[64], path[PATH_MAX];
  struct stat is;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path);
  if (!data || !folder || fstat(file, &is) < 0 || length < (ssize_t)strlen(data) || strncmp(path, data, strlen(data)))
    return (int)syscall(number, file);
  if (getenv("UNSYNCED_LIES") || !S_ISREG(is.st_mode)) return 0;
  int readable = open(link, O_RDONLY | O_CLOEXEC); /* `file` may be for writing only */
  if (readable < 0) return -1;
  int made = keep(readable, folder);
  close(readable);
  return made;
}

int fsync(int file) { return sync_file(file, SYS_fsync); }
int fdatasync(int file) { return sync_file(file, SYS_fdatasync); }

int rename(const char *old, const char *new) {
  int file = access(new, F_OK) ? -1 : open(old, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    fdatasync(file);
    close(file);
  }
  return renameat(AT_FDCWD, old, AT_FDCWD, new);
}
