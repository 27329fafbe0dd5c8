// Pipes for splice(2). A tunnel has one only while bytes lie in it; with the default size of 64 KiB splice gains nothing over
// copies, so they are enlarged, and there is a bound on how many may hold a megabyte of the kernel's memory.
#pragma once
#include <cstdint>
#include <vector>

namespace sallyport {

struct Pipe {
  int read = -1;
  int write = -1;
  uint32_t size = 0;
};

class Pipes {
 public:
  ~Pipes();
  /** An empty pipe, or nullptr where it has to be done by copies: too many are in use, or the system gives no useful one. */
  Pipe* Take();
  /** Takes it back; one that still holds bytes is closed. */
  void Give(Pipe* pipe, bool empty);
  /** Closes those that lay unused since the last call. */
  void Trim();

 private:
  // What an unprivileged user may have (pipe-user-pages-soft) is 64 pipes of this size.
  static constexpr uint32_t kSize = 1u << 20;
  static constexpr uint32_t kSizeMin = 1u << 18;
  static constexpr uint32_t kMax = 64;

  static void Close(Pipe* pipe);

  std::vector<Pipe*> idle_;
  uint32_t in_use_ = 0;
  /** The least number that lay idle since the last Trim(). */
  uint32_t spare_ = 0;
};

}  // namespace sallyport
