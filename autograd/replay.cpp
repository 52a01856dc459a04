#include "autograd/replay.h"

#include <utility>

#include "autograd/runtime/error.h"

namespace attune {

namespace {
thread_local constinit ReplayLog* active = nullptr;
}  // namespace

/// Draws for every generator while a log is active.
class ReplayLog::Keys final : public KeySource {
 public:
  RandomKey draw(Generator& g) override {
    ReplayLog* log = replayed();
    if (log && log->key_at_ == log->keys_.size())
      throw GradError("replay: the block draws more random numbers than its first run did");
    const RandomKey key = log ? log->keys_[log->key_at_++] : advance(g);
    for (ReplayLog* l = active; l && !l->replaying_; l = l->outer_) l->keys_.push_back(key);
    return key;
  }
  static void activate(ReplayLog* log) {
    static constinit Keys keys;
    active = log;
    replace(log ? &keys : nullptr);
  }
};

ReplayLog* ReplayLog::replayed() {
  ReplayLog* log = active;
  while (log && !log->replaying_) log = log->outer_;
  return log;
}

ReplayLog::Recording::Recording(ReplayLog& log) {
  log = ReplayLog();
  log.outer_ = active;
  Keys::activate(&log);
}

ReplayLog::Recording::~Recording() { Keys::activate(std::exchange(active->outer_, nullptr)); }

ReplayLog::Replaying::Replaying(const ReplayLog& log) : copy_(log) {
  copy_.replaying_ = true;
  copy_.at_ = copy_.key_at_ = 0;
  copy_.outer_ = active;
  Keys::activate(&copy_);
}

ReplayLog::Replaying::~Replaying() { Keys::activate(copy_.outer_); }

const Tensor* ReplayLog::next() {
  ReplayLog* log = replayed();
  if (!log) return nullptr;
  if (log->at_ == log->kept_.size()) throw GradError("replay: the block asks for more choices than its first run made");
  const Choice& choice = log->kept_[log->at_++];
  log->key_at_ = choice.keys;
  return &choice.value;
}

Tensor ReplayLog::keep(const Tensor& x) {
  Tensor constant = x.detach();
  for (ReplayLog* log = active; log && !log->replaying_; log = log->outer_)
    log->kept_.push_back({constant, log->keys_.size()});
  return constant;
}

}  // namespace attune
