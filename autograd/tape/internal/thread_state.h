// What the calling thread is doing.
#pragma once

#include <atomic>
#include <utility>

namespace attune {

class Node;

struct ThreadState {
  bool grad_enabled = true;
  bool anomaly = false;
  bool tracing = false;
  const Node* running = nullptr;  // the node whose rule runs
  Node* dead = nullptr;           // nodes waiting for destruction
  bool burying = false;
};

// Part of the library's own block of thread-local memory, so that reading it takes one instruction.
extern thread_local constinit ThreadState thread_state [[gnu::tls_model("initial-exec")]];

extern constinit std::atomic<bool> traced_everywhere;
inline bool tracing_here() { return thread_state.tracing || traced_everywhere.load(std::memory_order_relaxed); }

/// While it lives, `n` is the node whose saved tensors are looked at: errors name it.
class RunningNode {
 public:
  explicit RunningNode(const Node* n) : before_(std::exchange(thread_state.running, n)) {}
  ~RunningNode() { thread_state.running = before_; }
  RunningNode(const RunningNode&) = delete;
  RunningNode& operator=(const RunningNode&) = delete;

 private:
  const Node* before_;
};

}  // namespace attune
