#include "autograd/tape/recorder.h"

#include <charconv>
#include <utility>

#include "autograd/runtime/philox.h"
#include "autograd/tape/internal/accumulate.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/rule_node.h"
#include "autograd/tape/saved.h"
#include "autograd/tensor/internal/tensor_impl.h"

namespace attune::detail {

void Recorder::count_bytes(const Tensors& xs, const Tensors& ys) {
  std::int64_t bytes = 0;
  const auto add = [&bytes](const Tensor& t) {
    if (t.defined()) bytes += t.numel() * static_cast<std::int64_t>(size_of(t.dtype()));
  };
  for (const Tensor& x : xs) {
    for (const Tensor& y : ys)
      if (x.defined() && y.defined() && x.same_storage(y)) return;
    add(x);
  }
  for (const Tensor& y : ys) add(y);
  watch::bytes.fetch_add(bytes, std::memory_order_relaxed);
}

// The search for an anomaly shows the operands of what it finds.
bool Recorder::tracing() { return tracing_here() || thread_state.anomaly; }

void Recorder::connect_input(Node& node, std::size_t i, const Tensor& x) {
  if (!x.defined()) return;
  Edge& e = NodeAccess::edges(node)[i];
  if (Node* n = x.node()) {
    e.node = Ref<Node>(n);
    e.slot = x.slot();
  } else if (x.impl()->numel == 1) {
    const void* p = x.impl()->data;
    if (x.impl()->dtype == DType::float32)
      e.constant = *static_cast<const float*>(p);
    else if (x.impl()->dtype == DType::float64)
      e.constant = static_cast<float>(*static_cast<const double*>(p));
  }
}

void Recorder::attach(Ref<Node> node, std::uint32_t slot, const Tensor& y) {
  NodeAccess::add_output(*node, slot, y);
  if (!is_floating(y.dtype())) return;  // an output of indices or flags: no gradient flows through it
  y.impl()->node = std::move(node);
  y.impl()->slot = slot;
}

Trace Recorder::begin_trace(const Tensors& ys) const {
  Trace t;
  for (const Frame* f = this; f; f = f->parent())
    t.stack.insert(t.stack.begin(), CallSite{f->module_path(), f->name(), f->here()});
  for (const Tensor& y : ys) t.outputs.push_back(y.detach());
  t.saved = take_saved();
  return t;
}

Tensor Recorder::traced_value(const Tensor& x) {
  if (!x.defined()) return x;
  if (!tracing_here() || (x.node() && !x.is_leaf())) return x.detach();
  constexpr std::int64_t small = 1 << 16;  // a constant of real numbers: a batch's buffer, say, that is filled again
  if (!x.node()) return is_floating(x.dtype()) && x.numel() <= small ? dense_copy(x) : x.detach();
  Trace& leaf = NodeAccess::trace(*x.node());
  if (leaf.outputs.empty() || leaf.version != x.version()) {
    leaf.outputs = {dense_copy(x)};
    leaf.version = x.version();
  }
  return leaf.outputs[0];
}

namespace {

/// Numbers that a replay draws are none that the program would have got.
class SameStream {
 public:
  SameStream() : before_(default_generator().state()) {}
  ~SameStream() { default_generator().set_state(before_); }
  SameStream(const SameStream&) = delete;
  SameStream& operator=(const SameStream&) = delete;

 private:
  RandomKey before_;
};

Trace::Replay beside_the_program(Trace::Replay replay) {
  if (!replay) return replay;
  return [inner = std::move(replay)](const Tensors& inputs) {
    const SameStream same;
    return inner(inputs);
  };
}

}  // namespace

void Recorder::set_trace(Node& node, Trace t) {
  t.rule = node.rule_text();
  t.replay = beside_the_program(std::move(t.replay));
  t.composed = beside_the_program(std::move(t.composed));
  NodeAccess::set_trace(node, std::move(t));
}

Tensor rewrap_saved(const Tensor& x, Node* node, std::uint32_t slot) { return rewrap(x, node, slot); }

// ---- arguments as text

std::string text(bool v) { return v ? "true" : "false"; }
std::string text(std::int64_t v) { return std::to_string(v); }
std::string text(const Scalar& v) { return v.integral() ? text(v.integer()) : text(v.real()); }
std::string text(const Dims& v) { return v.str(); }
std::string text(const std::vector<std::int64_t>& v) {
  std::string s = "[";
  for (std::size_t i = 0; i < v.size(); ++i) s += (i ? ", " : "") + std::to_string(v[i]);
  return s + "]";
}
std::string text(double v) {
  char s[32];
  return {s, std::to_chars(s, s + sizeof s, v).ptr};
}

}  // namespace attune::detail
