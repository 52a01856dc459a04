// Module: a tree of named children, parameters and buffers. It is neither copied nor moved, so references to its parts
// stay valid; it is called through an operator() of its own.
//
//     struct Mlp : nn::Module {
//       nn::Linear& up = child<nn::Linear>("up", 784, 256);
//       nn::Linear& down = child<nn::Linear>("down", 256, 10);
//       Tensor operator()(const Tensor& x) { return down(relu(up(x))); }
//     };
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/runtime/frame.h"
#include "nn/hooks.h"
#include "nn/parameter.h"

namespace attune::nn {

using StateDict = std::map<std::string, Tensor>;

struct LoadOptions {
  bool strict = true;           ///< whatever does not fit is an error; otherwise missing and unexpected entries are not
  bool skip_misshaped = false;  ///< without `strict`: entries of another shape or kind are passed over too
};

/// What of a state and a module did not meet, by path.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the module alone: they keep their values
  std::vector<std::string> unexpected;  ///< in the state alone
  std::vector<std::string> misshaped;   ///< of two shapes or kinds: "scale (expected [4] float32, found [3] float32)"
  bool complete() const { return missing.empty() && unexpected.empty() && misshaped.empty(); }
  /// A line for each list that is not empty.
  std::string str() const;
};

/// A child's name, and the line that gives it. The name may be a path, "output.dense": that of a child for which a
/// published state has a module between that does nothing but hold it.
struct ChildName {
  ChildName(const char* n, Here h = Here::current()) : name(n), here(h) {}
  ChildName(std::string n, Here h = Here::current()) : name(std::move(n)), here(h) {}
  std::string name;
  Here here;
};

namespace detail {
struct NoOptions {};
template <class M>
struct OptionsOf {
  using type = NoOptions;
};
template <class M>
requires requires { typename M::Options; }
struct OptionsOf<M> {
  using type = typename M::Options;
};
template <class M>
struct LastOptionsOf : OptionsOf<M> {};
template <class M>
requires requires { typename M::LastOptions; }
struct LastOptionsOf<M> {
  using type = typename M::LastOptions;
};
}  // namespace detail

/// What braces mean among the arguments of child() and add(): the options that a module names as its `Options`. A
/// module with two kinds names the second one `LastOptions`.
template <class M>
using OptionsOf = typename detail::OptionsOf<M>::type;
template <class M>
using LastOptionsOf = typename detail::LastOptionsOf<M>::type;

/// A module knows the line of the user's code that made the outermost one: errors in constructors and leaves on a tape
/// name it. A module made inside another (by child(), or by add() of a list) has it from there; the outermost one from
/// its own constructor's last parameter,
///
///     explicit Block(std::int64_t d, Here here = Here::current()) : Module(here) {}
///
/// or, without one, each child from the line that names it.
class Module {
 public:
  Module() : Module(Here{}) {}
  explicit Module(Here here);
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// The parameters, frozen ones too, a tied one once: its own in order of registration, then each child's.
  std::vector<Tensor> parameters() const;
  std::vector<std::pair<std::string, Tensor>> named_parameters() const;  ///< "encoder.layers.0.weight"
  std::vector<std::pair<std::string, Tensor>> named_buffers() const;     ///< persistent or not
  std::vector<std::pair<std::string, Module*>> named_modules();          ///< itself first, as "", then all below
  std::vector<std::pair<std::string, Module*>> children();               ///< one level
  std::int64_t parameter_count() const;

  /// Training or evaluation mode (dropout is off), here and below.
  void train(bool on = true);
  void eval() { train(false); }
  /// In a block that the backward pass runs again (checkpoint, reversible): as it was in the forward pass.
  bool training() const;
  void zero_grad();
  /// Freezes all parameters from here on down (false), or lets them train again.
  void requires_grad_(bool on = true, Here here = Here::current());
  /// Converts floating parameters, their gradients and floating buffers in place: they stay the tensors that an
  /// optimiser was given. A backward pass of what was recorded before throws GradError.
  void to(DType dtype, Here here = Here::current());

  /// f() with these tensors (any tensors, recorded ones too, in the order of parameters()) in the place of the
  /// parameters, which come back afterwards: a module as a function of its parameters, for gradcheck, jvp and
  /// derivatives through an update. Blocks that the backward pass runs again (checkpoint, reversible) find them again.
  /// Throws ValueError and ShapeError if `values` do not fit.
  Tensors with_parameters(const Tensors& values, const std::function<Tensors()>& f, Here here = Here::current());

  /// A copy of the parameters and persistent buffers, by path: training does not change it.
  StateDict state_dict() const;
  /// The same sharing storage with the module, without a copy: it changes with the module, and the module with it.
  StateDict shared_state_dict() const;
  /// Copies a state into the module, converting floating dtypes, and returns what did not fit. Throws ValueError
  /// listing all of it if `options` do not allow it, and then has changed nothing. A tied parameter may stand under any
  /// of its paths; under several, their values must agree.
  LoadReport load_state_dict(const StateDict& state, const LoadOptions& options = {}, Here here = Here::current());
  /// The same through a safetensors file.
  void save(const std::string& path, Here here = Here::current()) const;
  LoadReport load(const std::string& path, const LoadOptions& options = {}, Here here = Here::current());

  /// Calls `hook` before or after each call of this module, with what goes in and what comes out (nn/hooks.h).
  HookHandle register_forward_pre_hook(ForwardPreHook hook);
  HookHandle register_forward_hook(ForwardHook hook);

  std::string path() const;            ///< from the root: "encoder.layers.0"; "" at the root
  Here site() const { return site_; }  ///< the line that made the outermost module, if it is known

 protected:
  /// Makes and owns a child. Braces among the arguments are its options: child<Linear>("up", 784, 256, {.bias =
  /// false}). Throws ValueError for a name with an empty part and for one that is taken, or that lies below another one
  /// of this module or above it.
  template <class M>
  M& child(ChildName name) {
    return made<M>(name, line_of(name));
  }
  template <class M, class A = OptionsOf<M>>
  M& child(ChildName name, A&& a) {
    return made<M>(name, line_of(name), std::forward<A>(a));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>>
  M& child(ChildName name, A&& a, B&& b) {
    return made<M>(name, line_of(name), std::forward<A>(a), std::forward<B>(b));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>>
  M& child(ChildName name, A&& a, B&& b, C&& c) {
    return made<M>(name, line_of(name), std::forward<A>(a), std::forward<B>(b), std::forward<C>(c));
  }
  template <class M, class A = OptionsOf<M>, class B = OptionsOf<M>, class C = OptionsOf<M>, class D = LastOptionsOf<M>,
            class... More>
  M& child(ChildName name, A&& a, B&& b, C&& c, D&& d, More&&... more) {
    return made<M>(name, line_of(name), std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), std::forward<D>(d),
                   std::forward<More>(more)...);
  }
  /// The same at a line of its own, for containers' add(): in a module whose outermost one knows its line, at that.
  template <class M, class... Args>
  M& child_at(Here line, std::string name, Args&&... args) {
    return made<M>(name, line_below(line), std::forward<Args>(args)...);
  }
  /// Registers a trainable tensor and returns its place, at an address that stays (nn/parameter.h). The same tensor may
  /// be registered in several places (tied): it is then one parameter. On a tape it is a leaf at site(), or at `here`
  /// if that is not known. Throws ValueError for a bad name or an undefined tensor, DTypeError unless floating,
  /// GradError for a recorded tensor.
  Parameter& parameter(std::string name, Tensor value, Here here = Here::current());
  /// Registers a tensor that is saved (if persistent) but not trained, likewise.
  Buffer& buffer(std::string name, Tensor value, bool persistent = true);
  /// The place of a parameter that this module was made without, such as a bias: undefined, and it takes no value.
  Parameter& absent(std::string name);

  friend class Scope;
  friend Parameter& weight_norm(Parameter&, std::int64_t, Here);
  friend Parameter& remove_weight_norm(Parameter&, Here);
  friend void copy_state(const Module&, Module&, Here);

 private:
  template <class M, class... Args>
  M& made(const ChildName& name, Here line, Args&&... args) {
    const Frame frame("module", line, Frame::Kind::module);
    auto module = std::make_unique<M>(std::forward<Args>(args)...);  // through which debuggers know M's members
    M& m = *module;
    adopt(name.name, std::move(module));
    return m;
  }
  void adopt(std::string name, std::unique_ptr<Module> module);
  Here line_of(const ChildName& name) const { return site_.line != 0 ? site_ : name.here; }
  Here line_below(Here own) const;
  using Visit = std::function<void(const std::string& path, Registered& entry)>;
  void each_entry(const std::string& prefix, const Visit& visit) const;
  void check_name(const std::string& name) const;

  Here site_;
  /// Where its parameters' names come from, as long as it lives.
  struct Place {
    const Module* module;
  };

  std::string name_;
  Module* parent_ = nullptr;
  std::shared_ptr<Place> place_ = std::make_shared<Place>(Place{this});
  bool training_ = true;
  std::vector<std::shared_ptr<Registered>> entries_;  // shared with blocks that will run again
  std::vector<std::shared_ptr<Parameter>> absent_;
  std::shared_ptr<detail::Hooks> hooks_;  // null until there is one
  std::vector<std::unique_ptr<Module>> children_;
};

/// The module as its tree: name, type, own parameters and how many there are from here down.
std::ostream& operator<<(std::ostream& out, const Module& module);

/// Gives `to` the parameters, buffers, dtypes, frozen parameters and training modes of `from`, a module of the same
/// tree. Throws ValueError if paths or shapes differ, and then has changed nothing.
void copy_state(const Module& from, Module& to, Here here = Here::current());

/// A second module like `m`: one made of these arguments, those that made `m`, with m's state (copy_state). C++ cannot
/// copy a module's references to its own parts, so it is made anew. Options changed since stay as the arguments say.
///
///     auto teacher = nn::clone(student, config);  // std::unique_ptr<Student>
template <std::derived_from<Module> M, class... Args>
std::unique_ptr<M> clone(const M& m, Args&&... args) {
  auto made = std::make_unique<M>(std::forward<Args>(args)...);
  copy_state(m, *made);
  return made;
}

/// The frame of a module's call: errors and the tape show the line that called the outermost module, traces its path.
/// The first thing in an operator() that takes `Here here = Here::current()`. Through it the call's tensors pass the
/// module's hooks:
///
///     Tensor operator()(const Tensor& input, Here here = Here::current()) const {
///       const nn::Scope scope(*this, "Block", here);
///       const Tensor& x = scope.in(input);
///       return scope.out(down(relu(up(x))));
///     }
class Scope : public Frame {
 public:
  /// Of a member function that is not the module's call: hooks have no part in it.
  struct NoCall {};
  static constexpr NoCall no_call{};
  Scope(const Module& module, const char* type, Here here, NoCall)
      : Frame(type, here, &module, &path_of), module_(module) {}
  Scope(const Module& module, const char* type, Here here)
      : Frame(type, here, &module, &path_of), module_(module), hooks_(module.hooks_) {
    if (hooks_) [[unlikely]]
      exceptions_ = std::uncaught_exceptions();
  }
  /// Throws ValueError if the module has hooks which the call did not come to: their silence would look like a result.
  ~Scope() noexcept(false);

  bool hooked() const { return static_cast<bool>(hooks_); }
  /// The call's input, or what a hook put in its place; for the call's duration.
  const Tensor& in(const Tensor& x) const { return hooks_ ? before({x})[0] : x; }
  /// Several inputs.
  Tensors in(Tensors xs) const { return hooks_ ? before(std::move(xs)) : xs; }
  /// The call's result, or what a hook put in its place.
  Tensor out(Tensor y) const {
    if (hooks_) [[unlikely]]
      after({&y});
    return y;
  }
  /// The tensors of a result with several parts, in place.
  template <class... T>
  void out_parts(T&... parts) const {
    if (hooks_) [[unlikely]]
      after({&parts...});
  }

 private:
  static std::string path_of(const void* module) { return static_cast<const Module*>(module)->path(); }
  const Tensors& before(Tensors xs) const;
  void after(std::initializer_list<Tensor*> ys) const;

  const Module& module_;
  std::shared_ptr<detail::Hooks> hooks_;
  mutable Tensors inputs_;
  mutable bool saw_inputs_ = false, saw_outputs_ = false;
  int exceptions_ = 0;
};

}  // namespace attune::nn
