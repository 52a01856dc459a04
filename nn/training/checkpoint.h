// Checkpoints of training: one file for everything that a run needs to go on with the same bits.
#pragma once

#include <concepts>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/runtime/philox.h"
#include "nn/module.h"

namespace attune::nn {

/// Names and values under which a run was started: {{"lr", "0.001"}, ...}.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// "lr 0.001 there and 0.5 here, ..." of settings that differ; "" if none does.
std::string difference(const Settings& there, const Settings& here);

/// One thing in a checkpoint, behind functions that save and restore it.
struct CheckpointPart {
  std::string name;
  std::function<StateDict()> state;               ///< may share storage
  std::function<void(const StateDict&)> restore;  ///< throws if the state does not fit
};

/// A module, an optimiser, batches, an average: anything with state_dict() and load_state_dict(), which must outlive
/// the part.
template <class T>
requires requires(T& x, const StateDict& state) {
  { x.state_dict() } -> std::convertible_to<StateDict>;
  x.load_state_dict(state);
}
CheckpointPart checkpoint_part(std::string name, T& x) {
  return {std::move(name),
          [&x]() -> StateDict {
            if constexpr (requires { x.shared_state_dict(); })
              return x.shared_state_dict();
            else
              return x.state_dict();
          },
          [&x](const StateDict& state) { x.load_state_dict(state); }};
}
/// A generator of random numbers, likewise.
CheckpointPart checkpoint_part(std::string name, Generator& generator);

/// What a checkpoint says of its run.
struct CheckpointInfo {
  std::int64_t step = 0, steps = 0;  ///< done, of all
  Settings settings{};
  std::vector<std::string> parts{};
  bool finished() const { return step >= steps; }
};

/// Writes parts and `info` (whose parts are taken from `parts`) through a temporary file, synced and renamed: the file
/// is the old one or the new one. Equal states give equal bytes. A checkpoint is a safetensors file with checksums:
/// tensors "<part>.<name>". Throws FileError, and ValueError for two parts of one name, or a name that is empty or
/// has a dot in it.
void save_checkpoint(const std::string& path, const std::vector<CheckpointPart>& parts, const CheckpointInfo& info,
                     Here here = Here::current());
/// Reads all of the file, its checksums compared. Throws FileError for one that is damaged or no checkpoint.
CheckpointInfo checkpoint_info(const std::string& path, Here here = Here::current());
/// Restores all parts. Throws FileError if the file is damaged, has other parts, or a part's state does not fit; all
/// parts are then as they were.
CheckpointInfo load_checkpoint(const std::string& path, const std::vector<CheckpointPart>& parts,
                               Here here = Here::current());
/// Restores one part alone, such as the model, in which to evaluate or to generate text; the path is a checkpoint's, or
/// a run's directory for its best checkpoint or, without one, its last. Throws FileError likewise.
template <class T>
CheckpointInfo load_from_checkpoint(const std::string& path, const std::string& name, T& x,
                                    Here here = Here::current());

/// The file that a path means: itself, or of a run's directory the best checkpoint or, without one, the last. Throws
/// FileError for a directory without any.
std::string checkpoint_path(const std::string& path, Here here = Here::current());

namespace detail {
CheckpointInfo load_part(const std::string& path, const CheckpointPart& part, Here here);
}  // namespace detail

template <class T>
CheckpointInfo load_from_checkpoint(const std::string& path, const std::string& name, T& x, Here here) {
  return detail::load_part(path, checkpoint_part(name, x), here);
}

}  // namespace attune::nn
