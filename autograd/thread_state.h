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

extern thread_local constinit ThreadState thread_state;

}  // namespace attune
