// How an operation is written: check, forward, one rule per input. For Attune's own operations and for users' alike.
//
//     Tensor square(const Tensor& x, Here here) {
//       const Op op{"square", here};
//       op.check_floating(x);
//       Tensor y = op.empty_like(x);
//       ... fill y ...
//       return op.record(y, of<square>(x), "dx = 2 x dy", [x = Saved(x)](const Tensor& dy) { return 2 * x.get() * dy;
//       });
//     }
//
// - One lambda per tensor argument of `of<...>`, in their order; each takes dy, or (dy, y) where it wants the
// operation's own output, and
//   returns dx in the shape of its input or one that broadcasting made of it. It may return an undefined tensor: no
//   gradient.
// - What a rule saves is its capture list, each tensor as Saved. It never captures the output and never uses [=] or
// [&].
// - Rules are made of public operations, which makes them differentiable.
#pragma once

#include <array>
#include <optional>
#include <tuple>
#include <type_traits>

#include "autograd/runtime/frame.h"
#include "autograd/runtime/scalar.h"
#include "autograd/runtime/watch.h"
#include "autograd/tape/tape.h"

namespace attune {

/// A tensor kept for the backward pass, with the version that was seen.
class Saved {
 public:
  Saved() = default;
  /// Shares x. A leaf is shared without its gradient, so that a graph never owns the gradients computed from it.
  explicit Saved(const Tensor& x);
  /// The tensor. Throws GradError, with both call sites, where it was changed in place since.
  const Tensor& get() const {
    if (tensor_.defined() && tensor_.version() != version_) fail();
    return tensor_;
  }
  operator const Tensor&() const { return get(); }

 private:
  [[noreturn]] void fail() const;
  Tensor tensor_;
  std::uint32_t version_ = 0;
};

/// A tensor that a rule needs, or, where the operation that made it keeps its own argument anyway, the way to make it
/// again: a layer after gelu then keeps one large tensor of the two.
class SavedOrRemade {
 public:
  explicit SavedOrRemade(const Tensor& x);
  /// Throws as Saved::get does.
  Tensor get() const;

 private:
  Saved saved_;
  std::function<Tensor()> remake_;
  Ref<Node> node_;  // whose result it is
  std::uint32_t slot_ = 0;
};
namespace detail {
bool worth_remaking(const Tensor& y);  ///< recorded, and large
void set_remake(const Tensor& y, std::function<Tensor()> remake);
}  // namespace detail
/// Lets users of y make it again instead of keeping it, where it is recorded and large enough to matter. `remake` gives
/// a tensor of y's shape, dtype and elements and keeps nothing that y's node does not keep: where that was changed in
/// place since, the users' backward passes fail too. Of an operation's outputs one can be made again, the last that
/// was named.
template <class F>
void allow_remake(const Tensor& y, F remake) {
  if (detail::worth_remaking(y)) detail::set_remake(y, std::move(remake));
}

// ---- the call: which function, on which arguments

namespace detail {

template <class A>
inline constexpr bool is_tensor = std::is_same_v<std::remove_cvref_t<A>, Tensor>;
template <class A>
inline constexpr bool is_tensor_list = std::is_same_v<std::remove_cvref_t<A>, Tensors>;

std::string text(bool v);
std::string text(double v);
std::string text(std::int64_t v);
std::string text(const Scalar& v);
std::string text(const Dims& v);
template <class A>
std::string argument_text(const A& a) {
  if constexpr (std::is_same_v<A, bool>)
    return text(static_cast<bool>(a));
  else if constexpr (std::is_enum_v<A> || std::is_integral_v<A>)
    return text(static_cast<std::int64_t>(a));
  else if constexpr (std::is_floating_point_v<A>)
    return text(static_cast<double>(a));
  else if constexpr (std::is_same_v<A, Scalar> || std::is_base_of_v<Dims, A>)
    return text(a);
  else
    return "...";
}

/// A copy of an argument that outlives the call; tensors are left out, since replay hands in its own.
template <class A>
auto keep(const A& a) {
  if constexpr (is_tensor<A>)
    return 0;
  else if constexpr (is_tensor_list<A>)
    return a.size();
  else
    return a;
}
/// Undoes keep(): the next tensors from `in`, or the kept argument.
template <class A, class K>
decltype(auto) restore(const K& kept, const Tensors& in, std::size_t& at) {
  if constexpr (is_tensor<A>)
    return static_cast<const Tensor&>(in[at++]);
  else if constexpr (is_tensor_list<A>) {
    at += kept;
    return Tensors(in.begin() + static_cast<std::ptrdiff_t>(at - kept), in.begin() + static_cast<std::ptrdiff_t>(at));
  } else
    return static_cast<const K&>(kept);
}

inline Tensors as_list(Tensor t) { return {std::move(t)}; }
inline Tensors as_list(Tensors t) { return t; }
template <class... T>
Tensors as_list(std::tuple<T...> t) {
  return std::apply([](auto&... x) { return Tensors{x...}; }, t);
}

}  // namespace detail

template <auto F, auto Composed, class... Args>
struct Call {
  std::tuple<const Args&...> args;
  static constexpr std::size_t tensor_count = (std::size_t{0} + ... + (detail::is_tensor<Args> ? 1u : 0u));
  static constexpr bool has_list = (false || ... || detail::is_tensor_list<Args>);

  template <class Visit>
  void each_tensor(Visit&& visit) const {
    std::apply(
        [&](const auto&... a) {
          (
              [&] {
                if constexpr (detail::is_tensor<decltype(a)>)
                  visit(a);
                else if constexpr (detail::is_tensor_list<decltype(a)>)
                  for (const Tensor& t : a) visit(t);
              }(),
              ...);
        },
        args);
  }

  void fill_trace(Trace& trace) const {
    std::apply(
        [&](const auto&... a) {
          (
              [&] {
                if constexpr (!detail::is_tensor<decltype(a)> && !detail::is_tensor_list<decltype(a)>)
                  trace.arguments.push_back(detail::argument_text(a));
              }(),
              ...);
        },
        args);
    trace.replay = replayer<F>();
    if constexpr (!std::is_same_v<decltype(Composed), std::nullptr_t>) trace.composed = replayer<Composed>();
  }

 private:
  template <auto G>
  Trace::Replay replayer() const {
    return std::apply(
        [](const auto&... a) -> Trace::Replay {
          return [kept = std::make_tuple(detail::keep(a)...)](const Tensors& in) {
            std::size_t at = 0;
            return std::apply(
                [&](const auto&... k) {
                  std::tuple<decltype(detail::restore<Args>(k, in, at))...> values{detail::restore<Args>(k, in, at)...};
                  return std::apply([](auto&... v) { return detail::as_list(G(v..., Here{})); }, values);
                },
                kept);
          };
        },
        args);
  }
};

/// Names the call for the tape: the function itself (for replays) and its arguments in order, without `here`.
/// `Composed` is the plain composition of a fused operation, with the same signature.
template <auto F, auto Composed = nullptr, class... Args>
Call<F, Composed, Args...> of(const Args&... args) {
  return {{args...}};
}

// ---- nodes with rules

namespace detail {

template <class Rule>
inline constexpr bool takes_output = std::is_invocable_v<Rule&, const Tensor&, const Tensor&>;

/// The outputs that rules asked for, as values; re-wrapped onto the tape when a rule runs, so that the node never owns
/// itself.
struct SavedOutputs {
  std::vector<Saved> values;
  Tensor get(Node* node, std::uint32_t slot) const;
};

template <class... Rules>
class RuleNode final : public Node {
 public:
  RuleNode(const char* name, const char* rule, Here site, Rules&&... rules)
      : Node(name, rule, site, false), rules_(std::optional<Rules>(std::move(rules))...) {
    edges_ = inputs_.data();
    edge_count_ = sizeof...(Rules);
  }

  void settle(const Tensor& y) {
    drop_unneeded(std::index_sequence_for<Rules...>{});
    if constexpr ((false || ... || takes_output<Rules>)) y_ = Saved(y.detach());
  }

  void run(const Tensors& dys, std::span<Tensor> dxs) override {
    run_all(dys, dxs, std::index_sequence_for<Rules...>{});
  }
  void free_saved() noexcept override {
    std::apply([](auto&... r) { (r.reset(), ...); }, rules_);
    y_ = Saved();
    freed_ = true;
  }

 private:
  template <std::size_t... I>
  void drop_unneeded(std::index_sequence<I...>) {
    ((inputs_[I].node ? void() : std::get<I>(rules_).reset()), ...);
  }
  template <std::size_t... I>
  void run_all(const Tensors& dys, std::span<Tensor> dxs, std::index_sequence<I...>) {
    Tensor y;
    if constexpr ((false || ... || takes_output<Rules>)) y = rewrap_output();
    (run_one(std::get<I>(rules_), dys[0], y, dxs[I]), ...);
  }
  template <class Rule>
  void run_one(std::optional<Rule>& rule, const Tensor& dy, const Tensor& y, Tensor& dx) {
    if (!rule) return;
    if constexpr (takes_output<Rule>)
      dx = (*rule)(dy, y);
    else
      dx = (*rule)(dy);
  }
  Tensor rewrap_output();

  std::array<Edge, sizeof...(Rules)> inputs_;
  std::tuple<std::optional<Rules>...> rules_;
  Saved y_;
};

Tensor rewrap_saved(const Tensor& x, Node* node, std::uint32_t slot);

template <class... Rules>
Tensor RuleNode<Rules...>::rewrap_output() {
  return rewrap_saved(y_.get(), this, 0);
}

/// A joint rule: (dys, needs) or (dys, needs, ys) -> dxs, for operations with several outputs, lists of inputs or one
/// fused backward.
template <class Rule>
class JointNode final : public Node {
 public:
  static constexpr bool wants_outputs = std::is_invocable_v<Rule&, const Tensors&, const Needs&, const Tensors&>;

  JointNode(const char* name, const char* rule_text, Here site, std::size_t inputs, Rule&& rule)
      : Node(name, rule_text, site, false), inputs_(inputs), rule_(std::move(rule)) {
    edges_ = inputs_.data();
    edge_count_ = static_cast<std::uint32_t>(inputs);
  }
  void settle(const Tensors& ys) {
    if constexpr (wants_outputs)
      for (const Tensor& y : ys) ys_.push_back(Saved(y.detach()));
  }
  void run(const Tensors& dys, std::span<Tensor> dxs) override {
    Tensors out;
    if constexpr (wants_outputs) {
      Tensors ys;
      for (std::uint32_t i = 0; i < ys_.size(); ++i) ys.push_back(rewrap_saved(ys_[i].get(), this, i));
      out = (*rule_)(dys, Needs(edges()), ys);
    } else {
      out = (*rule_)(dys, Needs(edges()));
    }
    for (std::size_t i = 0; i < dxs.size() && i < out.size(); ++i) dxs[i] = std::move(out[i]);
  }
  void free_saved() noexcept override {
    rule_.reset();
    ys_.clear();
    freed_ = true;
  }

 private:
  std::vector<Edge> inputs_;
  std::optional<Rule> rule_;
  std::vector<Saved> ys_;
};

}  // namespace detail

// ---- Op: the frame that an operation works in

class Op : public Frame {
 public:
  /// `name` must be a literal; `here` is the caller's default argument.
  Op(const char* name, Here here) noexcept : Frame(name, here, Kind::operation) {}

  Tensor empty(const Shape& shape, DType dtype) const { return attune::empty(shape, dtype); }
  /// Dense, of x's shape and dtype.
  Tensor empty_like(const Tensor& x) const { return attune::empty(x.shape(), x.dtype()); }

  /// `axis` in [0, rank), counted from the end where negative. Throws IndexError.
  int axis(std::int64_t axis, const Tensor& x) const;
  /// The same for `rank` axes, those of `shape` or what it is taken as: a row of one where it has none, or one more.
  int axis_of_rank(std::int64_t axis, int rank, const Shape& shape) const;
  void check_defined(const Tensor& x) const;
  void check_floating(const Tensor& x) const;  ///< float32 or float64
  void check_dtype(const Tensor& x, DType t) const;
  void check_same_dtype(const Tensor& a, const Tensor& b) const;
  /// The int64 elements of an index into an axis of `shape`, dense, each in [0, its size); throws IndexError with the
  /// offending value. int32 is converted. A rank-0 shape is a row of one.
  Tensor checked_index(const Tensor& index, const Shape& shape, int axis) const;
  /// The same for n of something, "classes" say.
  Tensor checked_index(const Tensor& index, std::int64_t n, const char* what) const;

  /// x, for the rule of `input`; nothing where that rule will not be kept, which spares small operations two atomic
  /// counts a tensor.
  static Saved saved_for(const Tensor& input, const Tensor& x) {
    return grad_enabled() && input.requires_grad() ? Saved(x) : Saved();
  }

  // Each prefixes the operation's name and appends the call site.
  [[noreturn]] void fail_shape(const std::string& message) const;
  [[noreturn]] void fail_dtype(const std::string& message) const;
  [[noreturn]] void fail_index(const std::string& message) const;
  [[noreturn]] void fail_value(const std::string& message) const;
  [[noreturn]] void fail_grad(const std::string& message) const;

  /// Puts y on the tape where an input needs a gradient and grad mode is on; returns y either way.
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
    for (std::size_t i = 0; i < ys.size(); ++i) attach(owner, static_cast<std::uint32_t>(i), ys[i]);
    if (tracing()) trace(*node, call, ys);
    return ys;
  }
  template <auto F, auto C, class... Args, class Rule>
  Tensor record_joint(Tensor y, const Call<F, C, Args...>& call, const char* rule_text, Rule rule) const {
    return record_joint(Tensors{std::move(y)}, call, rule_text, std::move(rule))[0];
  }

 private:
  Tensor index_below(std::int64_t n, const Tensor& index, std::int64_t& bad) const;
  template <class C>
  static bool any_needs(const C& call) {
    bool any = false;
    call.each_tensor([&](const Tensor& t) { any |= t.defined() && t.requires_grad(); });
    return any;
  }
  /// Whether y is a handle that has its place on the tape: an input, or another operation's result.
  template <class C>
  static bool is_taken(const C& call, const Tensor& y) {
    bool taken = y.node() != nullptr;
    call.each_tensor([&](const Tensor& t) { taken |= t.defined() && t.impl() == y.impl(); });
    return taken;
  }
  template <class C>
  void check_finite(const Tensor& y, const C& call) const {
    if (!searched(y)) return;
    bool infinite = false;
    call.each_tensor([&](const Tensor& t) { infinite |= holds_infinity(t); });
    fail_unless_finite(y, infinite);
  }
  /// For a profile: what the call read and wrote; nothing where the result is a view.
  template <class C>
  static void count_bytes(const C& call, const Tensors& ys) {
    Tensors xs;
    call.each_tensor([&](const Tensor& t) { xs.push_back(t); });
    count_bytes(xs, ys);
  }
  static void count_bytes(const Tensors& xs, const Tensors& ys);
  template <class C>
  static void connect(Node& node, const C& call) {
    std::size_t i = 0;
    call.each_tensor([&](const Tensor& t) { connect_input(node, i++, t); });
  }
  template <class C>
  void trace(Node& node, const C& call, const Tensors& ys) const {
    Trace t = begin_trace(ys);
    call.each_tensor([&](const Tensor& x) { t.inputs.push_back(x.defined() ? x.detach() : x); });
    call.fill_trace(t);
    set_trace(node, std::move(t));
  }
  static bool tracing();
  static void connect_input(Node& node, std::size_t i, const Tensor& x);
  static void attach(Ref<Node> node, std::uint32_t slot, const Tensor& y);
  static void set_trace(Node& node, Trace t);
  Trace begin_trace(const Tensors& ys) const;
  // Anomaly mode: an infinity is a fault where it first appears, not where it was handed in (as masks are); NaN always
  // is.
  static bool searched(const Tensor& y);
  static bool holds_infinity(const Tensor& x);
  void fail_unless_finite(const Tensor& y, bool infinite_input) const;
};

}  // namespace attune
