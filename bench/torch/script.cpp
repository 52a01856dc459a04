// examples/minimal.cpp as a user of PyTorch's C++ library writes it: `./dev bench script` compiles and links both.
#include <torch/torch.h>

#include <cstdio>

struct Mlp : torch::nn::Module {
  Mlp() {
    up = register_module("up", torch::nn::Linear(2, 64));
    down = register_module("down", torch::nn::Linear(64, 2));
  }
  torch::Tensor forward(const torch::Tensor& x) { return down(torch::gelu(up(x))); }
  torch::nn::Linear up{nullptr}, down{nullptr};
};

int main() {
  torch::manual_seed(1);
  Mlp model;
  torch::optim::AdamW opt(model.parameters(), torch::optim::AdamWOptions(1e-2));
  for (int step = 1; step <= 400; ++step) {
    torch::Tensor x = 4 * torch::rand({256, 2}) - 2;
    torch::Tensor inside = x.square().sum(1).lt(2).to(torch::kInt64);
    torch::Tensor loss = torch::nn::functional::cross_entropy(model.forward(x), inside);
    opt.zero_grad();
    loss.backward();
    opt.step();
    double accuracy = model.forward(x).argmax(1).eq(inside).to(torch::kFloat32).mean().item<double>();
    if (step % 100 == 0)
      std::printf("step %3d  loss %.3f  accuracy %.1f %%\n", step, loss.item<double>(), 100 * accuracy);
  }
}
