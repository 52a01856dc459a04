#include "autograd/ops/recurrent.h"

#include "autograd/kernels/recurrent.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::with_floating;
using kernels::Cell;

namespace {

/// What a recurrence is, apart from its tensors.
struct Spec {
  Cell cell = Cell::tanh;
  bool reverse = false;
  double cell_clip = 0, projection_clip = 0;

  const char* name() const { return cell == Cell::lstm ? "lstm" : cell == Cell::gru ? "gru" : "rnn"; }
};

/// The differentiable inputs, undefined where there is none.
enum In : std::size_t { x_, h0_, c0_, w_hh_, b_hh_, w_hr_, inputs_end };

Tensors dense_all(const Tensors& xs) {
  Tensors out;
  for (const Tensor& x : xs) out.push_back(dense(x));
  return out;
}

/// `in` dense.
template <class T>
kernels::Recurrence<T> plan_of(const Tensors& in, const Tensor& lengths, const Spec& spec) {
  return {.cell = spec.cell,
          .steps = in[x_].size(0),
          .batch = in[x_].size(1),
          .hidden = in[w_hh_].size(0) / kernels::gates_of(spec.cell),
          .projected = in[w_hr_].defined() ? in[w_hr_].size(0) : 0,
          .reverse = spec.reverse,
          .lengths = elements<const std::int64_t>(lengths),
          .cell_clip = static_cast<T>(spec.cell_clip),
          .projection_clip = static_cast<T>(spec.projection_clip),
          .x = elements<const T>(in[x_]),
          .h0 = elements<const T>(in[h0_]),
          .c0 = elements<const T>(in[c0_]),
          .w_hh = elements<const T>(in[w_hh_]),
          .b_hh = elements<const T>(in[b_hh_]),
          .w_hr = elements<const T>(in[w_hr_])};
}

/// h and, for an LSTM, c after one step: the formulas.
LstmState plain_step(const Spec& spec, const Tensor& x, const Tensor& h, const Tensor& c, const Tensors& in) {
  Tensor hw = matmul(h, transpose(in[w_hh_]));
  if (in[b_hh_].defined()) hw = hw + in[b_hh_];
  if (spec.cell == Cell::tanh) return {tanh(x + hw), c};
  if (spec.cell == Cell::relu) return {relu(x + hw), c};
  if (spec.cell == Cell::gru) {
    const Tensors a = chunk(x, 3, 1), b = chunk(hw, 3, 1);
    const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]), n = tanh(a[2] + r * b[2]);
    return {(1 - z) * n + z * h, c};
  }
  const Tensors gates = chunk(x + hw, 4, 1);
  Tensor cell = sigmoid(gates[1]) * c + sigmoid(gates[0]) * tanh(gates[2]);
  if (spec.cell_clip > 0) cell = clamp(cell, -spec.cell_clip, spec.cell_clip);
  Tensor state = sigmoid(gates[3]) * tanh(cell);
  if (in[w_hr_].defined()) state = matmul(state, transpose(in[w_hr_]));
  if (spec.projection_clip > 0) state = clamp(state, -spec.projection_clip, spec.projection_clip);
  return {state, cell};
}

/// y, h and c of the plain composition.
Tensors recurrent_composed(const Tensors& in, const Tensor& lengths, const Spec& spec, Here here) {
  const Op op{"recurrent_composed", here};
  const std::int64_t steps = in[x_].size(0);
  LstmState now{in[h0_], in[c0_]};
  const Tensors xs = unbind(in[x_], 0);
  Tensors ys(xs.size());
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t t = spec.reverse ? steps - 1 - i : i;
    const auto at = static_cast<std::size_t>(t);
    const LstmState next = plain_step(spec, xs[at], now.h, now.c, in);
    if (!lengths.defined()) {
      ys[at] = next.h;
      now = next;
      continue;
    }
    const Tensor valid = unsqueeze(gt(lengths, t), 1);
    ys[at] = where(valid, next.h, zeros_like(next.h));
    now = {where(valid, next.h, now.h), now.c.defined() ? where(valid, next.c, now.c) : now.c};
  }
  Tensors out{steps == 0 ? zeros({0, now.h.size(0), now.h.size(1)}, now.h.dtype()) : stack(ys), now.h};
  if (now.c.defined()) out.push_back(now.c);
  return out;
}

/// The defined ones of `all`.
Tensors defined_ones(const Tensors& all) {
  Tensors out;
  for (const Tensor& t : all)
    if (t.defined()) out.push_back(t);
  return out;
}

/// Undoes defined_ones() for a list whose defined places are `present`.
Tensors spread(const Tensors& found, const std::vector<bool>& present) {
  Tensors out(present.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < present.size(); ++i)
    if (present[i]) out[i] = found[at++];
  return out;
}

std::vector<bool> pattern_of(const Tensors& xs) {
  std::vector<bool> present;
  for (const Tensor& x : xs) present.push_back(x.defined());
  return present;
}

Tensors get_all(const std::vector<Saved>& saved) {
  Tensors out;
  for (const Saved& s : saved) out.push_back(s.get());
  return out;
}
std::vector<Saved> save_all(const Tensors& xs) { return {xs.begin(), xs.end()}; }

/// Gradients of the inputs that are `wanted` (x's, h0's and c0's come in any case); dys are those of y, h and c.
Tensors recurrent_grad(const Tensors& in, const Tensors& dys, const Tensor& y, const Tensor& kept,
                       const Tensor& lengths, const Spec& spec, const std::vector<bool>& wanted, Here here) {
  const Op op{"recurrent_grad", here};
  const Tensors values = dense_all(in), gs = dense_all(dys);
  Tensors dxs(inputs_end);
  for (std::size_t i = 0; i < inputs_end; ++i)
    if (in[i].defined() && (i < w_hh_ || wanted[i])) dxs[i] = op.empty_like(in[i]);
  with_floating(y.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::Recurrence<T> r = plan_of<T>(values, lengths, spec);
    const Tensor outputs = dense(y);
    r.y = elements<T>(outputs);
    r.kept = elements<T>(kept);
    const kernels::RecurrenceGrad<T> g{.dy = elements<const T>(gs[0]),
                                       .dx = elements<T>(dxs[x_]),
                                       .dh = elements<T>(dxs[h0_]),
                                       .dc = elements<T>(dxs[c0_]),
                                       .dw_hh = elements<T>(dxs[w_hh_]),
                                       .db_hh = elements<T>(dxs[b_hh_]),
                                       .dw_hr = elements<T>(dxs[w_hr_])};
    std::copy_n(elements<const T>(gs[1]), gs[1].numel(), g.dh);
    if (g.dc) std::copy_n(elements<const T>(gs[2]), gs[2].numel(), g.dc);
    kernels::recurrent_grad(r, g);
  });
  const std::vector<bool> present = pattern_of(dxs);
  // For second derivatives: y and what was kept are functions of the inputs, so the composed form takes no notice.
  const Tensors out = op.record_joint(
      defined_ones(dxs), of<recurrent_grad>(in, dys, y.detach(), kept, lengths, spec, wanted),
      "differentiates the composed form",
      [in = save_all(in), dys = save_all(dys), lengths, spec, present](const Tensors& cotangents, const Needs&) {
        const Tensors xs = get_all(in), gs_ = get_all(dys);
        const std::vector<bool> given = pattern_of(xs);
        Tensors all = defined_ones(xs);
        const std::size_t count = all.size();
        all.insert(all.end(), gs_.begin(), gs_.end());
        const Tensors found = detail::differentiate_composition(
            [&](const Tensors& now) {
              const auto middle = now.begin() + static_cast<std::ptrdiff_t>(count);
              const Tensors inputs = spread(Tensors(now.begin(), middle), given);
              const Tensors ys = recurrent_composed(inputs, lengths, spec, {});
              Tensors wanted_now, outputs, cots;
              for (std::size_t i = 0; i < present.size(); ++i)
                if (present[i]) wanted_now.push_back(inputs[i]);
              for (std::size_t i = 0; i < ys.size(); ++i)
                if (ys[i].requires_grad()) {
                  outputs.push_back(ys[i]);
                  cots.push_back(middle[static_cast<std::ptrdiff_t>(i)]);
                }
              return grad(outputs, wanted_now, {.cotangents = cots, .create_graph = true, .allow_unused = true});
            },
            all, cotangents);
        Tensors dins = spread(Tensors(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count)), given);
        dins.insert(dins.end(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end());
        return dins;
      });
  return spread(out, present);
}

/// The recorded operation: y, h and, for an LSTM, c.
Tensors recurrent(const Tensors& in, const Tensor& lengths, const Spec& spec, Here here) {
  const Op op{spec.name(), here};
  const std::int64_t steps = in[x_].size(0), batch = in[x_].size(1);
  const std::int64_t hidden = in[w_hh_].size(0) / kernels::gates_of(spec.cell);
  const DType dtype = in[x_].dtype();
  bool recorded = false;
  for (const Tensor& x : in) recorded |= grad_enabled() && x.defined() && x.requires_grad();
  const Tensors values = dense_all(in);
  Tensors ys{op.empty({steps, batch, in[h0_].size(1)}, dtype), op.empty_like(in[h0_])};
  if (spec.cell == Cell::lstm) ys.push_back(op.empty_like(in[c0_]));
  const std::int64_t keeps = kernels::kept_of(spec.cell) * hidden;
  const Tensor kept = recorded && keeps > 0 ? op.empty({steps, batch, keeps}, dtype) : Tensor();
  with_floating(dtype, [&](auto zero) {
    using T = decltype(zero);
    kernels::Recurrence<T> r = plan_of<T>(values, lengths, spec);
    r.y = elements<T>(ys[0]);
    r.kept = elements<T>(kept);
    kernels::recurrent(r, elements<T>(ys[1]), ys.size() > 2 ? elements<T>(ys[2]) : nullptr);
  });
  static constexpr const char* rules[] = {
      "dz = (dh + dy) f'(y), dh = dz w, dw = dz^T h, back through the steps",
      "dz = (dh + dy) f'(y), dh = dz w, dw = dz^T h, back through the steps",
      "dn = (1 - z) dh, dz = (h - n) dh, dr = (h w_n) dn through their activations, dh = z dh + dgates w, back through "
      "the steps",
      "dc = o (1 - tanh^2 c) dh + f dc, dgates = (g dc, c dc, i dc, tanh(c) dh) through their activations, dh = dgates "
      "w, back through the steps"};
  return op.record_joint(
      std::move(ys), of<recurrent, recurrent_composed>(in, lengths, spec), rules[static_cast<int>(spec.cell)],
      [in = save_all(in), kept, lengths, spec](const Tensors& dys, const Needs& needs, const Tensors& outputs) {
        std::vector<bool> wanted;
        for (std::size_t i = 0; i < inputs_end; ++i) wanted.push_back(needs[i]);
        return recurrent_grad(get_all(in), dys, outputs[0].detach(), kept, lengths, spec, wanted, {});
      });
}

// ---- checks

std::string sizes(std::int64_t a, std::int64_t b) { return Shape{a, b}.str(); }

void check_shape(const Op& op, const char* what, const Tensor& t, const Shape& fits, const char* other,
                 const Tensor& like) {
  op.check_same_dtype(like, t);
  if (t.shape() != fits)
    op.fail_shape(std::string(what) + " " + t.shape().str() + " must be " + fits.str() + " for " + other + " " +
                  like.shape().str());
}

/// [B] int64, a copy.
Tensor checked_lengths(const Op& op, const Tensor& lengths, std::int64_t steps, std::int64_t batch) {
  if (!lengths.defined()) return {};
  if (!is_integer(lengths.dtype()))
    op.fail_dtype(std::string("lengths must be integers, got ") + name_of(lengths.dtype()));
  if (lengths.shape() != Shape{batch})
    op.fail_shape("lengths " + lengths.shape().str() + " must be " + Shape{batch}.str());
  const std::vector<std::int64_t> values = lengths.to_vector<std::int64_t>();
  for (std::int64_t n : values)
    if (n < 0 || n > steps)
      op.fail_value("the length " + std::to_string(n) + " is not in [0, " + std::to_string(steps) + "]");
  return index_tensor(values);
}

enum class Form { sequence, step };  // x [T, B, gates] or [B, gates]

RecurrentResult run(const Op& op, Cell cell, Form form_of_x, const Tensor& x, const Tensor& h0, const Tensor& c0,
                    const Tensor& w_hh, const Tensor& b_hh, const Tensor& w_hr, const RecurrentCall& o) {
  const bool step = form_of_x == Form::step;
  op.check_floating(x);
  op.check_same_dtype(x, w_hh);
  const std::int64_t gates = kernels::gates_of(cell);
  const char* const form = cell == Cell::lstm ? "[4 H, P]" : cell == Cell::gru ? "[3 H, H]" : "[H, H]";
  if (w_hh.rank() != 2 || w_hh.size(0) < gates || w_hh.size(0) % gates != 0 || w_hh.size(1) < 1)
    op.fail_shape("w_hh " + w_hh.shape().str() + " must be " + form);
  const std::int64_t hidden = w_hh.size(0) / gates, state = w_hh.size(1);
  if (!w_hr.defined() && state != hidden)
    op.fail_shape("w_hh " + w_hh.shape().str() + " must be " + sizes(gates * hidden, hidden) +
                  (cell == Cell::lstm ? " where there is no w_hr" : ""));
  if (x.rank() != (step ? 2 : 3) || x.size(-1) != gates * hidden)
    op.fail_shape("x " + x.shape().str() + " must be " + (step ? "[B, " : "[T, B, ") + std::to_string(gates * hidden) +
                  "] for w_hh " + w_hh.shape().str());
  const std::int64_t batch = x.size(-2);
  if (b_hh.defined()) check_shape(op, "b_hh", b_hh, {gates * hidden}, "w_hh", w_hh);
  if (w_hr.defined()) check_shape(op, "w_hr", w_hr, {state, hidden}, "w_hh", w_hh);
  if (h0.defined()) check_shape(op, step ? "h" : "h0", h0, {batch, state}, "x", x);
  if (c0.defined()) check_shape(op, step ? "c" : "c0", c0, {batch, hidden}, "x", x);
  if (!(o.cell_clip >= 0 && o.projection_clip >= 0)) op.fail_value("clips must not be negative");
  if (o.cell_clip > 0 && cell != Cell::lstm) op.fail_value("cell_clip is for an lstm");
  if (o.projection_clip > 0 && !w_hr.defined()) op.fail_value("projection_clip needs w_hr");
  const Spec spec{cell, o.reverse, o.cell_clip, o.projection_clip};
  const bool has_cell = cell == Cell::lstm;
  const Tensors in{step ? unsqueeze(x, 0) : x,
                   h0.defined() ? h0 : zeros({batch, state}, x.dtype()),
                   has_cell && !c0.defined() ? zeros({batch, hidden}, x.dtype()) : c0,
                   w_hh,
                   b_hh,
                   w_hr};
  const Tensors out = recurrent(in, checked_lengths(op, o.lengths, step ? 1 : x.size(0), batch), spec, {});
  return {out[0], out[1], has_cell ? out[2] : Tensor()};
}

Cell cell_of(const Op& op, Activation f) {
  if (f != Activation::tanh && f != Activation::relu) op.fail_value("the activation must be tanh or relu");
  return f == Activation::tanh ? Cell::tanh : Cell::relu;
}

}  // namespace

RecurrentResult lstm(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh,
                     const Tensor& w_hr, const RecurrentCall& o, Here here) {
  const Op op{"lstm", here};
  return run(op, Cell::lstm, Form::sequence, x, h0, c0, w_hh, b_hh, w_hr, o);
}

RecurrentResult gru(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh, const RecurrentCall& o,
                    Here here) {
  const Op op{"gru", here};
  return run(op, Cell::gru, Form::sequence, x, h0, {}, w_hh, b_hh, {}, o);
}

RecurrentResult rnn(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh, Activation f,
                    const RecurrentCall& o, Here here) {
  const Op op{"rnn", here};
  return run(op, cell_of(op, f), Form::sequence, x, h0, {}, w_hh, b_hh, {}, o);
}

LstmState lstm_cell(const Tensor& x, const LstmState& state, const Tensor& w_hh, const Tensor& b_hh, const Tensor& w_hr,
                    const RecurrentCall& o, Here here) {
  const Op op{"lstm_cell", here};
  const RecurrentResult r = run(op, Cell::lstm, Form::step, x, state.h, state.c, w_hh, b_hh, w_hr, o);
  return {r.h, r.c};
}

Tensor gru_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh, Here here) {
  const Op op{"gru_cell", here};
  return run(op, Cell::gru, Form::step, x, h, {}, w_hh, b_hh, {}, {}).h;
}

Tensor rnn_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh, Activation f, Here here) {
  const Op op{"rnn_cell", here};
  return run(op, cell_of(op, f), Form::step, x, h, {}, w_hh, b_hh, {}, {}).h;
}

}  // namespace attune
