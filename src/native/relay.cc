// How the bytes of a tunnel move. Edge-triggered: a side is read until it says that there is nothing, and only while its peer
// takes what is read, so that a tunnel holds one remainder or one pipe. Early data, what the check has held and the answer to
// the CONNECT are remainders like any other. An end is passed on when all before it has been; an error is a reset on the other side.
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"

namespace sallyport {

namespace {
// A read of so much is bulk: splice(2) then moves pages instead of copying, until it moves little.
constexpr ssize_t kBulkRead = 16'384;
constexpr ssize_t kCalmSplice = 4'096;
// Then others have their turn.
constexpr size_t kTurnBytes = 1u << 20;

bool Nothing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }
}  // namespace

/** Moves what can be moved in both directions, and ends the tunnel when both are through. */
void Engine::Run(Side* side) {
  Side* client = side->origin ? side->peer : side;
  Side* origin = client->peer;
  Side* broken = client->broken ? client : origin->broken ? origin : nullptr;
  bool again = false;
  if (broken == nullptr) again = Pump(client, &broken) == Pumped::kAgain;
  if (broken == nullptr) again = Pump(origin, &broken) == Pumped::kAgain || again;
  if (broken != nullptr) return Fail(broken);
  bool through = client->ended && origin->ended && !client->flow.Pending() && !origin->flow.Pending();
  if (through && client->check == Check::kNone) return End(client, Outcome::kClosed);
  if (again) Queue(client);
}

Engine::Pumped Engine::Pump(Side* from, Side** broken) {
  Side* to = from->peer;
  size_t left = kTurnBytes;
  for (;;) {
    if (from->flow.Pending() && from->check != Check::kEnforce) {
      if (!to->writable) return Pumped::kWaits;
      if (!Deliver(from, to)) {
        *broken = to;
        return Pumped::kBroken;
      }
      if (from->flow.Pending()) return Pumped::kWaits;
    }
    if (from->ended) {
      // The second of a tunnel's two ends needs no shutdown(2): closing sends the same FIN.
      bool last = to->ended && !to->flow.Pending();
      if (from->check != Check::kEnforce && !from->flow.Pending() && !to->shut && !last) {
        to->shut = true;
        shutdown(to->fd, SHUT_WR);
      }
      return Pumped::kWaits;
    }
    if (!from->readable || from->hold || from->asked) return Pumped::kWaits;
    if (from->check == Check::kNone && !to->writable) return Pumped::kWaits;
    if (left == 0) return Pumped::kAgain;
    Pumped pumped = from->check != Check::kNone ? Inspect(from, broken)
                    : from->bulk                ? Splice(from, broken, &left)
                                                : Read(from, broken, &left);
    if (pumped == Pumped::kBroken) return pumped;
  }
}

/** One read, and at once the write of what it gave. Returns kBroken or kAgain. */
Engine::Pumped Engine::Read(Side* from, Side** broken, size_t* left) {
  Side* to = from->peer;
  ssize_t count = recv(from->fd, scratch_, kReadBytes, 0);
  if (count < 0) {
    if (Nothing(errno)) {
      if (errno != EINTR) from->readable = false;
      return Pumped::kAgain;
    }
    *broken = from;
    return Pumped::kBroken;
  }
  if (count == 0) {
    from->ended = true;
    return Pumped::kAgain;
  }
  from->count += static_cast<uint64_t>(count);
  from->active = true;
  *left -= std::min(*left, static_cast<size_t>(count));
  // A short read has emptied the socket; but an end that came in the same event is told by no further one.
  if (count < static_cast<ssize_t>(kReadBytes) && !from->hangup) from->readable = false;
  if (count >= kBulkRead) from->bulk = true;
  ssize_t sent = send(to->fd, scratch_, static_cast<size_t>(count), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (!Nothing(errno)) {
      *broken = to;
      return Pumped::kBroken;
    }
    sent = 0;
  }
  if (sent < count) {
    // The rest is tried again by Deliver(), which finds out whether the kernel takes no more.
    if (!from->flow.Append(scratch_ + sent, static_cast<size_t>(count - sent))) {
      *broken = from;
      return Pumped::kBroken;
    }
  }
  return Pumped::kAgain;
}

Engine::Pumped Engine::Splice(Side* from, Side** broken, size_t* left) {
  Flow& flow = from->flow;
  if (flow.pipe == nullptr) flow.pipe = pipes_.Take();
  if (flow.pipe == nullptr) {
    // Too many at once: this one is copied for a while.
    from->bulk = false;
    return Pumped::kAgain;
  }
  ssize_t count = splice(from->fd, nullptr, flow.pipe->write, nullptr, flow.pipe->size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (count > 0) {
    flow.piped = static_cast<uint32_t>(count);
    from->count += static_cast<uint64_t>(count);
    from->active = true;
    *left -= std::min(*left, static_cast<size_t>(count));
    if (count < kCalmSplice) from->bulk = false;
    return Pumped::kAgain;
  }
  int error = errno;
  GivePipe(from, true);
  if (count == 0) {
    from->ended = true;
  } else if (error == EINTR) {
    return Pumped::kAgain;
  } else if (Nothing(error)) {
    from->readable = false;
  } else if (error == EINVAL || error == ENOSYS || error == EPERM) {
    from->bulk = false;
  } else {
    *broken = from;
    return Pumped::kBroken;
  }
  return Pumped::kAgain;
}

/** Reads first bytes that TypeScript has to see; it answers with More(), Pass() or Close(). */
Engine::Pumped Engine::Inspect(Side* from, Side** broken) {
  ssize_t count = recv(from->fd, scratch_, kReadBytes, 0);
  if (count < 0) {
    if (Nothing(errno)) {
      if (errno != EINTR) from->readable = false;
      return Pumped::kAgain;
    }
    *broken = from;
    return Pumped::kBroken;
  }
  from->asked = true;
  if (count == 0) {
    from->ended = true;
    Tell(Event::kHello, from->handle, 1, nullptr, 0);
    return Pumped::kAgain;
  }
  from->count += static_cast<uint64_t>(count);
  from->active = true;
  if (count < static_cast<ssize_t>(kReadBytes) && !from->hangup) from->readable = false;
  if (!from->flow.Append(scratch_, static_cast<size_t>(count))) {
    *broken = from;
    return Pumped::kBroken;
  }
  Tell(Event::kHello, from->handle, 0, scratch_, static_cast<size_t>(count));
  return Pumped::kAgain;
}

/** Writes what is pending until it is all gone or the kernel takes no more. @return false where the connection has failed */
bool Engine::Deliver(Side* from, Side* to) {
  Flow& flow = from->flow;
  while (flow.end > flow.at) {
    ssize_t sent = send(to->fd, flow.bytes + flow.at, flow.end - flow.at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      flow.at += static_cast<uint32_t>(sent);
    } else if (errno != EINTR) {
      if (!Nothing(errno)) return false;
      to->writable = false;
      return true;
    }
  }
  if (flow.bytes != nullptr) flow.DropBytes();
  while (flow.piped > 0) {
    ssize_t sent = splice(flow.pipe->read, nullptr, to->fd, nullptr, flow.piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent > 0) {
      flow.piped -= static_cast<uint32_t>(sent);
    } else if (sent == 0 || errno != EINTR) {
      if (sent == 0 || !Nothing(errno)) return false;
      to->writable = false;
      return true;
    }
  }
  if (flow.pipe != nullptr) GivePipe(from, true);
  return true;
}

void Engine::GivePipe(Side* side, bool empty) {
  pipes_.Give(side->flow.pipe, empty);
  side->flow.pipe = nullptr;
}

/** An error on one side is a reset on the other: the peer must not take a broken stream for a whole one. */
void Engine::Fail(Side* broken) {
  Side* client = broken->origin ? broken->peer : broken;
  Outcome outcome = broken->origin ? Outcome::kOriginReset : Outcome::kClientReset;
  End(client, outcome);
}

void Engine::End(Side* client, Outcome outcome) {
  Side* origin = client->peer;
  client->returned = origin->count;
  uint64_t counts[2] = {client->count, client->returned};
  CloseDescriptor(client, outcome == Outcome::kOriginReset);
  CloseSide(origin, outcome == Outcome::kClientReset);
  client->peer = nullptr;
  client->role = Role::kOver;
  Tell(Event::kEnded, client->handle, static_cast<int32_t>(outcome), counts, sizeof counts);
}

}  // namespace sallyport
