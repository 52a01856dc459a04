#include "autograd/replay.h"

#include <utility>

#include "autograd/runtime/error.h"

namespace attune {

namespace {
thread_local constinit ReplayLog* active = nullptr;
}  // namespace

ReplayLog::Recording::Recording(ReplayLog& log) {
  log = ReplayLog();
  log.random_ = default_generator().state();
  log.outer_ = std::exchange(active, &log);
}

ReplayLog::Recording::~Recording() { active = std::exchange(active->outer_, nullptr); }

ReplayLog::Replaying::Replaying(const ReplayLog& log) : copy_(log), random_before_(default_generator().state()) {
  copy_.replaying_ = true;
  copy_.at_ = 0;
  copy_.outer_ = std::exchange(active, &copy_);
  default_generator().set_state(copy_.random_);
}

ReplayLog::Replaying::~Replaying() {
  active = copy_.outer_;
  default_generator().set_state(random_before_);
}

const Tensor* ReplayLog::next() {
  ReplayLog* log = active;
  while (log && !log->replaying_) log = log->outer_;
  if (!log) return nullptr;
  if (log->at_ == log->kept_.size()) throw GradError("replay: the block asks for more choices than its first run made");
  const Choice& choice = log->kept_[log->at_++];
  default_generator().set_state(choice.random);
  return &choice.value;
}

Tensor ReplayLog::keep(const Tensor& x) {
  Tensor constant = x.detach();
  for (ReplayLog* log = active; log && !log->replaying_; log = log->outer_)
    log->kept_.push_back({constant, default_generator().state()});
  return constant;
}

}  // namespace attune
