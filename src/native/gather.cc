// Bulk in large pieces: less work here, and full segments for whoever receives. A side that has sent much wakes the engine only for
// kPiece bytes, and the last segment of what is passed on may wait for more (SPLICE_F_MORE). What stalls is let go by the clock, so
// that the end of an answer waits for two ticks at most; an end of the stream waits for nothing, the kernel wakes and sends for it.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "engine.h"

namespace sallyport {

namespace {
constexpr uint32_t kAfterBytes = 1u << 22;
constexpr int kPiece = 1 << 18;
constexpr uint64_t kTickMs = 2;
}  // namespace

void Engine::Gather(Side* from, uint32_t count) {
  from->flow.run += count;
  if (from->flow.run < kAfterBytes) return;
  from->gathers = true;
  SetOption(from->fd, SOL_SOCKET, SO_RCVLOWAT, kPiece);
  gathering_.push_back({from->handle, from->count});
  if (gathering_.size() == 1) uv_timer_start(&clock_, OnTick, kTickMs, kTickMs);
}

/** Reads what lies there, and sends what was kept back. */
void Engine::Loosen(Side* from) {
  from->gathers = false;
  from->flow.run = 0;
  SetOption(from->fd, SOL_SOCKET, SO_RCVLOWAT, 1);
  // It is on already; to set it sends at once.
  SetOption(from->peer->fd, IPPROTO_TCP, TCP_NODELAY, 1);
  from->readable = true;
  Queue(from);
}

void Engine::OnTick(uv_timer_t* clock) { static_cast<Engine*>(clock->data)->Tick(); }

void Engine::Tick() {
  size_t kept = 0;
  for (Gathering& one : gathering_) {
    Side* side = sides_.Find(one.handle);
    if (side == nullptr || side->role != Role::kTunnel) continue;
    if (side->count == one.count) {
      Loosen(side);
      continue;
    }
    one.count = side->count;
    gathering_[kept++] = one;
  }
  gathering_.resize(kept);
  if (kept == 0) uv_timer_stop(&clock_);
}

}  // namespace sallyport
