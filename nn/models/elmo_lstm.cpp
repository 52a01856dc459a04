// ELMo's LSTM: its layers, and what it keeps between batches.

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/internal/check.h"
#include "nn/models/elmo.h"
#include "nn/recurrent/highway_lstm.h"

namespace attune::nn {

namespace {

std::int64_t positive(const char* type, const Module& m, std::int64_t n, const char* what) {
  return detail::Check(type, m).at_least(1, n, what);
}

}  // namespace

ElmoLstmLayer::ElmoLstmLayer(std::int64_t in, std::int64_t out, std::int64_t cells, bool reverse, double cell_clip,
                             double projection_clip, Here here)
    : Module(here),
      input_(child<Linear>("input_linearity", positive("ElmoLstmLayer", *this, in, "in"),
                           4 * positive("ElmoLstmLayer", *this, cells, "cells"), LinearOptions{.bias = false})),
      state_(child<Linear>("state_linearity", positive("ElmoLstmLayer", *this, out, "out"), 4 * cells)),
      projection_(child<Linear>("state_projection", cells, out, LinearOptions{.bias = false})),
      in_(in) {
  const detail::Check check{"ElmoLstmLayer", *this};
  call_.reverse = reverse;
  call_.cell_clip = check.finite(cell_clip, "cell_clip");
  call_.projection_clip = check.finite(projection_clip, "projection_clip");
  detail::start_lstm_cell(input_, state_, cells);
}

RecurrentResult ElmoLstmLayer::operator()(const Tensor& input, const LstmState& initial, const Tensor& lengths,
                                          Here here) const {
  const Scope scope(*this, "ElmoLstmLayer", here);
  const Tensors in = scope.in(Tensors{input, initial.h, initial.c});
  const Op op{"ElmoLstmLayer", here};
  op.check_floating(in[0]);
  if (in[0].rank() != 3 || in[0].size(2) != in_)
    op.fail_shape("x " + in[0].shape().str() + " must be [b, t, " + std::to_string(in_) + "]");
  const Tensor x = detail::without_padding(transpose(in[0], 0, 1), lengths);
  RecurrentCall call = call_;
  call.lengths = lengths;
  RecurrentResult r = lstm(input_(x), in[1], in[2], state_.weight, state_.bias(), projection_.weight, call);
  r.output = transpose(r.output, 0, 1);
  scope.out_parts(r.output, r.h, r.c);
  return r;
}

LstmState ElmoState::rows(std::int64_t b) const {
  if (!h.defined()) return {};
  const auto first = [&](const Tensor& s) {
    if (s.size(1) >= b) return slice(s, 1, 0, b);
    return cat({s, zeros({s.size(0), b - s.size(1), s.size(2)}, s.dtype())}, 1);
  };
  return {first(h), first(c)};
}

void ElmoState::keep(const RecurrentResult& result) {
  const auto merged = [](const Tensor& before, const Tensor& now) {
    const Tensor next = now.detach();
    if (!before.defined() || before.size(1) <= next.size(1)) return clone(next);
    return cat({next, slice(before, 1, next.size(1))}, 1);
  };
  const NoGrad off;
  h = merged(h, result.h);
  c = merged(c, result.c);
}

ElmoLstm::ElmoLstm(std::int64_t in, std::int64_t out, std::int64_t cells, std::int64_t layers, double cell_clip,
                   double projection_clip, Here here)
    : Module(here), out_(out), cells_(cells) {
  positive("ElmoLstm", *this, layers, "layers");
  for (std::int64_t i = 0; i < layers; ++i)
    for (const bool reverse : {false, true})
      (reverse ? backward_ : forward_)
          .push_back(&child<ElmoLstmLayer>((reverse ? "backward_layer_" : "forward_layer_") + std::to_string(i),
                                           i == 0 ? in : out, out, cells, reverse, cell_clip, projection_clip));
}

RecurrentResult ElmoLstm::operator()(const Tensor& input, const LstmState& initial, const Tensor& lengths,
                                     Here here) const {
  const Scope scope(*this, "ElmoLstm", here);
  const Tensors in = scope.in(Tensors{input, initial.h, initial.c});
  const Op op{"ElmoLstm", here};
  op.check_floating(in[0]);
  if (in[0].rank() != 3) op.fail_shape("x " + in[0].shape().str() + " must be [b, t, in]");
  const auto layers = static_cast<std::int64_t>(forward_.size()), batch = in[0].size(0);
  const auto states = [&](const char* what, const Tensor& s, std::int64_t size) {
    if (!s.defined()) return Tensors(2 * forward_.size());
    if (const Shape fits{layers, batch, 2 * size}; s.shape() != fits)
      op.fail_shape(std::string(what) + " " + s.shape().str() + " must be " + fits.str());
    Tensors parts;
    for (const Tensor& layer : unbind(s, 0))
      for (const Tensor& part : chunk(layer, 2, 1)) parts.push_back(part);
    return parts;
  };
  const Tensors h0 = states("h0", in[1], out_), c0 = states("c0", in[2], cells_);
  Tensor forward = in[0], backward = in[0];
  Tensors outputs, hs, cs;
  for (std::size_t i = 0; i < forward_.size(); ++i) {
    const RecurrentResult f = (*forward_[i])(forward, {h0[2 * i], c0[2 * i]}, lengths);
    const RecurrentResult b = (*backward_[i])(backward, {h0[2 * i + 1], c0[2 * i + 1]}, lengths);
    forward = i == 0 ? f.output : f.output + forward;
    backward = i == 0 ? b.output : b.output + backward;
    outputs.push_back(cat({forward, backward}, 2));
    hs.push_back(cat({f.h, b.h}, 1));
    cs.push_back(cat({f.c, b.c}, 1));
  }
  RecurrentResult r{stack(outputs), stack(hs), stack(cs)};
  scope.out_parts(r.output, r.h, r.c);
  return r;
}

}  // namespace attune::nn
