// Weights of published models: files that hold more than weights, of which nothing is passed over unread. Internal to
// nn/models.
#pragma once

#include <functional>
#include <string>

#include "nn/module.h"

namespace attune::nn::detail {

/// A file's tensors on their way into a module. Throws FileError, which names the file and the entry, for content that
/// would be lost.
class Published {
 public:
  explicit Published(const std::string& path, Here here);

  /// Calls entries by other names. Two that get the same name must be equal.
  void rename(const std::function<std::string(const std::string& name)>& name_of);
  /// Takes out what is no weight but a constant that the model has anyway: entries whose names end with `ending`, each
  /// of which must be `what`, as is_constant(value) tells.
  void drop(const std::string& ending, const char* what, const std::function<bool(const Tensor& value)>& is_constant);
  /// Takes out a second copy of a weight that the module has once: it must equal the first, or stands in for it.
  void drop_copy(const std::string& copy, const std::string& first);
  /// What is left goes into the module, strictly.
  void load_into(Module& module) const { module.load_state_dict(state_, {}, here_); }

 private:
  [[noreturn]] void refuse(const std::string& what) const;

  std::string path_;
  Here here_;
  StateDict state_;
};

/// Whether all of a constant's elements are `value`, as far as its dtype in the file, which may have been a half, can
/// say.
bool is_filled_with(const Tensor& constant, double value);

}  // namespace attune::nn::detail
