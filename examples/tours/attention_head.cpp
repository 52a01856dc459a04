// A tour of one attention head, for docs/tours/attention_head.md: by its four lines, then fused, with a causal mask.
#include <cmath>
#include <iostream>

#include "autograd/trace/labels.h"
#include "autograd/trace/recorder.h"
#include "nn/nn.h"

using namespace attune;

struct Head : nn::Module {
  nn::Linear& query = child<nn::Linear>("query", 2, 2, nn::LinearOptions{.bias = false});
  nn::Linear& key = child<nn::Linear>("key", 2, 2, nn::LinearOptions{.bias = false});
  nn::Linear& value = child<nn::Linear>("value", 2, 2, nn::LinearOptions{.bias = false});
  Tensor operator()(const Tensor& x) {
    return scaled_dot_product_attention(query(x), key(x), value(x), {.causal = true}).output;
  }
};

int main() {
  // Pass 1: one query looks at three keys, with weights 1/4, 1/2 and 1/4.
  Tensor q = tensor({{std::sqrt(2.0) * std::log(2.0), 0.0}}).requires_grad_();
  Tensor k = tensor({{0.0, 1.0}, {1.0, 0.0}, {0.0, -1.0}}).requires_grad_();
  Tensor v = tensor({{4.0, 0.0}, {2.0, 2.0}, {0.0, -4.0}}).requires_grad_();
  Tensor products = matmul(q, transpose(k));
  Tensor scores = products / std::sqrt(2.0);
  Tensor weights = softmax(scores);
  Tensor output = matmul(weights, v);
  Tensor loss = sum(output * tensor({{1.0, 0.5}}));
  loss.backward();
  std::cout << "q.grad() is " << q.grad() << "\n";

  // Pass 2: two words look at themselves and back, but not ahead.
  Head head;
  head.query.weight = tensor({{1.0, 0.0}, {0.0, 1.0}});
  head.key.weight = tensor({{1.0, 0.0}, {1.0, 1.0}});
  head.value.weight = tensor({{2.0, 0.0}, {0.0, -1.0}});
  Tensor x = tensor({{1.0, 0.0}, {0.0, 1.0}}).requires_grad_();
  name_words(x, {"the", "cat"});
  Tensor seen = head(x);
  Tensor whole = sum(square(seen));
  whole.backward();
  std::cout << "x.grad() is " << x.grad() << "\n";
}
