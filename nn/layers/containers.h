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
  explicit Sequential(Here here = Here::current()) : Module(here) {}
  /// Appends a module made of these arguments, of which braces are its options, and returns it. Its line, for errors
  /// and parameters, is this one, or that of the outermost module around the container if that one knows its own.
  template <class M>
  M& add(Here here = Here::current()) {
    return appended<M>(here);
  }
  template <class M, class A = OptionsOf<M>>
  M& add(A&& a, Here here = Here::current()) {
    return appended<M>(here, std::forward<A>(a));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>>
  M& add(A&& a, B&& b, Here here = Here::current()) {
    return appended<M>(here, std::forward<A>(a), std::forward<B>(b));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, Here here = Here::current()) {
    return appended<M>(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, D&& d, Here here = Here::current()) {
    return appended<M>(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>,
            class E = LastOptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, D&& d, E&& e, Here here = Here::current()) {
    return appended<M>(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d),
                       std::forward<E>(e));
  }
  template <class M, class... Args>
  requires(sizeof...(Args) > 5) M& add(Args&&... args) {  // at the container's line
    return appended<M>(site(), std::forward<Args>(args)...);
  }
  std::size_t size() const { return steps_.size(); }
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  template <class M, class... Args>
  M& appended(Here here, Args&&... args) {
    static_assert(std::is_invocable_r_v<Tensor, M&, const Tensor&>, "a step maps a tensor to a tensor");
    M& m = child_at<M>(here, std::to_string(steps_.size()), std::forward<Args>(args)...);
    // A user's module need not take a call site.
    if constexpr (std::is_invocable_r_v<Tensor, M&, const Tensor&, Here>)
      steps_.push_back([&m](const Tensor& x) { return m(x, Here{}); });
    else
      steps_.push_back([&m](const Tensor& x) { return m(x); });
    return m;
  }
  std::vector<std::function<Tensor(const Tensor&)>> steps_;
};

/// Modules of one type, named "0", "1", ...
template <class M>
class ModuleList : public Module {
 public:
  explicit ModuleList(Here here = Here::current()) : Module(here) {}
  /// As in a Sequential.
  M& add(Here here = Here::current()) { return appended(here); }
  template <class A = OptionsOf<M>>
  M& add(A&& a, Here here = Here::current()) {
    return appended(here, std::forward<A>(a));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>>
  M& add(A&& a, B&& b, Here here = Here::current()) {
    return appended(here, std::forward<A>(a), std::forward<B>(b));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, Here here = Here::current()) {
    return appended(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, D&& d, Here here = Here::current()) {
    return appended(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>,
            class E = LastOptionsOf<M>>
  M& add(A&& a, B&& b, C&& c, D&& d, E&& e, Here here = Here::current()) {
    return appended(here, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d),
                    std::forward<E>(e));
  }
  template <class... Args>
  requires(sizeof...(Args) > 5) M& add(Args&&... args) {  // at the container's line
    return appended(site(), std::forward<Args>(args)...);
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
  template <class... Args>
  M& appended(Here here, Args&&... args) {
    items_.push_back(&child_at<M>(here, std::to_string(items_.size()), std::forward<Args>(args)...));
    return *items_.back();
  }
  std::vector<M*> items_;
};

/// Modules of one type by name, in the order in which they were added.
///
///     nn::ModuleDict<nn::Linear> heads;
///     heads.add("tags", 256, 17);
///     heads["tags"](x);
template <class M>
class ModuleDict : public Module {
 public:
  explicit ModuleDict(Here here = Here::current()) : Module(here) {}
  /// As in a Sequential. Throws ValueError for a name that child() would refuse.
  M& add(const std::string& name, Here here = Here::current()) { return appended(here, name); }
  template <class A = OptionsOf<M>>
  M& add(const std::string& name, A&& a, Here here = Here::current()) {
    return appended(here, name, std::forward<A>(a));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>>
  M& add(const std::string& name, A&& a, B&& b, Here here = Here::current()) {
    return appended(here, name, std::forward<A>(a), std::forward<B>(b));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>>
  M& add(const std::string& name, A&& a, B&& b, C&& c, Here here = Here::current()) {
    return appended(here, name, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>>
  M& add(const std::string& name, A&& a, B&& b, C&& c, D&& d, Here here = Here::current()) {
    return appended(here, name, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d));
  }
  template <class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>,
            class E = LastOptionsOf<M>>
  M& add(const std::string& name, A&& a, B&& b, C&& c, D&& d, E&& e, Here here = Here::current()) {
    return appended(here, name, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d),
                    std::forward<E>(e));
  }
  template <class... Args>
  requires(sizeof...(Args) > 5) M& add(const std::string& name, Args&&... args) {  // at the container's line
    return appended(site(), name, std::forward<Args>(args)...);
  }
  std::size_t size() const { return items_.size(); }
  bool contains(const std::string& name) const { return find(name) != nullptr; }
  /// Throws ValueError for a name that is not there.
  M& operator[](const std::string& name) const {
    if (M* m = find(name)) return *m;
    throw ValueError("ModuleDict: there is no module \"" + name + "\"");
  }
  auto begin() const { return items_.begin(); }  ///< of (name, pointer)
  auto end() const { return items_.end(); }

 private:
  template <class... Args>
  M& appended(Here here, const std::string& name, Args&&... args) {
    M& m = child_at<M>(here, name, std::forward<Args>(args)...);
    items_.emplace_back(name, &m);
    return m;
  }
  M* find(const std::string& name) const {
    for (const auto& item : items_)
      if (item.first == name) return item.second;
    return nullptr;
  }
  std::vector<std::pair<std::string, M*>> items_;
};

}  // namespace attune::nn
