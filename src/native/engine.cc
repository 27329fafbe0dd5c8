// The engine's loop: what is ready, who is told, and the sockets before and after they are tunnels.
#include "engine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sallyport {

namespace {
constexpr int kReadyMax = 256;
constexpr int kAcceptMax = 64;
// What TypeScript's answers cause is done in the same turn, so often; then the rest of the process has its turn.
constexpr int kRounds = 4;
constexpr size_t kHeaderBytes = 16;
// No handling of one side tells more than one payload and one end.
constexpr size_t kRoom = Engine::kReadBytes + 256;
// What a refused client may still send while its answer is on its way (src/proxy/refuse.ts).
constexpr uint64_t kDropMax = 1u << 20;
constexpr uint32_t kConnection = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

bool Nothing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

void SetOption(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

/** As Node writes the address of a peer. @return bytes of the text */
size_t AddressText(const sockaddr_storage& address, char* text, size_t size) {
  text[0] = '\0';
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, static_cast<socklen_t>(size));
    return strlen(text);
  }
  const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
  inet_ntop(AF_INET6, &six.sin6_addr, text, static_cast<socklen_t>(size));
  size_t length = strlen(text);
  if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr) && six.sin6_scope_id > 0 && length + 1 + IF_NAMESIZE < size) {
    text[length] = '%';
    if (if_indextoname(six.sin6_scope_id, text + length + 1) == nullptr) text[length] = '\0';
    length = strlen(text);
  }
  return length;
}
}  // namespace

Engine::Engine(const Bridge& bridge, std::string established, Engine** owner)
    : bridge_(bridge), established_(std::move(established)), owner_(owner) {}

Engine::~Engine() {
  if (spare_ >= 0) close(spare_);
  if (epoll_ >= 0) close(epoll_);
}

int Engine::Start(uv_loop_t* loop) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return errno;
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int failed = uv_poll_init(loop, &poll_, epoll_);
  if (failed != 0) return -failed;
  uv_idle_init(loop, &idle_);
  handles_ = 2;
  poll_.data = idle_.data = this;
  uv_poll_start(&poll_, UV_READABLE, OnPoll);
  // What is served keeps the process (a listener, a drain), not that it could be: a start that fails ends.
  uv_unref(reinterpret_cast<uv_handle_t*>(&poll_));
  napi_add_env_cleanup_hook(bridge_.env, OnExit, this);
  return 0;
}

void Engine::Stop() {
  if (stopped_) return;
  stopped_ = true;
  *owner_ = nullptr;
  for (Side* side : sides_.All()) {
    if (side->role != Role::kFree) CloseSide(side, side->role == Role::kTunnel);
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), OnClosed);
}

void Engine::OnExit(void* engine) {
  static_cast<Engine*>(engine)->exiting_ = true;
  static_cast<Engine*>(engine)->Stop();
}

/** The references cannot go earlier: Stop() may have been called in the midst of a callback. */
void Engine::OnClosed(uv_handle_t* handle) {
  Engine* engine = static_cast<Engine*>(handle->data);
  if (--engine->handles_ > 0) return;
  if (!engine->exiting_) {
    const Bridge& bridge = engine->bridge_;
    napi_remove_env_cleanup_hook(bridge.env, OnExit, engine);
    napi_delete_reference(bridge.env, bridge.tell);
    napi_delete_reference(bridge.env, bridge.outbox);
    napi_async_destroy(bridge.env, bridge.context);
  }
  delete engine;
}

void Engine::OnPoll(uv_poll_t* poll, int, int) { static_cast<Engine*>(poll->data)->Turn(); }
void Engine::OnIdle(uv_idle_t* idle) {
  Engine* engine = static_cast<Engine*>(idle->data);
  engine->in_turn_ = true;
  engine->Settle();
}

void Engine::Turn() {
  epoll_event ready[kReadyMax];
  int count = epoll_wait(epoll_, ready, kReadyMax, 0);
  in_turn_ = true;
  for (int i = 0; i < count; i++) {
    if (bridge_.capacity - used_ < kRoom) Flush();
    if (stopped_) return;
    Side* side = sides_.Find(static_cast<uint32_t>(ready[i].data.u64));
    if (side != nullptr) Ready(side, ready[i].events);
  }
  Settle();
}

/** Ends a turn: moves what is queued, tells what has happened, and does what was answered. */
void Engine::Settle() {
  for (int round = 0; round < kRounds && !stopped_; round++) {
    RunQueue();
    if (stopped_) return;
    if (used_ == 0 && queue_.empty()) break;
    Flush();
  }
  if (stopped_) return;
  in_turn_ = false;
  if (queue_.empty() && used_ == 0) {
    uv_idle_stop(&idle_);
  } else {
    uv_idle_start(&idle_, OnIdle);
  }
}

void Engine::RunQueue() {
  running_.swap(queue_);
  for (uint32_t handle : running_) {
    if (bridge_.capacity - used_ < kRoom) Flush();
    if (stopped_) return;
    Side* side = sides_.Find(handle);
    if (side == nullptr) continue;
    side->queued = false;
    if (side->role == Role::kTunnel) {
      Run(side);
    } else if (side->role == Role::kRefused) {
      Drop(side);
    } else if (side->role == Role::kTalking) {
      Converse(side);
    } else if (side->role == Role::kSilent && side->readable) {
      Hear(side);
    }
  }
  running_.clear();
}

void Engine::Queue(Side* side) {
  if (side->queued) return;
  side->queued = true;
  queue_.push_back(side->handle);
  if (!in_turn_) uv_idle_start(&idle_, OnIdle);
}

void Engine::Tell(Event event, uint32_t handle, int32_t value, const void* bytes, size_t count) {
  int32_t header[4] = {static_cast<int32_t>(event), static_cast<int32_t>(handle), value, static_cast<int32_t>(count)};
  memcpy(bridge_.bytes + used_, header, kHeaderBytes);
  if (count > 0) memcpy(bridge_.bytes + used_ + kHeaderBytes, bytes, count);
  used_ += kHeaderBytes + ((count + 3) & ~size_t{3});
}

/** One call for all that has happened. While it runs nothing is told, so the outbox stays as it is. */
void Engine::Flush() {
  if (used_ == 0) return;
  napi_env env = bridge_.env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value tell, receiver, bytes;
  napi_get_reference_value(env, bridge_.tell, &tell);
  napi_get_global(env, &receiver);
  napi_create_uint32(env, static_cast<uint32_t>(used_), &bytes);
  used_ = 0;
  napi_make_callback(env, bridge_.context, receiver, tell, 1, &bytes, nullptr);
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
  sides_.Reuse();
}

void Engine::Ready(Side* side, uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side->readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) side->writable = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side->hangup = true;
  switch (side->role) {
    case Role::kListening:
      return Accept(side);
    case Role::kSilent:
      // Who has reset is not asked what it wanted.
      if (events & (EPOLLHUP | EPOLLERR)) return Leave(side);
      if (side->readable) Hear(side);
      return;
    case Role::kSpoken:
      // A half that is closed is no end: it is passed on when there is a tunnel.
      if (events & (EPOLLHUP | EPOLLERR)) Leave(side);
      return;
    case Role::kRefused:
      return Drop(side);
    case Role::kTalking:
      return Converse(side);
    case Role::kDialling:
      return Dialled(side, events);
    case Role::kTunnel:
      return Run(side);
    default:
      return;
  }
}

bool Engine::Watch(Side* side, uint32_t events) {
  epoll_event wanted{};
  wanted.events = events;
  // Not a pointer: a process that is being started holds a copy of the descriptor for a moment, and events of a closed one come.
  wanted.data.u64 = side->handle;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, side->fd, &wanted) == 0;
}

void Engine::CloseSide(Side* side, bool reset) {
  CloseDescriptor(side, reset);
  sides_.Free(side);
}

void Engine::CloseDescriptor(Side* side, bool reset) {
  if (side->fd < 0) return;
  if (reset) {
    linger now{1, 0};
    setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  if (side->flow.pipe != nullptr) GivePipe(side, side->flow.piped == 0);
  side->flow.DropBytes();
  close(side->fd);
  side->fd = -1;
}

int64_t Engine::Listen(int fd) {
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return -errno;
  Side* side = sides_.Take(Role::kListening, own);
  if (side == nullptr) {
    close(own);
    return -ENOMEM;
  }
  // What is accepted inherits it.
  SetOption(own, IPPROTO_TCP, TCP_NODELAY, 1);
  if (Watch(side, EPOLLIN)) return side->handle;
  int error = errno;
  CloseSide(side, false);
  return -error;
}

int Engine::Lend(uint32_t listener) {
  Side* side = sides_.Find(listener);
  if (side == nullptr || side->role != Role::kListening) return -EBADF;
  int copy = fcntl(side->fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

void Engine::Unlisten(uint32_t listener) {
  Side* side = sides_.Find(listener);
  if (side == nullptr || side->role != Role::kListening) return;
  // Others may hold the same socket open, and epoll goes by the socket.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, side->fd, nullptr);
  CloseSide(side, false);
}

void Engine::Accept(Side* listener) {
  for (int i = 0; i < kAcceptMax; i++) {
    if (bridge_.capacity - used_ < kRoom) return;
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    int fd = accept4(listener->fd, reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      int error = errno;
      if (error == EINTR || error == ECONNABORTED) continue;
      if (Nothing(error)) return;
      Tell(Event::kFailing, listener->handle, error, nullptr, 0);
      if ((error == EMFILE || error == ENFILE) && AcceptWithoutDescriptors(listener)) continue;
      return;
    }
    Side* client = sides_.Take(Role::kArrived, fd);
    if (client == nullptr) {
      close(fd);
      Tell(Event::kFailing, listener->handle, ENOMEM, nullptr, 0);
      return;
    }
    client->writable = true;
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
    size_t count = AddressText(address, text, sizeof text);
    Tell(Event::kArrived, client->handle, static_cast<int32_t>(listener->handle), text, count);
  }
}

/** Nobody can be served; but who waits is told by a close, and the listener does not keep the processor busy. */
bool Engine::AcceptWithoutDescriptors(Side* listener) {
  if (spare_ < 0) return false;
  close(spare_);
  int fd = accept4(listener->fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return fd >= 0;
}

bool Engine::Collect(uint32_t client, bool kept) {
  Side* side = sides_.Find(client);
  if (side == nullptr) return false;
  if (side->role == Role::kArrived) {
    side->role = Role::kSilent;
    return Watch(side, kConnection);
  }
  bool answered = side->role == Role::kTalking && !side->origin && !side->flow.Pending();
  if (!answered && side->role != Role::kSpoken) return false;
  side->role = Role::kSilent;
  side->kept = kept;
  // It may have spoken meanwhile, of which no further event comes.
  if (side->readable) Queue(side);
  return true;
}

/** The first bytes of a client, or the next, one read of them; or its end. */
void Engine::Hear(Side* client) {
  ssize_t count = recv(client->fd, scratch_, kReadBytes, 0);
  if (count < 0 && Nothing(errno)) {
    client->readable = false;
    return;
  }
  if (count < 0 || (count == 0 && !client->kept)) return Leave(client);
  if (count < static_cast<ssize_t>(kReadBytes) && !client->hangup) client->readable = false;
  client->role = Role::kSpoken;
  Tell(Event::kSpoken, client->handle, count == 0, scratch_, static_cast<size_t>(count));
}

int Engine::Release(uint32_t client) {
  Side* side = sides_.Find(client);
  if (side == nullptr || side->flow.Pending()) return -1;
  if (side->role != Role::kArrived && side->role != Role::kSilent && side->role != Role::kSpoken && side->role != Role::kTalking) {
    return -1;
  }
  if (side->role != Role::kArrived) epoll_ctl(epoll_, EPOLL_CTL_DEL, side->fd, nullptr);
  int fd = side->fd;
  sides_.Free(side);
  return fd;
}

int64_t Engine::Connect(const char* address, int port) {
  sockaddr_storage to{};
  socklen_t length;
  if (uv_ip4_addr(address, port, reinterpret_cast<sockaddr_in*>(&to)) == 0) {
    length = sizeof(sockaddr_in);
  } else if (uv_ip6_addr(address, port, reinterpret_cast<sockaddr_in6*>(&to)) == 0) {
    length = sizeof(sockaddr_in6);
  } else {
    return -EINVAL;
  }
  int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), length) != 0 && errno != EINPROGRESS) {
    int error = errno;
    close(fd);
    return -error;
  }
  Side* side = sides_.Take(Role::kDialling, fd);
  if (side == nullptr) {
    close(fd);
    return -ENOMEM;
  }
  side->origin = true;
  if (Watch(side, kConnection)) return side->handle;
  int error = errno;
  CloseSide(side, false);
  return -error;
}

void Engine::Dialled(Side* attempt, uint32_t events) {
  uint32_t handle = attempt->handle;
  if (events & (EPOLLHUP | EPOLLERR)) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    // An origin that has answered and reset at once has no error of the connect left: the relay will find it.
    if (error != 0) {
      CloseSide(attempt, false);
      return Tell(Event::kConnectFailed, handle, error, nullptr, 0);
    }
  }
  if (!(events & EPOLLOUT)) return;
  attempt->role = Role::kConnected;
  Tell(Event::kConnected, handle, 0, nullptr, 0);
}

bool Engine::Open(uint32_t client, uint32_t attempt, Check check, bool hold, const char* early, size_t early_bytes) {
  Side* from = sides_.Find(client);
  Side* to = sides_.Find(attempt);
  if (from == nullptr || to == nullptr || from->role != Role::kSpoken || to->role != Role::kConnected) return false;
  from->role = to->role = Role::kTunnel;
  from->peer = to;
  to->peer = from;
  from->check = check;
  to->hold = hold;
  from->active = true;
  from->count = early_bytes;
  if (early_bytes > 0 && !from->flow.Append(early, early_bytes)) from->broken = true;
  ssize_t sent = send(from->fd, established_.data(), established_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    // Told later, as the end of this tunnel.
    if (!Nothing(errno)) from->broken = true;
    sent = 0;
  }
  size_t rest = established_.size() - static_cast<size_t>(sent);
  if (rest > 0 && !to->flow.Append(established_.data() + sent, rest)) from->broken = true;
  Queue(from);
  return true;
}

void Engine::More(uint32_t client) {
  Side* side = sides_.Find(client);
  if (side == nullptr || side->role != Role::kTunnel) return;
  side->asked = false;
  Queue(side);
}

void Engine::Pass(uint32_t client) {
  Side* side = sides_.Find(client);
  if (side == nullptr || side->role != Role::kTunnel) return;
  side->asked = false;
  side->check = Check::kNone;
  side->peer->hold = false;
  Queue(side);
}

bool Engine::Refuse(uint32_t client, const char* answer, size_t bytes) {
  Side* side = sides_.Find(client);
  if (side == nullptr || side->origin) return false;
  if (side->role != Role::kSilent && side->role != Role::kSpoken && side->role != Role::kTalking) return false;
  side->role = Role::kRefused;
  size_t sent = 0;
  if (bytes > 0 && !side->flow.Pending()) {
    ssize_t count = send(side->fd, answer, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) sent = static_cast<size_t>(count);
    if (count < 0 && !Nothing(errno)) side->broken = true;
  }
  if (!side->flow.Append(answer + sent, bytes - sent)) side->broken = true;
  Queue(side);
  return true;
}

/** A refused client: what is left of the answer goes out, then its end; what comes in is dropped, until its end or a bound. */
void Engine::Drop(Side* client) {
  Flow& flow = client->flow;
  bool over = client->broken;
  while (!over && client->writable && flow.Pending()) {
    ssize_t sent = send(client->fd, flow.bytes + flow.at, flow.end - flow.at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      flow.at += static_cast<uint32_t>(sent);
    } else if (Nothing(errno)) {
      client->writable = false;
    } else {
      over = true;
    }
  }
  if (!over && !flow.Pending() && !client->shut) {
    flow.DropBytes();
    client->shut = true;
    shutdown(client->fd, SHUT_WR);
  }
  while (!over && client->readable && !client->ended) {
    ssize_t count = recv(client->fd, scratch_, kReadBytes, 0);
    if (count > 0) {
      client->count += static_cast<uint64_t>(count);
      over = client->count > kDropMax;
      if (count < static_cast<ssize_t>(kReadBytes) && !client->hangup) client->readable = false;
    } else if (count == 0) {
      client->ended = true;
    } else if (Nothing(errno)) {
      client->readable = false;
    } else {
      over = true;
    }
  }
  if (over || (client->ended && client->shut)) Leave(client);
}

bool Engine::Talk(uint32_t handle) {
  Side* side = sides_.Find(handle);
  if (side == nullptr || side->role != (side->origin ? Role::kConnected : Role::kSpoken)) return false;
  side->role = Role::kTalking;
  side->asked = true;
  return true;
}

int Engine::Say(uint32_t handle, const char* head, size_t head_bytes, const char* body, size_t body_bytes) {
  Side* side = sides_.Find(handle);
  if (side == nullptr || side->role != Role::kTalking || side->broken) return -1;
  size_t sent = 0;
  if (!side->flow.Pending()) {
    iovec parts[2] = {{const_cast<char*>(head), head_bytes}, {const_cast<char*>(body), body_bytes}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = body_bytes > 0 ? 2 : 1;
    ssize_t count = sendmsg(side->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && !Nothing(errno)) {
      side->broken = true;
      Queue(side);
      return -1;
    }
    if (count > 0) sent = static_cast<size_t>(count);
    if (sent == head_bytes + body_bytes) return 1;
  }
  size_t in_head = sent < head_bytes ? sent : head_bytes;
  size_t in_body = sent - in_head;
  if (!side->flow.Append(head + in_head, head_bytes - in_head) || !side->flow.Append(body + in_body, body_bytes - in_body)) {
    side->broken = true;
  }
  Queue(side);
  return side->broken ? -1 : 0;
}

bool Engine::Ask(uint32_t origin) {
  Side* side = sides_.Find(origin);
  if (side == nullptr || side->role != Role::kTalking || !side->origin) return false;
  side->asked = false;
  if (side->readable) Queue(side);
  return true;
}

bool Engine::Quiet(uint32_t origin) {
  Side* side = sides_.Find(origin);
  // Asked: what it said unasked has been read in this very turn, and is told behind the event that is handled now.
  if (side == nullptr || side->role != Role::kTalking || side->hangup || side->broken || side->asked) return false;
  if (side->flow.Pending()) return false;
  char byte;
  return recv(side->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && Nothing(errno);
}

/** What was said and has not gone out; then, of an origin that is asked, one read; of a client only its end. */
void Engine::Converse(Side* side) {
  Flow& flow = side->flow;
  uint32_t handle = side->handle;
  int error = side->broken ? ECONNRESET : 0;
  bool pending = flow.Pending();
  while (error == 0 && side->writable && flow.Pending()) {
    ssize_t sent = send(side->fd, flow.bytes + flow.at, flow.end - flow.at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      flow.at += static_cast<uint32_t>(sent);
    } else if (Nothing(errno)) {
      side->writable = errno == EINTR;
    } else {
      error = errno;
    }
  }
  if (error == 0 && !side->origin && side->hangup) error = ECONNRESET;
  if (error == 0 && pending && !flow.Pending()) {
    flow.DropBytes();
    Tell(Event::kDrained, handle, 0, nullptr, 0);
  }
  if (error == 0 && side->origin && !side->asked && side->readable) {
    ssize_t count = recv(side->fd, scratch_, kReadBytes, 0);
    if (count >= 0) {
      side->asked = true;
      if (count < static_cast<ssize_t>(kReadBytes) && !side->hangup) side->readable = false;
      return Tell(Event::kHeard, handle, count == 0, scratch_, static_cast<size_t>(count));
    }
    if (!Nothing(errno)) {
      error = errno;
    } else if (errno != EINTR) {
      side->readable = false;
    }
  }
  if (error == 0) return;
  if (!side->origin) return Leave(side);
  CloseSide(side, false);
  Tell(Event::kLost, handle, error, nullptr, 0);
}

/** Reads what has come and nobody will: it would make a reset of an orderly close. */
void Engine::Discard(Side* client) {
  for (uint64_t dropped = 0; dropped < kDropMax;) {
    ssize_t count = recv(client->fd, scratch_, kReadBytes, 0);
    if (count <= 0) return;
    dropped += static_cast<uint64_t>(count);
  }
}

/** A client that is no tunnel is closed. */
void Engine::Leave(Side* client) {
  uint32_t handle = client->handle;
  if (client->role == Role::kTalking) Discard(client);
  CloseSide(client, false);
  Tell(Event::kGone, handle, 0, nullptr, 0);
}

bool Engine::Close(uint32_t handle, bool reset) {
  Side* side = sides_.Find(handle);
  if (side == nullptr || side->role == Role::kListening) return false;
  Side* peer = side->peer;
  if (side->role == Role::kTalking && !side->origin && !reset) Discard(side);
  CloseSide(side, reset);
  if (peer != nullptr) CloseSide(peer, reset);
  return true;
}

bool Engine::Counts(uint32_t client, uint64_t* up, uint64_t* down) {
  Side* side = sides_.Find(client);
  if (side == nullptr || (side->role != Role::kTunnel && side->role != Role::kOver)) return false;
  *up = side->count;
  *down = side->role == Role::kOver ? side->returned : side->peer->count;
  return true;
}

bool Engine::Active(uint32_t client) {
  Side* side = sides_.Find(client);
  if (side == nullptr || side->role != Role::kTunnel) return true;
  bool active = false;
  for (Side* each : {side, side->peer}) {
    active = active || each->active;
    each->active = false;
    if (each->probed) continue;
    each->probed = true;
    // A probe a minute is below the idle limits of common NAT gateways; the rest as libuv sets it.
    SetOption(each->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SetOption(each->fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    SetOption(each->fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    SetOption(each->fd, IPPROTO_TCP, TCP_KEEPCNT, 10);
  }
  return active;
}

}  // namespace sallyport
