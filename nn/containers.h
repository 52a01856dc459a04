// Modules of modules.
#pragma once

#include <functional>
#include <type_traits>

#include "autograd/runtime/error.h"
#include "nn/module.h"

namespace attune::nn {

/// Modules that map a tensor to a tensor, applied one after another; children are named "0", "1", ...
///
///     nn::Sequential mlp;
///     mlp.add<nn::Linear>(784, 256);
///     mlp.add<nn::ReLU>();
///     mlp.add<nn::Linear>(256, 10);
class Sequential : public Module {
 public:
  /// Appends a module made of these arguments and returns it.
  template <class M, class... Args>
  M& add(Args&&... args) {
    static_assert(std::is_invocable_r_v<Tensor, M&, const Tensor&>, "a step maps a tensor to a tensor");
    M& m = child<M>({std::to_string(steps_.size()), Here{}}, std::forward<Args>(args)...);
    // A user's module need not take a call site.
    if constexpr (std::is_invocable_r_v<Tensor, M&, const Tensor&, Here>)
      steps_.push_back([&m](const Tensor& x) { return m(x, Here{}); });
    else
      steps_.push_back([&m](const Tensor& x) { return m(x); });
    return m;
  }
  std::size_t size() const { return steps_.size(); }
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::vector<std::function<Tensor(const Tensor&)>> steps_;
};

/// Modules of one type, named "0", "1", ...
template <class M>
class ModuleList : public Module {
 public:
  template <class... Args>
  M& add(Args&&... args) {
    items_.push_back(&child<M>({std::to_string(items_.size()), Here{}}, std::forward<Args>(args)...));
    return *items_.back();
  }
  std::size_t size() const { return items_.size(); }
  /// Throws IndexError.
  M& operator[](std::size_t i) const {
    if (i >= items_.size())
      throw IndexError("ModuleList: " + std::to_string(i) + " is out of range for " + std::to_string(items_.size()) +
                       " modules");
    return *items_[i];
  }
  auto begin() const { return items_.begin(); }  ///< of pointers
  auto end() const { return items_.end(); }

 private:
  std::vector<M*> items_;
};

}  // namespace attune::nn
