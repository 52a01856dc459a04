// What the calling thread is doing. Internal to autograd/.
#pragma once

namespace attune {

class Node;

struct ThreadState {
  bool grad_enabled = true;
  bool anomaly = false;
  bool tracing = false;
  const Node* running = nullptr;  // the node whose rule a sweep is running
  Node* dead = nullptr;           // nodes waiting for destruction
  bool burying = false;
};

// Part of the library's own block of thread-local memory, so that reading it takes one instruction.
extern thread_local constinit ThreadState thread_state [[gnu::tls_model("initial-exec")]];

}  // namespace attune
