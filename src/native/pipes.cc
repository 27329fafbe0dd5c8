// The pool of pipes.
#include "pipes.h"

#include <fcntl.h>
#include <unistd.h>

#include <new>

namespace sallyport {

Pipes::~Pipes() {
  for (Pipe* pipe : idle_) Close(pipe);
}

Pipe* Pipes::Take() {
  if (!idle_.empty()) {
    Pipe* pipe = idle_.back();
    idle_.pop_back();
    if (idle_.size() < spare_) spare_ = static_cast<uint32_t>(idle_.size());
    in_use_++;
    return pipe;
  }
  if (in_use_ >= kMax) return nullptr;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  int size = fcntl(ends[1], F_SETPIPE_SZ, kSize);
  if (size < 0) size = fcntl(ends[1], F_SETPIPE_SZ, kSizeMin);
  Pipe* pipe = size < static_cast<int>(kSizeMin) ? nullptr : new (std::nothrow) Pipe{ends[0], ends[1], static_cast<uint32_t>(size)};
  if (pipe == nullptr) {
    close(ends[0]);
    close(ends[1]);
    return nullptr;
  }
  in_use_++;
  return pipe;
}

void Pipes::Give(Pipe* pipe, bool empty) {
  in_use_--;
  if (empty) {
    idle_.push_back(pipe);
  } else {
    Close(pipe);
  }
}

void Pipes::Trim() {
  for (; spare_ > 0; spare_--) {
    Close(idle_.back());
    idle_.pop_back();
  }
  spare_ = static_cast<uint32_t>(idle_.size());
}

void Pipes::Close(Pipe* pipe) {
  close(pipe->read);
  close(pipe->write);
  delete pipe;
}

}  // namespace sallyport
