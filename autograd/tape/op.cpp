#include "autograd/tape/op.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gather.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"

namespace attune {

// ---- Saved

Saved::Saved(const Tensor& x) {
  if (!x.defined()) return;
  // A handle that keeps its gradient would hold the graph that the gradient is computed by.
  tensor_ = x.node() && (x.is_leaf() || x.impl()->owns_grad_slot) ? alias(x, true) : x;
  version_ = x.version();
}

SavedOrRemade::SavedOrRemade(const Tensor& x) {
  if (x.defined() && x.node()) remake_ = NodeAccess::remake(x);
  if (!remake_) {
    saved_ = Saved(x);
    return;
  }
  node_ = Ref<Node>(x.node());
  slot_ = x.slot();
}

Tensor SavedOrRemade::get() const {
  if (!remake_) return saved_.get();
  const NoGrad off;
  const auto fail = [&](const std::string& why) {
    const Node* n = thread_state.running;
    throw GradError(std::string(n ? n->name() : "backward") + ": its input, the output of " + node_->name() +
                    (node_->site().line ? " at " + node_->site().str() : "") + ", cannot be made again: " + why +
                    (n && n->site().line ? "\n  wanted by " + std::string(n->name()) + " at " + n->site().str() : ""));
  };
  Tensor y;
  try {
    const RunningNode maker(node_.get());  // what it saved is looked at
    y = remake_();
  } catch (const GradError& e) {
    fail(e.what());
  }
  const OutputInfo& made = node_->output(slot_);
  if (!y.defined() || y.shape() != made.shape || y.dtype() != made.dtype)
    fail((y.defined() ? y.shape().str() + " of " + name_of(y.dtype()) : "nothing") + " came for " + made.shape.str() +
         " of " + name_of(made.dtype));
  return rewrap(y, node_.get(), slot_);
}

bool detail::worth_remaking(const Tensor& y) {
  constexpr std::size_t bytes = 64 << 10;
  return y.node() && static_cast<std::size_t>(y.numel()) * size_of(y.dtype()) >= bytes;
}

void detail::set_remake(const Tensor& y, std::function<Tensor()> remake) {
  auto& e = NodeAccess::extras(*y.node());
  e.remake = std::move(remake);
  e.remade_slot = y.slot();
  e.remade_version = y.version();
}

void Saved::fail() const {
  const Node* n = thread_state.running;
  const Here changed = tensor_.impl()->storage->last_change;
  throw GradError(std::string(n ? n->name() : "backward") + ": a tensor " + tensor_.shape().str() +
                  " that it saved for backward was changed in place" +
                  (n && n->site().line ? "\n  recorded at " + n->site().str() : "") +
                  (changed.line ? "\n  changed at " + changed.str() : ""));
}

namespace detail {

Tensor rewrap_saved(const Tensor& x, Node* node, std::uint32_t slot) { return rewrap(x, node, slot); }

std::string text(bool v) { return v ? "true" : "false"; }
std::string text(std::int64_t v) { return std::to_string(v); }
std::string text(const Scalar& v) { return v.integral() ? text(v.integer()) : text(v.real()); }
std::string text(const Dims& v) { return v.str(); }
std::string text(double v) {
  char s[32];
  std::snprintf(s, sizeof s, "%g", v);
  return s;
}

}  // namespace detail

// ---- checks

int Op::axis(std::int64_t axis, const Tensor& x) const {
  check_defined(x);
  return axis_of_rank(axis, x.rank(), x.shape());
}

int Op::axis_of_rank(std::int64_t axis, int rank, const Shape& shape) const {
  const std::int64_t a = axis < 0 ? axis + rank : axis;
  if (a < 0 || a >= rank)
    fail_index("axis " + std::to_string(axis) + " is out of range for " + shape.str() +
               (rank > std::max(shape.rank(), 1) ? " and a new axis" : ""));
  return static_cast<int>(a);
}

void Op::check_defined(const Tensor& x) const {
  if (!x.defined()) fail_value("an input is undefined");
}

void Op::check_floating(const Tensor& x) const {
  check_defined(x);
  if (!is_floating(x.dtype()))
    fail_dtype(std::string("needs float32 or float64, got ") + name_of(x.dtype()) + " " + x.shape().str());
}

void Op::check_dtype(const Tensor& x, DType t) const {
  check_defined(x);
  if (x.dtype() != t)
    fail_dtype(std::string("needs ") + name_of(t) + ", got " + name_of(x.dtype()) + " " + x.shape().str());
}

void Op::check_same_dtype(const Tensor& a, const Tensor& b) const {
  check_defined(a);
  check_defined(b);
  if (a.dtype() != b.dtype())
    fail_dtype(std::string("dtypes differ: ") + name_of(a.dtype()) + " " + a.shape().str() + " and " +
               name_of(b.dtype()) + " " + b.shape().str());
}

/// Undefined where an element is outside of [0, n), `bad`.
Tensor Op::index_below(std::int64_t n, const Tensor& index, std::int64_t& bad) const {
  check_defined(index);
  if (!is_integer(index.dtype()))
    fail_dtype(std::string("needs an integer index, got ") + name_of(index.dtype()) + " " + index.shape().str());
  Tensor dense = index.detach();
  if (index.dtype() != DType::int64 || !index.is_contiguous()) {
    dense = attune::empty(index.shape(), DType::int64);
    kernels::cast(index.shape(), index.dtype(), index.raw(), index.strides(), DType::int64, dense.raw_mut());
  }
  const auto* p = static_cast<const std::int64_t*>(dense.raw());
  const std::int64_t at = kernels::first_out_of_range(p, dense.numel(), n);
  if (at < 0) return dense;
  bad = p[at];
  return Tensor();
}

Tensor Op::checked_index(const Tensor& index, const Shape& shape, int axis) const {
  std::int64_t bad = 0;
  Tensor at = index_below(shape.rank() == 0 ? 1 : shape[axis], index, bad);
  if (!at.defined())
    fail_index("index " + std::to_string(bad) + " is out of range for axis " + std::to_string(axis) + " of " +
               shape.str());
  return at;
}

Tensor Op::checked_index(const Tensor& index, std::int64_t n, const char* what) const {
  std::int64_t bad = 0;
  Tensor at = index_below(n, index, bad);
  if (!at.defined())
    fail_index("index " + std::to_string(bad) + " is out of range for " + std::to_string(n) + " " + what);
  return at;
}

void Op::fail_shape(const std::string& m) const { throw ShapeError(full_name() + ": " + m, site()); }
void Op::fail_dtype(const std::string& m) const { throw DTypeError(full_name() + ": " + m, site()); }
void Op::fail_index(const std::string& m) const { throw IndexError(full_name() + ": " + m, site()); }
void Op::fail_value(const std::string& m) const { throw ValueError(full_name() + ": " + m, site()); }
void Op::fail_grad(const std::string& m) const { throw GradError(full_name() + ": " + m, site()); }

// ---- recording

void Op::count_bytes(const Tensors& xs, const Tensors& ys) {
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

bool Op::tracing() { return thread_state.tracing; }

void Op::connect_input(Node& node, std::size_t i, const Tensor& x) {
  if (!x.defined() || !x.node()) return;
  NodeAccess::edges(node)[i] = Edge{Ref<Node>(x.node()), x.slot()};
}

void Op::attach(Ref<Node> node, std::uint32_t slot, const Tensor& y) {
  NodeAccess::add_output(*node, slot, y);
  if (!is_floating(y.dtype())) return;  // an output of indices or flags: no gradient flows through it
  y.impl()->node = std::move(node);
  y.impl()->slot = slot;
}

Trace Op::begin_trace(const Tensors& ys) const {
  Trace t;
  for (const Frame* f = this; f; f = f->parent())
    t.stack.insert(t.stack.begin(), CallSite{f->module_path(), f->name(), f->here()});
  for (const Tensor& y : ys) t.outputs.push_back(y.detach());
  return t;
}

void Op::set_trace(Node& node, Trace t) { NodeAccess::set_trace(node, std::move(t)); }

bool Op::searched(const Tensor& y) {
  // Inside a backward rule the sweep checks the result, in the name of the operation that the user called.
  return thread_state.anomaly && !thread_state.running && is_floating(y.dtype());
}

bool Op::holds_infinity(const Tensor& x) {
  if (!x.defined() || !is_floating(x.dtype())) return false;
  for (double v : x.to_vector<double>())
    if (std::isinf(v)) return true;
  return false;
}

void Op::fail_unless_finite(const Tensor& y, bool infinite_input) const {
  const std::vector<double> v = y.to_vector<double>();
  for (std::size_t i = 0; i < v.size(); ++i)
    if (std::isnan(v[i]) || (std::isinf(v[i]) && !infinite_input))
      throw AnomalyError(std::string(name()) + ": " + (std::isnan(v[i]) ? "NaN" : "infinity") +
                             " in the forward pass, at element " + std::to_string(i) + " of " + y.shape().str(),
                         site());
}

}  // namespace attune
