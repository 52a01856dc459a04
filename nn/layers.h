// The small layers: linear, embedding, norms, dropout, softmax, activations, the cross-entropy loss, and containers.
#pragma once

#include <functional>

#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/runtime/philox.h"
#include "nn/module.h"

namespace attune::nn {

struct LinearOptions {
  bool bias = true;
  Activation activation = Activation::none;
};
/// y = activation(x W^T + b): x [..., in], weight [out, in], bias [out], both drawn from U(-1/sqrt(in), 1/sqrt(in)).
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, const LinearOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;
  Tensor& weight;
  Tensor bias() const { return bias_ ? *bias_ : Tensor(); }

 private:
  Tensor* bias_ = nullptr;
  Activation activation_;
};
using Dense = Linear;

struct EmbeddingOptions {
  std::int64_t padding_index = -1;  ///< a row that starts as zeros and gets no gradient; -1: none
};
/// Rows of weight [n, d], drawn from N(0, 1), at int64 indices of any shape.
class Embedding : public Module {
 public:
  Embedding(std::int64_t n, std::int64_t d, const EmbeddingOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& indices, Here here = Here::current()) const;
  Tensor& weight;

 private:
  std::int64_t padding_index_;
};

struct LayerNormOptions {
  double eps = 1e-5;
  bool affine = true;  ///< weight (ones) and bias (zeros)
  bool bias = true;
};
/// Layer normalisation over the last axes, which have the sizes `shape`.
class LayerNorm : public Module {
 public:
  LayerNorm(const Shape& shape, const LayerNormOptions& options = {});
  LayerNorm(std::int64_t d, const LayerNormOptions& options = {}) : LayerNorm(Shape{d}, options) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  Shape shape_;
  double eps_;
  Tensor *weight_ = nullptr, *bias_ = nullptr;
};

/// Root-mean-square normalisation over the last axis, of size d, with a weight (ones).
class RMSNorm : public Module {
 public:
  explicit RMSNorm(std::int64_t d, double eps = 1e-6);
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;
  Tensor& weight;

 private:
  double eps_;
};

/// Zeroes with probability p while training; the identity in evaluation.
class Dropout : public Module {
 public:
  explicit Dropout(double p, Generator& g = default_generator(), Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;
  double p() const { return p_; }

 private:
  double p_;
  Generator* generator_;
};

class Softmax : public Module {
 public:
  explicit Softmax(int axis = -1) : axis_(axis) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  int axis_;
};

/// An activation as a module, for containers.
class Activate : public Module {
 public:
  explicit Activate(Activation f) : f_(f) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  Activation f_;
};
struct ReLU : Activate {
  ReLU() : Activate(Activation::relu) {}
};
struct GELU : Activate {
  GELU() : Activate(Activation::gelu) {}
};
struct GELUTanh : Activate {
  GELUTanh() : Activate(Activation::gelu_tanh) {}
};
struct SiLU : Activate {
  SiLU() : Activate(Activation::silu) {}
};
struct Tanh : Activate {
  Tanh() : Activate(Activation::tanh) {}
};
struct Sigmoid : Activate {
  Sigmoid() : Activate(Activation::sigmoid) {}
};

/// The function behind an activation's name; the identity for none.
Tensor activate(const Tensor& x, Activation f, Here here = Here::current());

class CrossEntropyLoss : public Module {
 public:
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {}) : options_(options) {}
  Tensor operator()(const Tensor& logits, const Tensor& target, Here here = Here::current()) const;

 private:
  CrossEntropyOptions options_;
};

/// Modules that map a tensor to a tensor, applied one after another; children are named "0", "1", ...
class Sequential : public Module {
 public:
  /// Appends a module made of these arguments and returns it.
  template <class M, class... Args>
  M& add(Args&&... args) {
    M& m = child<M>(std::to_string(steps_.size()), std::forward<Args>(args)...);
    steps_.push_back([&m](const Tensor& x, Here here) { return m(x, here); });
    return m;
  }
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::vector<std::function<Tensor(const Tensor&, Here)>> steps_;
};

/// Modules of one type, named "0", "1", ...
template <class M>
class ModuleList : public Module {
 public:
  template <class... Args>
  M& add(Args&&... args) {
    items_.push_back(&child<M>(std::to_string(items_.size()), std::forward<Args>(args)...));
    return *items_.back();
  }
  std::size_t size() const { return items_.size(); }
  M& operator[](std::size_t i) const { return *items_.at(i); }
  auto begin() const { return items_.begin(); }  ///< of pointers
  auto end() const { return items_.end(); }

 private:
  std::vector<M*> items_;
};

}  // namespace attune::nn
