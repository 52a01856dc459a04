#include "autograd/trace/recorder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/record_pass.h"
#include "autograd/trace/internal/summary.h"
#include "autograd/trace/internal/values.h"

namespace attune {

namespace {

std::string program_name() {
  std::error_code failed;
  return std::filesystem::read_symlink("/proc/self/exe", failed).filename().string();
}

/// A parameter of the last recorded pass, until it is known what became of it.
struct Watched {
  int node;
  Tensor handle, before;
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

double loss_of(const Tensor& root) {
  return root.numel() == 1 ? root.item() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

struct Recorder::State {
  explicit State(RecorderOptions o) : options(std::move(o)), values(recording, options.bytes) {
    recording.program = program_name();
  }

  void note_updates();
  RecordedProgress& progress_of(const Tensor& root, const Labels& labels);

  RecorderOptions options;
  Recording recording;
  Values values;
  std::vector<Watched> watched;
  std::int64_t passes = 0;
};

Recorder::Recorder(RecorderOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Recorder::~Recorder() = default;

void Recorder::skip() { ++state_->passes; }
std::int64_t Recorder::passes() const { return state_->passes; }

/// The loss and the gradients' norms of a pass that is over. Long runs are thinned out: every other one goes.
RecordedProgress& Recorder::State::progress_of(const Tensor& root, const Labels& labels) {
  const Tape& tape = labels.tape();
  constexpr std::size_t most = 2000;
  auto& all = recording.progress;
  if (all.size() >= most) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < all.size(); i += 2) std::swap(all[kept++], all[i]);
    all.resize(kept);
  }
  RecordedProgress p;
  p.number = passes;
  p.loss = loss_of(root);
  for (std::size_t i = 0; i < tape.size(); ++i) {
    if (!tape[i].is_leaf()) continue;
    const std::string& name = labels.of(i);
    for (const auto& [slot, handle] : gradient_handles(tape[i]))
      if (const Tensor g = handle.grad(); g.defined()) p.gradient_norms[name] = summarise_numbers(g).norm;
  }
  all.push_back(std::move(p));
  return all.back();
}

void Recorder::State::note_updates() {
  if (watched.empty()) return;
  const NoGrad off;
  RecordedPass& pass = recording.passes.back();
  std::vector<Watched> unchanged;  // so far: the optimiser may still come
  for (Watched& w : watched) {
    const Tensor now = clone(w.handle);
    if (now.shape() != w.before.shape() || now.dtype() != w.before.dtype()) continue;
    if (same_bits(now, w.before)) {
      unchanged.push_back(std::move(w));
      continue;
    }
    const Tensor change = sub(now, w.before);
    RecordedUpdate u{w.node, values.add(w.before), values.add(now), values.add(change), 0};
    const Summary& c = recording.values[static_cast<std::size_t>(u.change)].summary;
    u.ratio = c.norm / recording.values[static_cast<std::size_t>(u.before)].summary.norm;
    for (RecordedProgress& p : recording.progress)
      if (p.number == pass.number) p.update_ratios[pass.nodes[static_cast<std::size_t>(w.node)].label] = u.ratio;
    pass.updates.push_back(u);
  }
  watched = std::move(unchanged);
  values.settle();
}

namespace {

std::uint64_t last_pass(const Tensor& root) {
  const Trace* t = root.defined() && root.node() ? root.node()->trace() : nullptr;
  return t ? t->step.pass : 0;
}

}  // namespace

void Recorder::backward(const Tensor& root, const BackwardOptions& options, Here here) {
  state_->note_updates();
  const std::uint64_t before = last_pass(root);
  const auto ended = [&](const char* error) {
    if (last_pass(root) == before) return;  // it was refused before it began
    try {
      record(root, error, here);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the pass's own exception says more
    }
  };
  try {
    const Tracing on;
    run_backward(root, options, here);
  } catch (const std::exception& e) {
    ended(e.what());
    throw;
  } catch (...) {
    ended("an exception that is no std::exception");
    throw;
  }
  record(root, "", here);
}

void Recorder::record(const Tensor& root, const std::string& error, Here here) {
  State& s = *state_;
  if (!root.defined() || !root.node() || !root.node()->trace() || root.node()->trace()->step.pass == 0)
    throw ValueError("record: no backward pass from this tensor has been traced", here);
  s.note_updates();
  s.watched.clear();
  ++s.passes;
  const Tape tape = Tape::of(root);
  const Labels labels(tape);
  RecordedPass pass = record_pass(labels, root, s.values, s.recording,
                                  {s.options.sources, s.options.largest_parts, s.options.check_seconds});
  pass.number = s.passes;
  pass.site = here.line ? here.str() : "";
  pass.error = error;
  s.progress_of(root, labels);
  for (std::size_t i = 0; i < tape.size(); ++i) {
    if (!tape[i].is_leaf() || !tape[i].trace() || tape[i].trace()->outputs.empty()) continue;
    for (const auto& [slot, handle] : gradient_handles(tape[i]))
      s.watched.push_back({static_cast<int>(i), handle, tape[i].trace()->outputs[0]});
  }
  for (const std::string& wanted : s.options.slices) keep_slice(wanted, pass, s.values, here);
  s.recording.passes.push_back(std::move(pass));
  s.values.settle();
}

void Recorder::note(const Tensor& root) {
  state_->note_updates();
  state_->watched.clear();
  ++state_->passes;
  state_->progress_of(root, Labels(Tape::of(root)));
}

const Recording& Recorder::recording() {
  state_->note_updates();
  return state_->recording;
}

}  // namespace attune
