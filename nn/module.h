// Module: a tree of named children, parameters and buffers. It is neither copied nor moved, so references to its parts
// stay valid; it is called through an operator() of its own.
//
//     struct Mlp : nn::Module {
//       nn::Linear& up = child<nn::Linear>("up", 784, 256);
//       nn::Linear& down = child<nn::Linear>("down", 256, 10);
//       Tensor operator()(const Tensor& x) { return down(relu(up(x))); }
//     };
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/runtime/frame.h"
#include "autograd/tensor/tensor.h"

namespace attune::nn {

using StateDict = std::map<std::string, Tensor>;

struct LoadOptions {
  bool strict = true;  ///< missing and unexpected entries are an error; otherwise they are passed over
};

/// A child's name, and the line that gives it. The name may be a path, "output.dense": that of a child for which a
/// published state has a module between that does nothing but hold it.
struct ChildName {
  ChildName(const char* n, Here h = Here::current()) : name(n), here(h) {}
  ChildName(std::string n, Here h = Here::current()) : name(std::move(n)), here(h) {}
  std::string name;
  Here here;
};

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
  bool training() const { return training_; }
  void zero_grad();
  /// Freezes all parameters from here on down (false), or lets them train again.
  void requires_grad_(bool on = true, Here here = Here::current());
  /// Converts floating parameters and buffers, which become fresh leaves: give an optimiser its parameters afterwards.
  /// Frozen parameters stay frozen.
  void to(DType dtype);

  /// f() with these tensors (any tensors, recorded ones too, in the order of parameters()) in the place of the
  /// parameters, which come back afterwards: a module as a function of its parameters, for gradcheck, jvp and
  /// derivatives through an update. Blocks that the backward pass runs again (checkpoint, reversible) find them again.
  /// Throws ValueError and ShapeError if `values` do not fit.
  Tensors with_parameters(const Tensors& values, const std::function<Tensors()>& f, Here here = Here::current());

  /// Parameters and persistent buffers by path, sharing storage with the module.
  StateDict state_dict() const;
  /// Copies a state into the module, converting floating dtypes. Throws ValueError listing every missing, unexpected
  /// and misshaped entry, and then has changed nothing. A tied parameter may stand under any of its paths; values under
  /// several of them must be equal.
  void load_state_dict(const StateDict& state, const LoadOptions& options = {}, Here here = Here::current());
  /// The same through a safetensors file.
  void save(const std::string& path, Here here = Here::current()) const;
  void load(const std::string& path, const LoadOptions& options = {}, Here here = Here::current());

  std::string path() const;            ///< from the root: "encoder.layers.0"; "" at the root
  Here site() const { return site_; }  ///< the line that made the outermost module, if it is known

 protected:
  /// Makes and owns a child. Throws ValueError for a name with an empty part and for one that is taken, or that lies
  /// below another one of this module or above it.
  template <class M, class... Args>
  M& child(ChildName name, Args&&... args) {
    const Frame frame("module", site_.line != 0 ? site_ : name.here, Frame::Kind::module);
    auto made = std::make_unique<M>(std::forward<Args>(args)...);
    M& m = *made;
    adopt(std::move(name.name), std::move(made));
    return m;
  }
  /// Registers a trainable tensor and returns it, at an address that stays. The same handle may be registered in
  /// several places (tied): it is then one parameter. On a tape it is a leaf at site(), or at `here` if that is not
  /// known. Throws ValueError for a bad name or an undefined tensor, DTypeError unless floating, GradError for a
  /// recorded tensor.
  Tensor& parameter(std::string name, Tensor value, Here here = Here::current());
  /// Registers a tensor that is saved (if persistent) but not trained, likewise.
  Tensor& buffer(std::string name, Tensor value, bool persistent = true);

  void adopt(std::string name, std::unique_ptr<Module> module);

  friend class Scope;

 private:
  struct Entry : std::enable_shared_from_this<Entry> {
    Entry(std::string n, Tensor v, bool t, bool p)
        : name(std::move(n)), value(std::move(v)), trainable(t), persistent(p) {}
    std::string name;
    Tensor value;
    bool trainable, persistent;
  };
  template <class Visit>
  void each_entry(const std::string& prefix, Visit&& visit) const;
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
  std::vector<std::shared_ptr<Entry>> entries_;  // shared with blocks that will run again
  std::vector<std::unique_ptr<Module>> children_;
};

/// The frame of a module's call: errors and the tape show the line that called the outermost module, traces its path.
/// The first thing in an operator() that takes `Here here = Here::current()`.
class Scope : public Frame {
 public:
  Scope(const Module& module, const char* type, Here here) : Frame(type, here, &module, &path_of) {}

 private:
  static std::string path_of(const void* module) { return static_cast<const Module*>(module)->path(); }
};

}  // namespace attune::nn
