// The engine as a Node-API module: an `Engine` class whose methods take numbers, strings and buffers (src/proxy/native-binding.ts
// has their types), `selfCheck()`, and `endWithin()` for the end of the process. Nothing throws but the constructor.
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "engine.h"
#include "memory.h"

namespace sallyport {
namespace {

constexpr size_t kArguments = 6;
// A head that fits in it is not copied into memory of its own.
constexpr size_t kFewBytes = 4'096;

struct Call {
  napi_env env;
  napi_value self;
  napi_value args[kArguments];
  Engine* engine = nullptr;

  Call(napi_env environment, napi_callback_info info) : env(environment) {
    size_t count = kArguments;
    napi_get_cb_info(env, info, &count, args, &self, nullptr);
    Engine** holder = nullptr;
    if (napi_unwrap(env, self, reinterpret_cast<void**>(&holder)) == napi_ok) engine = *holder;
  }
  uint32_t Uint(size_t at) const {
    uint32_t value = 0;
    napi_get_value_uint32(env, args[at], &value);
    return value;
  }
  bool Bool(size_t at) const {
    bool value = false;
    napi_get_value_bool(env, args[at], &value);
    return value;
  }
  std::string Text(size_t at) const {
    size_t length = 0;
    if (napi_get_value_string_utf8(env, args[at], nullptr, 0, &length) != napi_ok) return {};
    std::string text(length, '\0');
    napi_get_value_string_utf8(env, args[at], text.data(), length + 1, &length);
    return text;
  }
  napi_value Return(bool value) const {
    napi_value made;
    napi_get_boolean(env, value, &made);
    return made;
  }
  napi_value Return(int64_t value) const {
    napi_value made;
    napi_create_int64(env, value, &made);
    return made;
  }
};

void StopEngine(Engine** holder) {
  if (*holder != nullptr) (*holder)->Stop();
}

void Finalize(napi_env, void* data, void*) {
  Engine** holder = static_cast<Engine**>(data);
  StopEngine(holder);
  delete holder;
}

/** new Engine(outbox: ArrayBuffer, established: string, tell: (bytes: number) => void) */
napi_value Construct(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Engine::Bridge bridge{};
  bridge.env = env;
  void* bytes = nullptr;
  if (napi_get_arraybuffer_info(env, call.args[0], &bytes, &bridge.capacity) != napi_ok ||
      bridge.capacity < 4 * Engine::kReadBytes) {
    napi_throw_type_error(env, nullptr, "the outbox is too small");
    return nullptr;
  }
  bridge.bytes = static_cast<uint8_t*>(bytes);
  napi_value name;
  napi_create_string_utf8(env, "sallyport", NAPI_AUTO_LENGTH, &name);
  if (napi_create_reference(env, call.args[2], 1, &bridge.tell) != napi_ok ||
      napi_create_reference(env, call.args[0], 1, &bridge.outbox) != napi_ok ||
      napi_async_init(env, nullptr, name, &bridge.context) != napi_ok) {
    napi_throw_type_error(env, nullptr, "an argument has the wrong type");
    return nullptr;
  }
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  auto* holder = new Engine*(nullptr);
  Engine* engine = new Engine(bridge, call.Text(1), holder);
  int failed = engine->Start(loop);
  if (failed != 0) {
    // A process without a descriptor to spare has other troubles than the few bytes that are left behind here.
    napi_throw_error(env, nullptr, strerror(failed));
    return nullptr;
  }
  *holder = engine;
  napi_wrap(env, call.self, holder, Finalize, nullptr, nullptr);
  return call.self;
}

napi_value Listen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return call.Return(int64_t{-EBADF});
  return call.Return(call.engine->Listen(static_cast<int>(call.Uint(0))));
}

napi_value Lend(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return call.Return(int64_t{-EBADF});
  return call.Return(int64_t{call.engine->Lend(call.Uint(0))});
}

napi_value Unlisten(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine != nullptr) call.engine->Unlisten(call.Uint(0));
  return nullptr;
}

/** collect(client, kept) */
napi_value Collect(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Collect(call.Uint(0), call.Bool(1)));
}

napi_value Release(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(int64_t{call.engine == nullptr ? -1 : call.engine->Release(call.Uint(0))});
}

/** connect(address, port) */
napi_value Connect(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return call.Return(int64_t{-EBADF});
  return call.Return(call.engine->Connect(call.Text(0).c_str(), static_cast<int>(call.Uint(1))));
}

/** open(client, attempt, check, hold, early: Uint8Array | null) */
napi_value Open(napi_env env, napi_callback_info info) {
  Call call(env, info);
  void* early = nullptr;
  size_t bytes = 0;
  bool given = false;
  napi_is_typedarray(env, call.args[4], &given);
  if (given) napi_get_typedarray_info(env, call.args[4], nullptr, &bytes, &early, nullptr, nullptr);
  uint32_t check = call.Uint(2);
  if (call.engine == nullptr || check > static_cast<uint32_t>(Check::kObserve)) return call.Return(false);
  return call.Return(call.engine->Open(call.Uint(0), call.Uint(1), static_cast<Check>(check), call.Bool(3),
                                       static_cast<const char*>(early), bytes));
}

napi_value More(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine != nullptr) call.engine->More(call.Uint(0));
  return nullptr;
}

napi_value Pass(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine != nullptr) call.engine->Pass(call.Uint(0));
  return nullptr;
}

/** refuse(client, answer: string) */
napi_value Refuse(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return call.Return(false);
  std::string answer = call.Text(1);
  return call.Return(call.engine->Refuse(call.Uint(0), answer.data(), answer.size()));
}

napi_value Talk(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Talk(call.Uint(0)));
}

/** say(handle, head: string of bytes, body: Uint8Array | null) */
napi_value Say(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return call.Return(int64_t{-1});
  char few[kFewBytes];
  std::string many;
  const char* head = few;
  size_t head_bytes = 0;
  napi_get_value_string_latin1(env, call.args[1], few, sizeof few, &head_bytes);
  if (head_bytes + 1 >= sizeof few) {
    // It may have been cut.
    napi_get_value_string_latin1(env, call.args[1], nullptr, 0, &head_bytes);
    many.resize(head_bytes);
    napi_get_value_string_latin1(env, call.args[1], many.data(), head_bytes + 1, &head_bytes);
    head = many.data();
  }
  void* body = nullptr;
  size_t body_bytes = 0;
  bool given = false;
  napi_is_typedarray(env, call.args[2], &given);
  if (given) napi_get_typedarray_info(env, call.args[2], nullptr, &body_bytes, &body, nullptr, nullptr);
  int said = call.engine->Say(call.Uint(0), head, head_bytes, static_cast<const char*>(body), body_bytes);
  return call.Return(int64_t{said});
}

napi_value Ask(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Ask(call.Uint(0)));
}

napi_value Quiet(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Quiet(call.Uint(0)));
}

/** close(handle, reset) */
napi_value Close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Close(call.Uint(0), call.Bool(1)));
}

/** counts(client, into: Float64Array): up, down */
napi_value Counts(napi_env env, napi_callback_info info) {
  Call call(env, info);
  void* into = nullptr;
  size_t length = 0;
  napi_typedarray_type type = napi_int8_array;
  if (napi_get_typedarray_info(env, call.args[1], &type, &length, &into, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || length < 2) {
    return call.Return(false);
  }
  uint64_t up = 0;
  uint64_t down = 0;
  bool found = call.engine != nullptr && call.engine->Counts(call.Uint(0), &up, &down);
  double* counts = static_cast<double*>(into);
  counts[0] = static_cast<double>(up);
  counts[1] = static_cast<double>(down);
  return call.Return(found);
}

napi_value Active(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.Return(call.engine != nullptr && call.engine->Active(call.Uint(0)));
}

napi_value Trim(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.engine == nullptr) return nullptr;
  call.engine->Trim();
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) == napi_ok) GiveBackMemory(loop);
  return nullptr;
}

napi_value Stop(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Engine** holder = nullptr;
  if (napi_unwrap(env, call.self, reinterpret_cast<void**>(&holder)) == napi_ok) StopEngine(holder);
  return nullptr;
}

/** What this system lacks (a seccomp profile may forbid a call), or nullptr. */
const char* Lacks() {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return "epoll_create1";
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
    close(epoll);
    return "socketpair";
  }
  Pipes pipes;
  Pipe* pipe = pipes.Take();
  const char* lacks = nullptr;
  char bytes[4] = "abc";
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  if (pipe == nullptr) {
    lacks = "pipe2 and F_SETPIPE_SZ";
  } else if (epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event) != 0) {
    lacks = "epoll_ctl";
  } else if (send(pair[0], bytes, 3, MSG_NOSIGNAL) != 3 || epoll_wait(epoll, &event, 1, 0) != 1) {
    lacks = "epoll_wait";
  } else if (splice(pair[1], nullptr, pipe->write, nullptr, 3, SPLICE_F_MOVE | SPLICE_F_NONBLOCK) != 3 ||
             splice(pipe->read, nullptr, pair[1], nullptr, 3, SPLICE_F_MOVE | SPLICE_F_NONBLOCK) != 3 ||
             recv(pair[0], bytes, sizeof bytes, 0) != 3 || memcmp(bytes, "abc", 3) != 0) {
    lacks = "splice";
  }
  if (pipe != nullptr) pipes.Give(pipe, lacks == nullptr);
  close(pair[0]);
  close(pair[1]);
  close(epoll);
  return lacks;
}

/** selfCheck(): what does not work here, or null */
napi_value SelfCheck(napi_env env, napi_callback_info) {
  // splice(2) has no MSG_NOSIGNAL. Node ignores the signal; whoever embeds it may not.
  struct sigaction action {};
  const char* lacks = nullptr;
  if (sigaction(SIGPIPE, nullptr, &action) != 0 || action.sa_handler == SIG_DFL) lacks = "SIGPIPE is not ignored";
  if (lacks == nullptr) lacks = Lacks();
  napi_value made;
  if (lacks == nullptr) {
    napi_get_null(env, &made);
  } else {
    napi_create_string_utf8(env, lacks, NAPI_AUTO_LENGTH, &made);
  }
  return made;
}

struct Ending {
  int32_t code = 0;
  uint32_t within_ms = 0;
};

/** endWithin(code, ms): by then the process has ended with that code, whatever its threads wait for. */
napi_value EndWithin(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value args[2];
  auto* ending = new Ending;
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  napi_get_value_int32(env, args[0], &ending->code);
  napi_get_value_uint32(env, args[1], &ending->within_ms);
  auto end = [](void* data) -> void* {
    Ending given = *static_cast<Ending*>(data);
    delete static_cast<Ending*>(data);
    timespec left{given.within_ms / 1'000, (given.within_ms % 1'000) * 1'000'000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    _exit(given.code);
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, end, ending) == 0) {
    pthread_detach(thread);
  } else {
    delete ending;
  }
  return nullptr;
}

napi_property_descriptor Method(const char* name, napi_callback callback) {
  return {name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, nullptr};
}

}  // namespace

napi_value Init(napi_env env, napi_value exports) {
  UseOneHeap();
  const napi_property_descriptor methods[] = {
      Method("listen", Listen), Method("lend", Lend),       Method("unlisten", Unlisten), Method("collect", Collect),
      Method("release", Release), Method("connect", Connect), Method("open", Open),       Method("more", More),
      Method("pass", Pass),     Method("refuse", Refuse),   Method("close", Close),       Method("counts", Counts),
      Method("active", Active), Method("trim", Trim),       Method("stop", Stop),         Method("talk", Talk),
      Method("say", Say),       Method("ask", Ask),         Method("quiet", Quiet),
  };
  napi_value engine;
  napi_define_class(env, "Engine", NAPI_AUTO_LENGTH, Construct, nullptr, sizeof methods / sizeof methods[0], methods,
                    &engine);
  napi_set_named_property(env, exports, "Engine", engine);
  auto add = [&](const char* name, napi_callback callback) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  };
  add("selfCheck", SelfCheck);
  add("endWithin", EndWithin);
  return exports;
}

}  // namespace sallyport

NAPI_MODULE_INIT() { return sallyport::Init(env, exports); }
