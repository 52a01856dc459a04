// Parameter and Buffer: the tensors of a module. Each is a place in the module, made by parameter() and buffer() and
// kept as a reference; it converts to `const Tensor&`, so operations take it as a tensor, and assigning to it changes
// the values of the module's own tensor, never which tensor that is:
//
//     struct Scale : nn::Module {
//       nn::Parameter& w = parameter("w", randn({8, 4}) * 0.02);
//       Tensor operator()(const Tensor& x) const { return matmul(x, w); }
//     };
//     Scale m;
//     m.w = load_npy("w.npy");  // trained on from these values
//
// `Tensor& w = parameter(...)` does not compile. `Tensor w = m.w` is a handle to the same tensor: assigning to the
// handle leaves the module alone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops/inplace.h"
#include "autograd/tensor/tensor.h"

namespace attune::nn {

class Module;
enum class Role : std::uint8_t { parameter, buffer };
template <Role role>
class Held;

/// What parameters and buffers share: a tensor that a module has registered, with the methods of a Tensor.
class Registered : public StandsForTensor,
                   private by_argument::LookedUp,
                   public std::enable_shared_from_this<Registered> {
 public:
  /// What is assigned, and the line that does it, which an operator cannot take as a default argument.
  class Value {
   public:
    Value(const Tensor& t, Here here = Here::current()) : tensor_(&t), here_(here) {}
    Value(const Registered& r, Here here = Here::current()) : tensor_(&r.tensor()), here_(here) {}
    const Tensor& tensor() const { return *tensor_; }
    Here here() const { return here_; }

   private:
    const Tensor* tensor_;
    Here here_;
  };

  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;
  ~Registered();

  /// The module's tensor. One that is made of others (weight_norm) is made anew; it is there until this thread asks for
  /// it again.
  const Tensor& tensor() const { return made_ ? made() : value_; }
  operator const Tensor&() const { return tensor(); }
  /// From the root of the module: "encoder.layers.0.weight".
  std::string path() const;

  /// Makes this and `other` one tensor (tied weights), that of `other`: its values, gradient and updates are shared,
  /// and parameters() lists it once. An optimiser takes its parameters afterwards. Throws ShapeError and DTypeError
  /// unless both are alike, ValueError for one that is undefined.
  void tie(const Registered& other, Here here = Here::current());

  // ---- as a Tensor

  bool defined() const { return value_.defined(); }
  const Shape& shape() const { return value_.shape(); }
  const Strides& strides() const { return value_.strides(); }
  DType dtype() const { return value_.dtype(); }
  int rank() const { return value_.rank(); }
  std::int64_t numel() const { return value_.numel(); }
  std::int64_t size(std::int64_t axis, Here here = Here::current()) const { return value_.size(axis, here); }
  bool is_contiguous() const { return value_.is_contiguous(); }
  template <class T>
  const T* data(Here here = Here::current()) const {
    return tensor().data<T>(here);
  }
  template <class T>
  T* mutable_data(Here here = Here::current()) {
    return own("mutable_data", here).mutable_data<T>(here);
  }
  double item(Here here = Here::current()) const { return tensor().item(here); }
  Tensor operator[](const AxisIndex& at) const;
  const Tensor operator[](const ElementIndex& at) const;
  void print() const;
  template <class T>
  std::vector<T> to_vector() const {
    return tensor().to_vector<T>();
  }
  bool requires_grad() const { return tensor().requires_grad(); }
  Registered& requires_grad_(bool on = true, Here here = Here::current());
  bool is_leaf() const { return tensor().is_leaf(); }
  /// Throws GradError for one that is made of others: they have the gradients.
  Tensor grad(Here here = Here::current()) const { return own("grad", here).grad(); }
  void set_grad(const Tensor& g, Here here = Here::current()) { own("set_grad", here).set_grad(g, here); }
  void zero_grad();
  Tensor detach() const { return tensor().detach(); }
  int register_hook(std::function<Tensor(const Tensor& grad)> hook, Here here = Here::current()) {
    return own("register_hook", here).register_hook(std::move(hook), here);
  }
  void remove_hook(int id) { value_.remove_hook(id); }
  TensorImpl* impl() const { return tensor().impl(); }
  Node* node() const { return tensor().node(); }
  std::uint32_t slot() const { return tensor().slot(); }
  std::uint32_t version() const { return tensor().version(); }
  bool same_storage(const Tensor& o) const { return tensor().same_storage(o); }
  const void* raw() const { return tensor().raw(); }

  // ---- in-place changes under the rules of autograd/ops/inplace.h

  friend Registered& copy_(Registered& x, const Tensor& from, Here here = Here::current()) {
    attune::copy_(x.own("copy_", here), from, here);
    return x;
  }
  friend Registered& fill_(Registered& x, const Scalar& value, Here here = Here::current()) {
    attune::fill_(x.own("fill_", here), value, here);
    return x;
  }
  friend Registered& add_(Registered& x, const Operand& y, const Scalar& alpha = 1, Here here = Here::current()) {
    attune::add_(x.own("add_", here), y, alpha, here);
    return x;
  }
  friend Registered& mul_(Registered& x, const Operand& y, Here here = Here::current()) {
    attune::mul_(x.own("mul_", here), y, here);
    return x;
  }
  friend Registered& uniform_(Registered& x, double low, double high, Generator& g = default_generator(),
                              Here here = Here::current()) {
    attune::uniform_(x.own("uniform_", here), low, high, g, here);
    return x;
  }
  friend Registered& normal_(Registered& x, double mean, double std, Generator& g = default_generator(),
                             Here here = Here::current()) {
    attune::normal_(x.own("normal_", here), mean, std, g, here);
    return x;
  }

 protected:
  Registered(Module* owner, std::string name, Tensor value, bool trainable, bool persistent)
      : owner_(owner),
        name_(std::move(name)),
        value_(std::move(value)),
        trainable_(trainable),
        persistent_(persistent) {}
  void assign(const Value& v);
  void change(char how, const Operand& by);

 private:
  friend class Module;
  friend Held<Role::parameter>& weight_norm(Held<Role::parameter>&, std::int64_t, Here);
  friend Held<Role::parameter>& remove_weight_norm(Held<Role::parameter>&, Here);
  friend void copy_state(const Module&, Module&, Here);

  /// How a parameter is made of others of its module.
  struct Made {
    std::vector<std::shared_ptr<Registered>> parts;
    std::function<Tensor()> make;
    std::function<void(const Tensor&)> assign;  // sets the parts so that they make this
  };
  const Tensor& made() const;
  /// value_, if this is not made of others.
  Tensor& own(const char* who, Here here);
  const Tensor& own(const char* who, Here here) const { return const_cast<Registered*>(this)->own(who, here); }

  Module* owner_;
  std::string name_;
  Tensor value_;  // undefined if the module was made without it; of one that is made, its shape and dtype alone
  bool trainable_, persistent_;
  std::unique_ptr<Made> made_;
};

/// A Registered that can be assigned to. Its values become those of a tensor, or of another parameter, of the same
/// shape and dtype, off the tape, in place: handles, the optimiser and requires_grad stay, and a backward pass that had
/// saved the old values refuses to run. Throws ShapeError and DTypeError for others, ValueError for an undefined one or
/// a bias that there is not, and, outside of NoGrad, GradError for a recorded one, through which no gradient would
/// flow.
template <Role role>
class Held final : public Registered {
 public:
  Held(const Held&) = delete;
  Held& operator=(const Value& v) {
    assign(v);
    return *this;
  }
  /// Never chosen: the one above knows the line.
  Held& operator=(const Held& other) requires(role != role);

  // clang-format off
  Held& operator+=(const Operand& y) { change('+', y); return *this; }
  Held& operator-=(const Operand& y) { change('-', y); return *this; }
  Held& operator*=(const Operand& y) { change('*', y); return *this; }
  Held& operator/=(const Operand& y) { change('/', y); return *this; }
  // clang-format on

 private:
  friend class Module;
  using Registered::Registered;
};

/// A trained tensor of a module.
using Parameter = Held<Role::parameter>;
/// A tensor of a module that is not trained.
using Buffer = Held<Role::buffer>;

}  // namespace attune::nn
