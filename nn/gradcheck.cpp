#include "nn/gradcheck.h"

#include "autograd/tape/modes.h"
#include "autograd/tape/replay.h"

namespace attune::nn {

std::string gradcheck(Module& module, const Function& run, const Tensors& inputs, const GradcheckOptions& options,
                      Here here) {
  Tensors arguments;
  GradcheckOptions named = options;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    const bool floating = x.defined() && is_floating(x.dtype());
    arguments.push_back(floating ? x.detach().requires_grad_() : x);
    if (named.names.size() <= i) named.names.push_back("input " + std::to_string(i));
  }
  for (const auto& [name, p] : module.named_parameters()) {
    arguments.push_back(p);
    named.names.push_back(name);
  }
  const auto n = static_cast<std::ptrdiff_t>(inputs.size());
  ReplayLog log;
  {
    const EnableGrad on;  // the call may take gradients itself
    const ReplayLog::Recording recording(log);
    run(Tensors(arguments.begin(), arguments.begin() + n));
  }
  return attune::gradcheck(
      [&](const Tensors& in) {
        const ReplayLog::Replaying replay(log);
        return module.with_parameters(Tensors(in.begin() + n, in.end()),
                                      [&] { return run(Tensors(in.begin(), in.begin() + n)); });
      },
      arguments, named, here);
}

}  // namespace attune::nn
