// What this process does not use goes back to the system.
#pragma once
#include <uv.h>

namespace sallyport {

/** Once, when the module is loaded: malloc keeps one heap for all threads from here on. */
void UseOneHeap();

/** Gives back, in a thread of the pool, since it may take milliseconds, what malloc keeps, and at the first call what only the start needed. */
void GiveBackMemory(uv_loop_t* loop);

}  // namespace sallyport
