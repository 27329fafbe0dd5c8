// One socket of the engine: a listener, a client's connection, an attempt to reach an origin, or an end of a tunnel. Sides live
// in blocks that are never given back, and are known outside by handles that carry a generation: a handle that has outlived its
// side finds nothing, whoever kept it (a late epoll event, a queue, TypeScript).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "pipes.h"

namespace sallyport {

enum class Role : uint8_t {
  kFree,
  kListening,
  kArrived,    // accepted; TypeScript has not said what becomes of it
  kSilent,     // waits for its first bytes, or for more of them
  kSpoken,     // TypeScript has bytes of it; only its end is looked for
  kRefused,    // an answer is on its way out, what comes in is dropped
  kTalking,    // TypeScript speaks with it: an origin is read when it asks, a client not before it is collected again
  kDialling,   // a connect(2) under way
  kConnected,  // an origin that no tunnel has yet
  kTunnel,
  kOver,  // was one; TypeScript has been told, and may still ask for its counts
};

/** What TypeScript wants to see of a client's first bytes. */
enum class Check : uint8_t {
  kNone,
  kEnforce,  // they are held until it says pass
  kObserve,  // it is shown a copy
};

/** What was read from a side and has not reached its peer: bytes first, then what lies in the pipe. */
struct Flow {
  char* bytes = nullptr;
  uint32_t at = 0;
  uint32_t end = 0;
  uint32_t capacity = 0;
  uint32_t piped = 0;
  Pipe* pipe = nullptr;

  bool Pending() const { return end > at || piped > 0; }
  /** @return false where there is no memory */
  bool Append(const char* from, size_t count);
  void DropBytes();
};

struct Side {
  int fd = -1;
  uint32_t handle = 0;
  Side* peer = nullptr;
  Flow flow;
  /** Bytes read from it. Of a refused client: those that were dropped. */
  uint64_t count = 0;
  /** Of a client whose tunnel is over: bytes read from the origin. */
  uint64_t returned = 0;
  Role role = Role::kFree;
  Check check = Check::kNone;
  bool origin = false;    // the far end of a tunnel
  bool readable = false;  // as epoll (edge-triggered) has said, until a read finds nothing
  bool writable = false;
  bool hangup = false;  // FIN or worse has come: it is read until it says so itself
  bool ended = false;   // read to its end
  bool shut = false;    // shutdown(2) was called
  bool broken = false;  // a write has failed where nobody could be told
  bool bulk = false;    // splice(2) instead of copies
  bool hold = false;    // not to be read before the check has passed
  bool asked = false;   // TypeScript looks at bytes of it and has not answered
  bool kept = false;    // of a silent one: TypeScript keeps bytes that it has sent
  bool queued = false;
  bool active = false;  // a byte has passed since the last idle sweep
  bool probed = false;  // TCP keep-alive is on
};

class Sides {
 public:
  /** @return nullptr where there are too many, or no memory */
  Side* Take(Role role, int fd);
  /** The descriptor is the caller's to close. Its place is given to nobody before Reuse(). */
  void Free(Side* side);
  /** TypeScript has heard of all that was freed: from now on the places may be taken again. */
  void Reuse();
  /** @return nullptr where it is gone */
  Side* Find(uint32_t handle);
  /** All that are in use. */
  std::vector<Side*> All();

 private:
  static constexpr uint32_t kIndexBits = 21;
  static constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
  static constexpr uint32_t kGenerationMask = (1u << 10) - 1;
  static constexpr uint32_t kBlock = 128;

  bool Grow();

  std::vector<std::unique_ptr<Side[]>> blocks_;
  std::vector<uint32_t> free_;
  /** Freed, but events about them may lie in the outbox: TypeScript knows its objects by these places. */
  std::vector<uint32_t> freed_;
};

}  // namespace sallyport
