// Weights of published models: files that hold more than weights, of which nothing is passed over unread. Internal to
// nn/models.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "nn/module.h"

namespace attune::nn::detail {

/// A file's tensors on their way into a module, from safetensors (also in shards) or a PyTorch checkpoint. What would
/// be lost is collected, and load_into() refuses all of it at once.
class Published {
 public:
  /// Throws FileError for a file that cannot be read, for a checkpoint of a training run, and for one that is seen by
  /// its names to be of another kind of model than `type`, the configuration's model_type.
  Published(const std::string& path, const char* type, Here here);

  /// Calls entries by other names. Two that get the same name must be equal.
  void rename(const std::function<std::string(const std::string& name)>& name_of);
  /// Takes out what is no weight but a constant that the model has anyway: entries whose names end with `ending`, each
  /// of which must be `what`, as is_constant(value) tells.
  void drop(const std::string& ending, const char* what, const std::function<bool(const Tensor& value)>& is_constant);
  /// Takes out a second copy of a weight that the module has once: it must equal the first, or stands in for it.
  void drop_copy(const std::string& copy, const std::string& first);
  /// Takes out what lies in parts that the model does not have: entries whose names begin with `prefix`.
  void leave_out(const std::string& prefix);
  /// Lets entries of the module whose names begin with `prefix` keep their values if the file has none of them.
  void keep(const std::string& prefix, const Module& module);
  /// What is left goes into the module, all of it or nothing. Throws FileError that lists everything that does not fit:
  /// what drop() and the others found, missing, unexpected and misshaped entries, tensors that cannot be read. Where
  /// `words`, the token embedding, has another number of rows, it says that the vocabularies differ.
  void load_into(Module& module, const std::string& words) const;

 private:
  void refuse(const std::string& what) { faults_.push_back(what); }

  std::string path_;
  Here here_;
  StateDict state_;
  std::map<std::string, std::string> unreadable_;
  std::vector<std::string> faults_;
};

/// Writes a module's parameters and buffers under their paths, which are the published names, as safetensors, all or
/// nothing. A tied parameter is written once, under its first path; constants that readers make themselves are not.
/// `prefix` is taken off the names that begin with it.
void save_published(const Module& module, const std::string& path, Here here, const std::string& prefix = "");

/// Whether all of a constant's elements are `value`, as far as its dtype in the file, which may have been a half, can
/// say.
bool is_filled_with(const Tensor& constant, double value);

}  // namespace attune::nn::detail
