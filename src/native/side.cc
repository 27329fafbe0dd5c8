// Flow and Sides: memory only, no socket is touched here.
#include "side.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace sallyport {

bool Flow::Append(const char* from, size_t count) {
  if (count == 0) return true;
  if (end + count > capacity) {
    // Twice the size, so that a message that comes byte by byte is copied a logarithmic number of times.
    size_t wanted = end == 0 ? count : 2 * (end + count);
    char* grown = static_cast<char*>(realloc(bytes, wanted));
    if (grown == nullptr) return false;
    bytes = grown;
    capacity = static_cast<uint32_t>(wanted);
  }
  memcpy(bytes + end, from, count);
  end += static_cast<uint32_t>(count);
  return true;
}

void Flow::DropBytes() {
  free(bytes);
  bytes = nullptr;
  at = end = capacity = 0;
}

bool Sides::Grow() {
  uint32_t first = static_cast<uint32_t>(blocks_.size()) * kBlock;
  if (first + kBlock > kIndexMask) return false;
  std::unique_ptr<Side[]> block(new (std::nothrow) Side[kBlock]);
  if (!block) return false;
  for (uint32_t i = 0; i < kBlock; i++) block[i].handle = first + i;
  blocks_.push_back(std::move(block));
  for (uint32_t i = kBlock; i > 0; i--) free_.push_back(first + i - 1);
  return true;
}

Side* Sides::Take(Role role, int fd) {
  if (free_.empty() && !Grow()) return nullptr;
  uint32_t index = free_.back();
  free_.pop_back();
  Side* side = &blocks_[index / kBlock][index % kBlock];
  uint32_t handle = side->handle;
  *side = Side();
  side->handle = handle;
  side->role = role;
  side->fd = fd;
  return side;
}

void Sides::Free(Side* side) {
  side->flow.DropBytes();
  side->role = Role::kFree;
  side->fd = -1;
  side->peer = nullptr;
  uint32_t index = side->handle & kIndexMask;
  uint32_t generation = ((side->handle >> kIndexBits) + 1) & kGenerationMask;
  side->handle = generation << kIndexBits | index;
  freed_.push_back(index);
}

void Sides::Reuse() {
  free_.insert(free_.end(), freed_.begin(), freed_.end());
  freed_.clear();
}

Side* Sides::Find(uint32_t handle) {
  uint32_t index = handle & kIndexMask;
  if (index / kBlock >= blocks_.size()) return nullptr;
  Side* side = &blocks_[index / kBlock][index % kBlock];
  return side->handle == handle && side->role != Role::kFree ? side : nullptr;
}

std::vector<Side*> Sides::All() {
  std::vector<Side*> all;
  for (auto& block : blocks_) {
    for (uint32_t i = 0; i < kBlock; i++) {
      if (block[i].role != Role::kFree) all.push_back(&block[i]);
    }
  }
  return all;
}

}  // namespace sallyport
