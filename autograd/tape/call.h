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

}  // namespace attune
