#include "autograd/tape/replay.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
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
  copy_.at_ = copy_.key_at_ = copy_.setting_at_ = 0;
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

bool ReplayLog::running() { return active != nullptr; }

const std::any* ReplayLog::next_setting() {
  ReplayLog* log = replayed();
  if (!log) return nullptr;
  if (log->setting_at_ == log->settings_.size())
    throw GradError("replay: the block reads more settings than its first run did");
  return &log->settings_[log->setting_at_++];
}

void ReplayLog::keep_setting(std::any value) {
  for (ReplayLog* log = active; log && !log->replaying_; log = log->outer_) log->settings_.push_back(value);
}

namespace {

/// Up to 64 elements from all over x, the same places for each tensor of its size; none of whole numbers.
std::vector<double> sample_of(const Tensor& x) {
  std::vector<double> sample;
  if (!x.defined() || !is_floating(x.dtype())) return sample;
  constexpr std::int64_t most = 64;
  const std::int64_t n = x.numel();
  for (std::int64_t k = 0; k < std::min(n, most); ++k) {
    // Weyl's sequence of the golden ratio: no period of the data's falls in with it.
    const double share = std::fmod(static_cast<double>(k + 1) * 0.6180339887498949, 1.0);
    std::int64_t place = n <= most ? k : static_cast<std::int64_t>(share * static_cast<double>(n)), offset = 0;
    for (int axis = x.rank(); axis-- > 0; place /= x.shape()[axis])
      offset += place % x.shape()[axis] * x.strides()[axis];
    sample.push_back(x.dtype() == DType::float32 ? static_cast<double>(static_cast<const float*>(x.raw())[offset])
                                                 : static_cast<const double*>(x.raw())[offset]);
  }
  return sample;
}

}  // namespace

void ReplayLog::sample(const Tensors& results) {
  samples_.clear();
  for (const Tensor& y : results) samples_.push_back(sample_of(y));
}

void ReplayLog::Replaying::check_results(const Tensors& results, double tolerance, const char* who) const {
  const auto refuse = [&](const std::string& what) {
    throw GradError(std::string(who) + " computes something else when it runs again for the backward pass: " + what +
                    " (has something that it depends on been changed since the forward pass?)");
  };
  const auto& first = copy_.samples_;
  if (results.size() != first.size())
    refuse(std::to_string(results.size()) + " results where there were " + std::to_string(first.size()));
  for (std::size_t i = 0; i < first.size(); ++i) {
    const std::vector<double> again = sample_of(results[i]);
    if (again.size() != first[i].size()) refuse("result " + std::to_string(i) + " is of another size");
    double largest = 0, difference = 0;
    for (std::size_t k = 0; k < again.size(); ++k) {
      if (again[k] == first[i][k] || (std::isnan(again[k]) && std::isnan(first[i][k]))) continue;
      if (!std::isfinite(again[k]) || !std::isfinite(first[i][k]))
        refuse("result " + std::to_string(i) + " " + results[i].shape().str() +
               " is not finite where it was, or was not");
      largest = std::max({largest, std::abs(again[k]), std::abs(first[i][k])});
      difference = std::max(difference, std::abs(again[k] - first[i][k]));
    }
    if (difference > tolerance * largest) {
      char text[64];
      std::snprintf(text, sizeof text, "differs by %.3g among values up to %.3g", difference, largest);
      refuse("result " + std::to_string(i) + " " + results[i].shape().str() + " " + text);
    }
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

void forget_replay(const Tensors& ys) {
  for (const Tensor& y : ys)
    if (y.defined() && y.node() && y.node()->trace()) NodeAccess::trace(*y.node()).replay = nullptr;
}

}  // namespace attune
