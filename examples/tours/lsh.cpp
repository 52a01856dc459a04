// A tour of attention by hashing, for docs/tours/lsh.md: a hash, two rounds combined by hand, and the fused operation.
#include <cmath>
#include <iostream>

#include "autograd/trace/recorder.h"
#include "nn/nn.h"

using namespace attune;

int main() {
  // Pass 1: the bucket of x is the number of the direction along which it lies most: right, up, left or down.
  Tensor x = tensor({3.0, -1.0}).requires_grad_();
  Tensor table = tensor({1.0, 5.0, 7.0, 9.0}).requires_grad_();
  Tensor along = matmul(tensor({{1.0, 0.0}, {0.0, 1.0}, {-1.0, 0.0}, {0.0, -1.0}}), x);
  Tensor bucket = argmax(along);
  Tensor row = index_select(table, 0, reshape(bucket, {1}));
  Tensor picked = sum(row * 2);
  picked.backward();
  std::cout << "bucket " << bucket << "; x.grad() is " << (x.grad().defined() ? "defined" : "undefined") << "\n";

  // Pass 2: in one round a query met two keys, in another a third. Its scores are logarithms of 1, 3 and 4.
  Tensor first = tensor({0.0, std::log(3.0)}).requires_grad_();
  Tensor second = tensor({std::log(4.0)}).requires_grad_();
  Tensor output1 = sum(softmax(first) * tensor({8.0, 0.0}));
  Tensor output2 = sum(softmax(second) * tensor({4.0}));
  Tensor sizes = stack({logsumexp(first), logsumexp(second)});
  Tensor rounds = softmax(sizes);
  Tensor output = sum(rounds * stack({output1, output2}));
  output.backward();
  std::cout << "gradients " << first.grad() << " and " << second.grad() << "\n";

  // Pass 3: four words, two rounds of two buckets, chunks of two. Axes: batch, position, head, element.
  Tensor qk = reshape(tensor({{2.0, 1.0}, {-1.0, 2.0}, {2.0, 2.0}, {-2.0, -1.0}}), {1, 4, 1, 2}).requires_grad_();
  Tensor v = reshape(tensor({{8.0, 0.0}, {4.0, -4.0}, {2.0, 0.0}, {0.0, 1.0}}), {1, 4, 1, 2}).requires_grad_();
  name_words(qk, {"the", "cat", "sat", "down"});
  LshOptions options{.hashes = 2, .chunk = 2, .buckets = {2}, .rotations = Rotations::per_layer};
  Tensor rotations = reshape(tensor({{1.0, 0.0}, {0.0, 1.0}}), {2, 2, 1});  // round 1: left or right, 2: up or down
  Tensor buckets = lsh_buckets(qk, rotations, options);
  Tensor seen = lsh_attention(qk, v, buckets, options);
  Tensor loss = sum(seen);
  loss.backward();
  std::cout << "buckets by round " << reshape(buckets, {2, 4}) << "\n";
  std::cout << "who sees whom " << reshape(lsh_attention_weights(qk, buckets, options), {4, 4}) << "\n";
}
