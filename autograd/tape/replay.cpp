#include "autograd/tape/replay.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "autograd/runtime/error.h"
#include "autograd/tape/internal/node_access.h"

namespace attune {

namespace {
thread_local constinit ReplayLog* active = nullptr;
thread_local constinit const ReplayLog::Surrounding* surrounding = nullptr;  // the innermost one
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
  for (const Surrounding* s = surrounding; s; s = s->outer_) log.surroundings_.push_back(s->enter_);
  std::reverse(log.surroundings_.begin(), log.surroundings_.end());
  Keys::activate(&log);
}

ReplayLog::Recording::~Recording() { Keys::activate(std::exchange(active->outer_, nullptr)); }

ReplayLog::Surrounding::Surrounding(Enter enter) : enter_(std::move(enter)), outer_(std::exchange(surrounding, this)) {}

ReplayLog::Surrounding::~Surrounding() { surrounding = outer_; }

struct ReplayLog::Replaying::Entered {
  explicit Entered(const Surrounding::Enter& enter) : changed(enter()), known(enter) {}
  std::shared_ptr<void> changed;
  Surrounding known;  // to blocks within this one
};

ReplayLog::Replaying::Replaying(const ReplayLog& log) : copy_(log), start_(NodeAccess::next_sequence()) {
  try {
    for (const Surrounding::Enter& enter : copy_.surroundings_) entered_.push_back(std::make_unique<Entered>(enter));
  } catch (...) {
    while (!entered_.empty()) entered_.pop_back();
    throw;
  }
  copy_.replaying_ = true;
  copy_.at_ = copy_.key_at_ = 0;
  copy_.outer_ = active;
  Keys::activate(&copy_);
}

ReplayLog::Replaying::~Replaying() {
  Keys::activate(copy_.outer_);
  while (!entered_.empty()) entered_.pop_back();  // innermost first
}

void ReplayLog::Replaying::check_inputs(const Tensors& outputs, const Tensors& inputs, const char* who,
                                        const char* list) const {
  std::unordered_set<const Node*> seen;
  for (const Tensor& x : inputs)
    if (x.defined()) seen.insert(x.node());
  std::vector<const Node*> open;
  const auto visit = [&](const Node* n) {
    if (!n || !seen.insert(n).second) return;
    if (n->sequence() < start_)
      throw GradError(std::string(who) + " uses a tensor " + n->output(0).shape.str() +
                          " that requires a gradient and is not among " + list,
                      n->site());
    open.push_back(n);
  };
  for (const Tensor& y : outputs) visit(y.node());
  while (!open.empty()) {
    const Node* n = open.back();
    open.pop_back();
    for (const Edge& e : n->edges()) visit(e.node.get());
  }
}

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
