// The call that an operation records: which function, on which arguments.
//
// Its tensor arguments are the node's inputs. While a Tracing guard is alive the node keeps the others too, as text and
// as a replay of the whole call.
#pragma once

#include <string>
#include <tuple>
#include <type_traits>

#include "autograd/runtime/scalar.h"
#include "autograd/tape/tracing.h"

namespace attune {

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
std::string text(const std::vector<std::int64_t>& v);
/// An argument as text: numbers, lists, enumerators that have a name_of(), structs that have a str(); "..." for others.
template <class A>
std::string argument_text(const A& a) {
  if constexpr (std::is_same_v<A, bool>)
    return text(static_cast<bool>(a));
  else if constexpr (std::is_enum_v<A> && requires { name_of(a); })
    return name_of(a);
  else if constexpr (requires { std::string(a.str()); } && !std::is_base_of_v<Dims, A>)
    return a.str();
  else if constexpr (std::is_enum_v<A> || std::is_integral_v<A>)
    return text(static_cast<std::int64_t>(a));
  else if constexpr (std::is_floating_point_v<A>)
    return text(static_cast<double>(a));
  else if constexpr (std::is_same_v<A, Scalar> || std::is_base_of_v<Dims, A> ||
                     std::is_same_v<A, std::vector<std::int64_t>>)
    return text(a);
  else
    return "...";
}

template <class A, class Visit>
void visit_tensors(const A& a, Visit&& visit) {
  if constexpr (is_tensor<A>)
    visit(a);
  else if constexpr (is_tensor_list<A>)
    for (const Tensor& t : a) visit(t);
}
template <class A>
void append_text(const A& a, std::vector<std::string>& texts) {
  if constexpr (!is_tensor<A> && !is_tensor_list<A>) texts.push_back(argument_text(a));
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
    std::apply([&](const auto&... a) { (detail::visit_tensors(a, visit), ...); }, args);
  }

  void fill_trace(Trace& trace) const {
    std::apply([&](const auto&... a) { (detail::append_text(a, trace.arguments), ...); }, args);
    trace.replay = replayer<F>();
    if constexpr (!std::is_same_v<decltype(Composed), std::nullptr_t>) trace.composed = replayer<Composed>();
  }

 private:
  /// G on the arguments of this call, but with tensors that are handed in.
  template <auto G>
  Trace::Replay replayer() const {
    auto kept = std::apply([](const auto&... a) { return std::make_tuple(detail::keep(a)...); }, args);
    return [kept = std::move(kept)](const Tensors& in) {
      std::size_t at = 0;
      const auto call = [&](const auto&... k) {
        // Braces evaluate from left to right, and so take the tensors in order.
        std::tuple<decltype(detail::restore<Args>(k, in, at))...> values{detail::restore<Args>(k, in, at)...};
        return std::apply([](auto&... v) { return detail::as_list(G(v..., Here{})); }, values);
      };
      return std::apply(call, kept);
    };
  }
};

/// Names the call for the tape: the function itself (for replays) and its arguments in order, without `here`.
/// `Composed` is the plain composition of a fused operation, with the same signature.
template <auto F, auto Composed = nullptr, class... Args>
Call<F, Composed, Args...> of(const Args&... args) {
  return {{args...}};
}

}  // namespace attune
