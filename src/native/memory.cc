#include "memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdio>

namespace sallyport {
namespace {

/** glibc keeps what was freed, and each load of the policy leaves twenty megabytes. */
void TrimHeap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

/**
 * Of Node's program and its libraries a start reads more than serving ever does. Their pages are the file's, and are read from it
 * again when they are needed; so they are let go, where the kernel says that nobody has written to any of a mapping (relocations and
 * programs that were moved to huge pages count as that).
 */
void LetProgramsGo() {
  FILE* maps = fopen("/proc/self/smaps", "re");
  if (maps == nullptr) return;
  uintptr_t from = 0;
  uintptr_t to = 0;
  bool program = false;
  char line[1'024];
  while (fgets(line, sizeof line, maps) != nullptr) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    char rights[5];
    unsigned long inode = 0;
    unsigned long written = 0;
    // A part of it also fits names of fields, so what it finds counts only as a whole.
    if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &begin, &end, rights, &inode) == 4) {
      from = begin;
      to = end;
      program = inode != 0 && rights[1] == '-' && rights[3] == 'p';
    } else if (program && sscanf(line, "Anonymous: %lu", &written) == 1 && written == 0) {
      madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
    }
  }
  fclose(maps);
}

}  // namespace

void UseOneHeap() {
#ifdef __GLIBC__
  // By default glibc keeps a heap for each thread, and some megabytes in each that nobody uses. The thread that loaded the policy has
  // left its own.
  mallopt(M_ARENA_MAX, 1);
#endif
  TrimHeap();
}

void GiveBackMemory(uv_loop_t* loop) {
  static std::atomic<bool> running{false};
  if (running.exchange(true)) return;
  auto give_back = [](uv_work_t*) {
    static bool started = false;
    TrimHeap();
    if (!started) LetProgramsGo();
    started = true;
  };
  auto done = [](uv_work_t* over, int) {
    delete over;
    running = false;
  };
  auto* work = new uv_work_t;
  if (uv_queue_work(loop, work, give_back, done) != 0) done(work, 0);
}

}  // namespace sallyport
