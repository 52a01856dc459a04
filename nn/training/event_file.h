// TensorBoard's event files: records of a length, its checksum, a protocol buffer `Event` and its checksum.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune::nn {

/// A file of scalars that `tensorboard --logdir DIRECTORY` draws. Events are appended and flushed one by one.
///
///     nn::EventFile events("run/events.out.tfevents.attune");
///     events.add(step, {{"loss", loss.item()}});
class EventFile {
 public:
  /// A new file, or the events of the file that is there up to step `last_step` (negative: none are kept): what comes
  /// after them, damaged records too, is cut off. Throws FileError for a file of something else, which stays as it is,
  /// and if it cannot be written.
  explicit EventFile(const std::string& path, std::int64_t last_step = -1, Here here = Here::current());

  /// Appends one event of named scalars, with the time of the clock. Values are kept as float32. Returns false if it
  /// could not be written whole, and the file then ends with the event before.
  bool add(std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  bool append(const std::string& event);

  std::string path_;
  std::int64_t size_ = 0;  // of whole records
};

}  // namespace attune::nn
