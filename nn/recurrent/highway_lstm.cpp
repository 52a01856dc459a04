#include "nn/recurrent/highway_lstm.h"

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

void detail::start_lstm_cell(const Linear& input, const Linear& state, std::int64_t hidden) {
  for (const Linear* l : {&input, &state}) {
    const Tensor w = l->weight.detach();
    for (std::int64_t row = 0; row < w.size(0); row += hidden) init::orthogonal_(slice(w, 0, row, row + hidden));
    if (l->bias().defined()) init::zeros_(l->bias());
  }
  init::ones_(slice(state.bias().detach(), 0, hidden, 2 * hidden));
}

Tensor detail::without_padding(const Tensor& x, const Tensor& lengths) {
  if (!lengths.defined() || !is_integer(lengths.dtype()) || lengths.shape() != Shape{x.size(1)}) return x;
  return masked_fill(x, unsqueeze(ge(unsqueeze(arange(x.size(0), lengths.dtype()), 1), lengths), 2), 0);
}

HighwayLSTM::HighwayLSTM(std::int64_t in, std::int64_t hidden, const HighwayLstmOptions& o, Here here)
    : Module(here), in_(in), hidden_(hidden), has_highway_(o.highway) {
  const detail::Check check{"HighwayLSTM", *this};
  check.at_least(1, in, "in");
  check.at_least(1, hidden, "hidden");
  check.at_least(1, o.layers, "layers");
  check.probability(o.dropout, "dropout");
  for (std::int64_t i = 0; i < o.layers; ++i)
    for (const char* way : {"forward_layer_", "backward_layer_"}) {
      const std::string name = way + std::to_string(i) + ".cell.";
      Cell c{};
      c.input = &child<Linear>(name + "input_linearity", i == 0 ? in : 2 * hidden, (o.highway ? 6 : 4) * hidden,
                               LinearOptions{.bias = false});
      c.state = &child<Linear>(name + "state_linearity", hidden, (o.highway ? 5 : 4) * hidden);
      detail::start_lstm_cell(*c.input, *c.state, hidden);
      cells_.push_back(c);
    }
  if (o.dropout > 0) dropout_ = &child<Dropout>("dropout", o.dropout, o.generator ? *o.generator : default_generator());
}

RecurrentResult HighwayLSTM::one_way(const Tensor& x, LstmState state, const Cell& cell, bool reverse,
                                     const Tensor& lengths) const {
  const Tensor all = (*cell.input)(x), w = cell.state->weight, b = cell.state->bias();
  if (!has_highway_) return lstm(all, state.h, state.c, w, b, {}, {.reverse = reverse, .lengths = lengths});
  const std::int64_t steps = x.size(0), batch = x.size(1), h = hidden_;
  for (Tensor* s : {&state.h, &state.c})
    if (!s->defined()) *s = zeros({batch, h}, x.dtype());
  const Tensor w_lstm = slice(w, 0, 0, 4 * h), b_lstm = slice(b, 0, 0, 4 * h);
  const Tensor w_carry = slice(w, 0, 4 * h), b_carry = slice(b, 0, 4 * h);
  Tensors outputs(static_cast<std::size_t>(steps));
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t t = reverse ? steps - 1 - i : i;
    const Tensors parts = split(select(all, 0, t), {4 * h, h, h}, 1);
    const LstmState next = lstm_cell(parts[0], state, w_lstm, b_lstm);
    const Tensor own = sigmoid(parts[1] + linear(state.h, w_carry, b_carry));
    const Tensor out = own * next.h + (1 - own) * parts[2];
    if (!lengths.defined()) {
      outputs[static_cast<std::size_t>(t)] = out;
      state = {out, next.c};
      continue;
    }
    const Tensor over = unsqueeze(le(lengths, t), 1);
    outputs[static_cast<std::size_t>(t)] = masked_fill(out, over, 0);
    state = {where(over, state.h, out), where(over, state.c, next.c)};
  }
  const Tensor output = steps == 0 ? zeros({0, batch, h}, x.dtype()) : stack(outputs);
  return {output, state.h, state.c};
}

RecurrentResult HighwayLSTM::operator()(const Tensor& input, const LstmState& initial, const Tensor& lengths,
                                        Here here) const {
  const Scope scope(*this, "HighwayLSTM", here);
  const Tensors in = scope.in(Tensors{input, initial.h, initial.c});
  const Op op{"HighwayLSTM", here};
  op.check_floating(in[0]);
  if (in[0].rank() != 3 || in[0].size(2) != in_)
    op.fail_shape("x " + in[0].shape().str() + " must be [B, T, " + std::to_string(in_) + "]");
  const std::int64_t batch = in[0].size(0), steps = in[0].size(1), count = static_cast<std::int64_t>(cells_.size());
  if (lengths.defined()) {
    if (!is_integer(lengths.dtype()))
      op.fail_dtype(std::string("lengths must be integers, got ") + name_of(lengths.dtype()));
    if (lengths.shape() != Shape{batch})
      op.fail_shape("lengths " + lengths.shape().str() + " must be [" + std::to_string(batch) + "]");
    for (const std::int64_t n : lengths.to_vector<std::int64_t>())
      if (n < 0 || n > steps)
        op.fail_value("the length " + std::to_string(n) + " is not in [0, " + std::to_string(steps) + "]");
  }
  const auto states = [&](const char* what, const Tensor& s) {
    if (!s.defined()) return Tensors(cells_.size());
    op.check_same_dtype(in[0], s);
    if (const Shape fits{count, batch, hidden_}; s.shape() != fits)
      op.fail_shape(std::string(what) + " " + s.shape().str() + " must be " + fits.str());
    return unbind(s, 0);
  };
  const Tensors h0 = states("h0", in[1]), c0 = states("c0", in[2]);
  Tensor x = detail::without_padding(transpose(in[0], 0, 1), lengths);
  Tensors hs, cs;
  for (std::size_t i = 0; i < cells_.size(); i += 2) {
    Tensors outputs;
    for (std::size_t way = 0; way < 2; ++way) {
      const RecurrentResult r = one_way(x, {h0[i + way], c0[i + way]}, cells_[i + way], way == 1, lengths);
      outputs.push_back(r.output);
      hs.push_back(r.h);
      cs.push_back(r.c);
    }
    x = cat(outputs, 2);
    if (dropout_ && i + 2 < cells_.size()) x = (*dropout_)(x);
  }
  RecurrentResult r{transpose(x, 0, 1), stack(hs), stack(cs)};
  scope.out_parts(r.output, r.h, r.c);
  return r;
}

}  // namespace attune::nn
