// The native engine: accepts, waits, moves bytes, counts. It knows no HTTP, no TLS and no policy: bytes that somebody must
// understand go to TypeScript, which answers with what is to be done (src/proxy/engine-native.ts is the other half).
//
// One thread, Node's own: a nested epoll is polled by libuv, each turn of it handles what is ready and then tells TypeScript in
// one call. What TypeScript calls acts at once on descriptors and only queues the moving of bytes, so it never tells
// anything back inside a call, and what it reads of the outbox cannot change under it.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <cstdint>
#include <string>
#include <vector>

#include "pipes.h"
#include "side.h"

namespace sallyport {

/** What TypeScript is told; engine-native.ts has the same numbers. */
enum class Event : int32_t {
  kArrived = 1,        // value: the listener; bytes: the peer's address as text
  kSpoken = 2,         // bytes: the first that came, or the next; none and value 1: who has spoken has ended
  kGone = 3,           // a client is closed that was no tunnel
  kConnected = 4,      // an attempt
  kConnectFailed = 5,  // value: errno
  kHello = 6,          // bytes: what the client of a checked tunnel sent next; value 1: it has ended
  kEnded = 7,          // value: Outcome; bytes: counts up and down, 64 bits each; its handle is to be closed
  kFailing = 8,        // accept(2) fails; value: errno
  kHeard = 9,          // bytes of an origin that TypeScript talks with; none and value 1: it has ended
  kDrained = 10,       // all that was said to a side is in the kernel
  kLost = 11,          // such an origin is closed; value: errno
};

enum class Outcome : int32_t { kClosed = 0, kClientReset = 1, kOriginReset = 2 };

class Engine {
 public:
  struct Bridge {
    napi_env env;
    napi_ref tell;
    napi_ref outbox;
    napi_async_context context;
    uint8_t* bytes;
    size_t capacity;
  };

  /** Longest payload of one event; the outbox must have room for several. */
  static constexpr size_t kReadBytes = 65'536;

  /**
   * @param established what an opened tunnel's client is sent
   * @param owner is set to nullptr by Stop()
   */
  Engine(const Bridge& bridge, std::string established, Engine** owner);
  /** @return 0 or an errno; after success it has the bridge's references, and only Stop() ends it */
  int Start(uv_loop_t* loop);
  /** Closes everything, tells nothing more, and deletes itself when libuv has let go. */
  void Stop();

  // What TypeScript calls. Handles that are gone are no error: false, -1.

  /** Accepts on this socket too; a copy of the descriptor is made. @return its handle, or minus an errno */
  int64_t Listen(int fd);
  /** A copy of a listener's descriptor. @return minus an errno where there is none */
  int Lend(uint32_t listener);
  void Unlisten(uint32_t listener);
  /** Waits for bytes of it. `kept`: TypeScript has some that want more, so an end is told before it is acted upon. */
  bool Collect(uint32_t client, bool kept);
  /** @return the client's descriptor, which the engine has no more; or -1 */
  int Release(uint32_t client);
  /** @return the attempt's handle, or minus an errno */
  int64_t Connect(const char* address, int port);
  bool Open(uint32_t client, uint32_t attempt, Check check, bool hold, const char* early, size_t early_bytes);
  /** The check needs more bytes. */
  void More(uint32_t client);
  /** The check is over. */
  void Pass(uint32_t client);
  bool Refuse(uint32_t client, const char* answer, size_t bytes);
  /** From now on TypeScript speaks with this side itself: with a client that has spoken, or with an origin of no tunnel. */
  bool Talk(uint32_t handle);
  /** Writes at once. @return 1 all, 0 the rest follows and is told, -1 the side is gone or broken */
  int Say(uint32_t handle, const char* head, size_t head_bytes, const char* body, size_t body_bytes);
  /** An origin that is talked with is read once more. */
  bool Ask(uint32_t origin);
  /** Whether an origin that is being listened to is open, owes nothing to its last request, and has said nothing. */
  bool Quiet(uint32_t origin);
  /** Closes a client, an attempt, or both ends of a tunnel; `reset` shows the peers that it broke. */
  bool Close(uint32_t handle, bool reset);
  bool Counts(uint32_t client, uint64_t* up, uint64_t* down);
  /** Whether a byte has passed since the last call; true also of a tunnel that is over. */
  bool Active(uint32_t client);
  void Trim() { pipes_.Trim(); }

 private:
  ~Engine();

  void Turn();
  void Settle();
  void RunQueue();
  void Flush();
  void Queue(Side* side);
  void Ready(Side* side, uint32_t events);
  bool Watch(Side* side, uint32_t events);
  void Tell(Event event, uint32_t handle, int32_t value, const void* bytes, size_t count);

  void Accept(Side* listener);
  bool AcceptWithoutDescriptors(Side* listener);
  void Hear(Side* client);
  void Dialled(Side* attempt, uint32_t events);
  void Drop(Side* client);
  void Discard(Side* client);
  void Leave(Side* client);
  void Converse(Side* side);

  // relay.cc
  enum class Pumped { kWaits, kAgain, kBroken };
  void Run(Side* side);
  Pumped Pump(Side* from, Side** broken);
  Pumped Read(Side* from, Side** broken, size_t* left);
  Pumped Splice(Side* from, Side** broken, size_t* left);
  Pumped Inspect(Side* from, Side** broken);
  bool Deliver(Side* from, Side* to);
  void GivePipe(Side* side, bool empty);
  void Fail(Side* broken);
  void End(Side* client, Outcome outcome);

  void CloseSide(Side* side, bool reset);
  void CloseDescriptor(Side* side, bool reset);

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnIdle(uv_idle_t* idle);
  static void OnClosed(uv_handle_t* handle);
  static void OnExit(void* engine);

  Bridge bridge_;
  std::string established_;
  Engine** owner_;
  Sides sides_;
  Pipes pipes_;
  std::vector<uint32_t> queue_;
  std::vector<uint32_t> running_;
  size_t used_ = 0;
  int epoll_ = -1;
  int spare_ = -1;  // given up for a moment where there is no descriptor to accept with
  int handles_ = 0;
  bool in_turn_ = false;
  bool stopped_ = false;
  bool exiting_ = false;
  uv_poll_t poll_;
  uv_idle_t idle_;
  char scratch_[kReadBytes];
};

}  // namespace sallyport
