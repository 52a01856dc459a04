#include "autograd/tape/checkpoint.h"

#include <algorithm>

#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"
#include "autograd/tape/replay.h"

namespace attune {

namespace {

using Body = std::function<Tensors(const Tensors&)>;

/// What f runs on: a leaf itself, since f may reach parameters by another way than its arguments; for a tensor that was
/// recorded, a leaf of its value.
Tensor own_leaf(const Tensor& x) {
  return x.defined() && x.requires_grad() && !x.is_leaf() ? x.detach().requires_grad_() : x;
}

Tensors run_again(const Body& f, const std::vector<Saved>& saved, const ReplayLog& log, const Tensors& dys,
                  const Needs& needs) {
  const bool recorded =
      grad_enabled();  // the sweep itself is being recorded: higher derivatives go through the original inputs
  const EnableGrad on;
  Tensors inputs;
  for (const Saved& s : saved) {
    const Tensor& x = s.get();
    inputs.push_back(recorded ? x : own_leaf(x));
  }
  Tensors outputs;
  {
    const ReplayLog::Replaying replay(log);
    outputs = f(inputs);
    replay.check_inputs(outputs, inputs, "checkpoint: the function", "the inputs");
    replay.check_results(outputs, 1e-3, "checkpoint: the function");
  }
  Tensors ys, cotangents, wanted;
  for (std::size_t i = 0; i < outputs.size() && i < dys.size(); ++i)
    if (outputs[i].requires_grad()) {
      ys.push_back(outputs[i]);
      cotangents.push_back(dys[i]);
    }
  // A tensor that stands twice among the inputs gets its whole gradient in its first place.
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!needs[i]) continue;
    const auto same = [&](const Tensor& x) { return x.node() == inputs[i].node() && x.slot() == inputs[i].slot(); };
    if (std::any_of(wanted.begin(), wanted.end(), same)) continue;
    places.push_back(i);
    wanted.push_back(inputs[i]);
  }
  Tensors dxs(inputs.size());
  if (ys.empty()) return dxs;
  const Tensors found =
      grad(ys, wanted, {.cotangents = cotangents, .create_graph = recorded, .allow_unused = true, .independent = true});
  for (std::size_t i = 0; i < places.size(); ++i) dxs[places[i]] = found[i];
  return dxs;
}

}  // namespace

Tensors checkpoint(Body f, const Tensors& inputs, Here here) {
  const Op op{"checkpoint", here};
  ReplayLog log;
  Tensors ys;
  {
    // f may ask for gradients itself, and so has a tape of its own, which goes when it returns.
    Tensors leaves;
    for (const Tensor& x : inputs) leaves.push_back(own_leaf(x));
    const ReplayLog::Recording recording(log);
    for (const Tensor& y : f(leaves)) ys.push_back(y.detach());
  }
  log.sample(ys);
  std::vector<Saved> saved;
  for (const Tensor& x : inputs) saved.emplace_back(x);
  ys = op.record_joint(std::move(ys), of<checkpoint>(f, inputs), "runs the block again, with gradients",
                       [f, saved = std::move(saved), log = std::move(log)](const Tensors& dys, const Needs& needs) {
                         return run_again(f, saved, log, dys, needs);
                       });
  forget_replay(ys);
  return ys;
}

}  // namespace attune
