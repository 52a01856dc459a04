// What Op::record is made of: the steps between an operation's result and its node.
#pragma once

#include "autograd/runtime/frame.h"
#include "autograd/runtime/watch.h"
#include "autograd/tape/call.h"
#include "autograd/tape/node.h"

namespace attune::detail {

class Recorder : public Frame {
 protected:
  Recorder(const char* name, Here here) noexcept : Frame(name, here, Kind::operation) {}

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
  static void connect(Node& node, const C& call) {
    std::size_t i = 0;
    call.each_tensor([&](const Tensor& t) { connect_input(node, i++, t); });
  }
  static void connect_input(Node& node, std::size_t i, const Tensor& x);
  static void attach(Ref<Node> node, std::uint32_t slot, const Tensor& y);

  /// Anomaly mode: NaN is a fault, and so is an infinity where it first appears, but not where it was handed in, as
  /// masks are.
  template <class C>
  void check_finite(const Tensor& y, const C& call) const {
    if (!searched(y)) return;
    Tensors xs;
    call.each_tensor([&](const Tensor& t) { xs.push_back(t); });
    fail_unless_finite(y, xs);
  }
  static bool searched(const Tensor& y);
  void fail_unless_finite(const Tensor& y, const Tensors& xs) const;

  static bool tracing();
  template <class C>
  void trace(Node& node, const C& call, const Tensors& ys) const {
    Trace t = begin_trace(ys);
    call.each_tensor([&](const Tensor& x) { t.inputs.push_back(traced_value(x)); });
    call.fill_trace(t);
    set_trace(node, std::move(t));
  }
  Trace begin_trace(const Tensors& ys) const;
  static Tensor traced_value(const Tensor& x);
  static void set_trace(Node& node, Trace t);

  /// For a profile: what the call read and wrote; nothing if the result is a view.
  template <class C>
  static void count_bytes(const C& call, const Tensors& ys) {
    Tensors xs;
    call.each_tensor([&](const Tensor& t) { xs.push_back(t); });
    count_bytes(xs, ys);
  }
  static void count_bytes(const Tensors& xs, const Tensors& ys);
};

}  // namespace attune::detail
