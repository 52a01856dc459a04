// A tour of the chain rule, for docs/tours/mlp.md: a value used twice, a network, a NaN, float32's differences.
#include <cstdio>
#include <iostream>

#include "autograd/trace/explain.h"
#include "nn/nn.h"

using namespace attune;

struct Mlp : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 3);
  nn::Linear& down = child<nn::Linear>("down", 3, 1);
  nn::Parameter& spare = parameter("spare", zeros({2}));  // no value of it reaches the loss
  Tensor hidden;
  Tensor operator()(const Tensor& x) {
    hidden = relu(up(x));
    return down(hidden);
  }
};

int main() {
  const Tracing on;
  // Passes 1 to 3: a value used twice, a second backward pass, and a sum in the product's place.
  Tensor a = tensor(-4.0).requires_grad_();
  Tensor b = a + a;
  Tensor c = b * b;
  c.backward({.retain_graph = true});
  std::cout << explain(c) << "a.grad() is now " << a.grad().item() << "\n";
  c.backward({.retain_graph = true});
  std::cout << "a.grad() is now " << a.grad().item() << "\n";
  Tensor d = b + b;
  d.backward();

  // Pass 4: a network, for two examples of two numbers.
  Mlp model;
  model.up.weight = tensor({{1.0, 2.0}, {-1.0, 0.5}, {0.5, -2.0}});
  model.up.bias() = tensor({0.5, 0.0, -1.0});
  model.down.weight = tensor({{2.0, -1.0, 4.0}});
  model.down.bias() = tensor({1.0});
  Tensor x = tensor({{1.0, -0.5}, {-2.0, 4.0}});
  Tensor loss = mean(square(model(x) - tensor({{2.0}, {10.0}})));
  model.hidden.retain_grad();
  loss.backward();
  std::cout << "the gradient of spare is " << (model.spare.grad().defined() ? "defined" : "undefined")
            << ", that of up.bias " << model.up.bias().grad() << "\n";

  // Pass 5: the forward pass is fine, the backward pass is not.
  Tensor z = tensor({4.0, 0.25, 0.0}).requires_grad_();
  Tensor root = where(z > 0, sqrt(z), 0.0);
  Tensor total = sum(root);
  total.backward();
  std::cout << "total is " << total << ", its gradient " << z.grad() << "\n";

  // A difference quotient of x^2 at 3, where the derivative is 6.
  for (const double h : {1e-2, 1e-4, 1e-6, 1e-8}) {
    const float low = float(3 - h) * float(3 - h), high = float(3 + h) * float(3 + h);
    const double exact = ((3 + h) * (3 + h) - (3 - h) * (3 - h)) / (2 * h);
    std::printf("h = %.0e: in float32 %9.6f, in float64 %9.6f\n", h, double(high - low) / (2 * h), exact);
  }
}
