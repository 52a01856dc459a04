#include "nn/layers/reversible.h"

#include <algorithm>
#include <unordered_map>

#include "autograd/ops/elementwise.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"
#include "autograd/tape/replay.h"

namespace attune::nn {

namespace {

/// The random numbers and choices of a block's two functions.
struct BlockLog {
  ReplayLog f, g;
};

/// What the sweep through one function gives: its value at x, and the gradients of <f(x), dy> with respect to x and the
/// parameters.
struct Pulled {
  Tensor value, dx;
  Tensors dparameters;
};

Pulled pull(const std::function<Tensor(const Tensor&)>& f, const std::vector<Tensor>& parameters, const ReplayLog& log,
            const Tensor& at, const Tensor& dy) {
  const bool recorded = grad_enabled();  // the sweep itself is recorded: x is then on the tape of the outputs
  const EnableGrad on;
  const Tensor x = recorded && at.requires_grad() ? at : at.detach().requires_grad_();
  Tensor y;
  {
    const ReplayLog::Replaying replay(log);
    y = f(x);
    Tensors listed = parameters;
    listed.push_back(x);
    replay.check_inputs({y}, listed, "reversible_blocks: a block", "its parameters");
  }
  Pulled p{recorded ? y : y.detach(), {}, Tensors(parameters.size())};
  if (!y.requires_grad()) return p;
  Tensors wanted{x};
  for (const Tensor& w : parameters)
    if (w.requires_grad()) wanted.push_back(w);
  const Tensors found =
      grad({y}, wanted, {.cotangents = {dy}, .create_graph = recorded, .allow_unused = true, .independent = true});
  p.dx = found[0];
  for (std::size_t i = 0, next = 1; i < parameters.size(); ++i)
    if (parameters[i].requires_grad()) p.dparameters[i] = found[next++];
  return p;
}

Tensor plus(const Tensor& a, const Tensor& b) { return b.defined() ? a + b : a; }

TwoStreams forward(const std::vector<ReversibleBlock>& blocks, const TwoStreams& x, std::vector<BlockLog>& logs) {
  const NoGrad off;
  TwoStreams y{x.first.detach(), x.second.detach()};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    {
      const ReplayLog::Recording recording(logs[i].f);
      y.first = y.first + blocks[i].f(y.second);
    }
    const ReplayLog::Recording recording(logs[i].g);
    y.second = y.second + blocks[i].g(y.first);
  }
  return y;
}

/// What the backward pass needs beside the outputs and their gradients.
struct Stack {
  std::vector<ReversibleBlock> blocks;
  std::vector<BlockLog> logs;                          // of each block
  std::vector<Saved> parameters;                       // the inputs from the third on
  std::unordered_map<const Node*, std::size_t> place;  // of a parameter among the inputs
};

/// The gradients of the inputs x1, x2 and all parameters, block by block from the last.
Tensors backward(const Stack& stack, const TwoStreams& y, const TwoStreams& dy) {
  for (const Saved& p : stack.parameters) p.get();  // refuses those that were changed in between
  Tensors dxs(2 + stack.parameters.size());
  const auto give = [&](const std::vector<Tensor>& parameters, const Tensors& found) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!found[i].defined()) continue;
      Tensor& total = dxs[stack.place.at(parameters[i].node())];
      total = total.defined() ? total + found[i] : found[i];
    }
  };
  Tensor z1 = y.first, z2 = y.second, d1 = dy.first, d2 = dy.second;
  for (std::size_t i = stack.blocks.size(); i-- > 0;) {
    const ReversibleBlock& block = stack.blocks[i];
    const Pulled g = pull(block.g, block.g_parameters, stack.logs[i].g, z1, d2);
    z2 = z2 - g.value;
    d1 = plus(d1, g.dx);
    give(block.g_parameters, g.dparameters);
    const Pulled f = pull(block.f, block.f_parameters, stack.logs[i].f, z2, d1);
    z1 = z1 - f.value;
    d2 = plus(d2, f.dx);
    give(block.f_parameters, f.dparameters);
  }
  dxs[0] = d1;
  dxs[1] = d2;
  return dxs;
}

/// The stack as one operation; the inputs are x1, x2 and all parameters, each once.
Tensors run_stack(const Tensors& inputs, const std::vector<ReversibleBlock>& blocks, Here here) {
  const Op op{"reversible_blocks", here};
  auto stack = std::make_shared<Stack>();
  stack->logs.resize(blocks.size());
  const TwoStreams y = forward(blocks, {inputs[0], inputs[1]}, stack->logs);
  for (std::size_t i = 2; i < inputs.size(); ++i) {
    stack->parameters.emplace_back(inputs[i]);
    if (inputs[i].node()) stack->place.emplace(inputs[i].node(), i);
  }
  // The node holds the parameters without their gradients, which may have been computed by it.
  stack->blocks = blocks;
  for (ReversibleBlock& block : stack->blocks)
    for (std::vector<Tensor>* parameters : {&block.f_parameters, &block.g_parameters})
      for (Tensor& p : *parameters) p = Saved(p);
  Tensors results =
      op.record_joint(Tensors{y.first, y.second}, of<run_stack>(inputs, stack->blocks),
                      "block by block from the last: x2 = y2 - G(y1), x1 = y1 - F(x2), and their gradients",
                      [stack](const Tensors& dys, const Needs&, const Tensors& ys) {
                        return backward(*stack, {ys[0], ys[1]}, {dys[0], dys[1]});
                      });
  forget_replay(results);
  return results;
}

}  // namespace

TwoStreams reversible_blocks(const std::vector<ReversibleBlock>& blocks, const TwoStreams& x, bool reversible,
                             Here here) {
  const Op op{"reversible_blocks", here};
  op.check_same_dtype(x.first, x.second);
  if (x.first.shape() != x.second.shape())
    op.fail_shape("the streams differ: " + x.first.shape().str() + " and " + x.second.shape().str());
  if (!reversible) {
    TwoStreams y = x;
    for (const ReversibleBlock& block : blocks) {
      y.first = y.first + block.f(y.second);
      y.second = y.second + block.g(y.first);
    }
    return y;
  }
  Tensors inputs{x.first, x.second};
  const auto add_once = [&](const std::vector<Tensor>& parameters) {
    for (const Tensor& p : parameters)
      if (std::none_of(inputs.begin() + 2, inputs.end(), [&](const Tensor& known) { return known.impl() == p.impl(); }))
        inputs.push_back(p);
  };
  for (const ReversibleBlock& block : blocks) {
    add_once(block.f_parameters);
    add_once(block.g_parameters);
  }
  const Tensors y = run_stack(inputs, blocks, here);
  return {y[0], y[1]};
}

}  // namespace attune::nn
