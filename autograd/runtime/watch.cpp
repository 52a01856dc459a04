#include "autograd/runtime/watch.h"

namespace attune::watch {

constinit std::atomic<Watcher*> watcher{nullptr};
constinit std::atomic<std::int64_t> flops{0};
constinit std::atomic<std::int64_t> bytes{0};

}  // namespace attune::watch
