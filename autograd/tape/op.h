// How an operation is written: check, forward, one rule per input. For Attune's own operations and for users' alike.
//
//     Tensor square(const Tensor& x, Here here) {
//       const Op op{"square", here};  // names errors, traces and timings; `here` is the caller's line
//       op.check_floating(x);
//       Tensor y = op.empty_like(x);
//       ... fill y ...
//       return op.record(y, of<square>(x), "dx = 2 x dy",
//                        [x = Saved(x)](const Tensor& dy) { return 2 * x.get() * dy; });
//     }
//
// The contract of record:
//
// 1. There is one lambda per tensor argument of of<...>, in their order. It takes dy, or (dy, y) if it wants the
//    operation's own output.
// 2. It returns dx in the shape of its input, or in the one that broadcasting made of it. An undefined tensor says: no
//    gradient.
// 3. What it saves is its capture list: explicit, never [=] or [&], each tensor as Saved.
// 4. It never captures the output: the node would own itself.
// 5. It is made of public operations, and so can itself be differentiated.
//
// The text of the rule is read by learners and by viewers that put numbers in:
//
// - For each input that can take a gradient a part `dNAME = ...`, NAME being the parameter's name in the function's
//   declaration; what these parts use besides is defined behind them: "dx = s (1 + x (1 - s)) dy, s = sigmoid(x)".
//   Parts are separated by ", ". The rule speaks of the case that was recorded, of no bias where there is none.
// - y is the output and dy its gradient; the other names are the function's parameters. A parameter that is itself
//   called y is meant by that name, and so is a parameter dy: the gradient of the output is then g.
// - An elementwise rule is arithmetic: numbers, pi, + - * / ^, parentheses, and juxtaposition, which multiplies and
//   binds like * (dy / 2 x is (dy / 2) x); -x^2 is -(x^2). Functions are log exp sqrt sin cos tan tanh sigmoid sign abs
//   trunc erf, Phi and phi (the standard normal distribution and density); e^(...) is exp(...). A part may end in
//   `where CONDITION`, and is 0 elsewhere: comparisons (`a > b`, `low <= x <= high`), a bool input by its name, or
//   `not` before it. `EXPRESSION where C, EXPRESSION where D, ...` lists cases; a case begins with no `dNAME =`.
// - Other rules are short sentences: "dx = dy added at the index".
//
// A rule that depends on an argument may say which: it is then a struct with operator() and `std::string text() const`
// (or `text(const Node&) const`), and Node::rule_text() asks it, for nothing while nobody asks.
#pragma once

#include "autograd/tape/modes.h"
#include "autograd/tape/recorder.h"
#include "autograd/tape/rule_node.h"
#include "autograd/tape/saved.h"

namespace attune {

class Op : public detail::Recorder {
 public:
  /// `name` must be a literal; `here` is the operation's default argument.
  Op(const char* name, Here here) noexcept : Recorder(name, here) {}

  /// Puts y on the tape if an input needs a gradient and grad mode is on; returns y either way. Rules of inputs that
  /// need no gradient are dropped, and with them what they saved. `rule` is their text for a learner.
  template <auto F, auto C, class... Args, class... Rules>
  Tensor record(Tensor y, const Call<F, C, Args...>& call, const char* rule, Rules... rules) const {
    static_assert(sizeof...(Rules) == Call<F, C, Args...>::tensor_count && !Call<F, C, Args...>::has_list,
                  "one rule a tensor argument");
    check_finite(y, call);
    if (watch::on()) [[unlikely]]
      count_bytes(call, {y});
    if (!grad_enabled() || !any_needs(call)) return y;
    if (is_taken(call, y)) y = y.detach();
    auto* node = new detail::RuleNode<Rules...>(name(), rule, site(), std::move(rules)...);
    Ref<Node> owner = Ref<Node>::adopt(node);
    connect(*node, call);
    node->settle(y);
    if (tracing()) trace(*node, call, {y});
    attach(std::move(owner), 0, y);
    return y;
  }

  /// The same with one rule for all inputs: (dys, needs) or (dys, needs, ys) to dxs, an input each. For operations with
  /// several outputs, lists of inputs, or one fused backward pass.
  template <auto F, auto C, class... Args, class Rule>
  Tensors record_joint(Tensors ys, const Call<F, C, Args...>& call, const char* rule_text, Rule rule) const {
    for (const Tensor& y : ys) check_finite(y, call);
    if (watch::on()) [[unlikely]]
      count_bytes(call, ys);
    if (!grad_enabled() || !any_needs(call)) return ys;
    for (Tensor& y : ys)
      if (is_taken(call, y)) y = y.detach();
    std::size_t inputs = 0;
    call.each_tensor([&](const Tensor&) { ++inputs; });
    auto* node = new detail::JointNode<Rule>(name(), rule_text, site(), inputs, std::move(rule));
    Ref<Node> owner = Ref<Node>::adopt(node);
    connect(*node, call);
    node->settle(ys);
    if (tracing()) trace(*node, call, ys);
    for (std::size_t i = 0; i < ys.size(); ++i) attach(owner, static_cast<std::uint32_t>(i), ys[i]);
    return ys;
  }
  template <auto F, auto C, class... Args, class Rule>
  Tensor record_joint(Tensor y, const Call<F, C, Args...>& call, const char* rule_text, Rule rule) const {
    return record_joint(Tensors{std::move(y)}, call, rule_text, std::move(rule))[0];
  }

  /// x, for the rule of `input`; nothing if that rule will not be kept, which spares small operations two atomic counts
  /// a tensor.
  static Saved saved_for(const Tensor& input, const Tensor& x) {
    return grad_enabled() && input.requires_grad() ? Saved(x) : Saved();
  }

  Tensor empty(const Shape& shape, DType dtype) const { return attune::empty(shape, dtype); }
  /// Dense, of x's shape and dtype.
  Tensor empty_like(const Tensor& x) const { return attune::empty(x.shape(), x.dtype()); }

  // ---- checks

  /// `axis` in [0, rank), counted from the end if it is negative. Throws IndexError.
  int axis(std::int64_t axis, const Tensor& x) const;
  /// The same for `rank` axes, those of `shape` or of what it is taken as: a row of one if it has none, or one axis
  /// more.
  int axis_of_rank(std::int64_t axis, int rank, const Shape& shape) const;
  void check_defined(const Tensor& x) const;
  /// float32 or float64.
  void check_floating(const Tensor& x) const;
  void check_dtype(const Tensor& x, DType t) const;
  void check_same_dtype(const Tensor& a, const Tensor& b) const;
  /// The int64 elements of an index into an axis of `shape`, dense, each in [0, its size); throws IndexError with the
  /// offending value. int32 is converted. A rank-0 shape is a row of one.
  Tensor checked_index(const Tensor& index, const Shape& shape, int axis) const;
  /// The same for n of something, "classes" say.
  Tensor checked_index(const Tensor& index, std::int64_t n, const char* what) const;

  // ---- errors: each prefixes the operation's name and appends the call site

  [[noreturn]] void fail_shape(const std::string& message) const;
  [[noreturn]] void fail_dtype(const std::string& message) const;
  [[noreturn]] void fail_index(const std::string& message) const;
  [[noreturn]] void fail_value(const std::string& message) const;
  [[noreturn]] void fail_grad(const std::string& message) const;

 private:
  Tensor index_below(std::int64_t n, const Tensor& index, std::int64_t& bad) const;
};

}  // namespace attune
