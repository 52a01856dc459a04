// Checks of files: a folder that goes with the test, bytes in and out, refusals.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "autograd/io/file.h"
#include "tests/unit/plain.h"

namespace attune::tests {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("attune-test-" + std::to_string(std::random_device{}()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator{}));
  }

 private:
  fs::path path_;
};

/// Into a new file, since some file systems sync a file that is emptied and written again.
inline void put(const std::string& path, const std::string& bytes) {
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}
inline std::string get(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string with_header(const std::string& header, const std::string& data = "") {
  std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

/// Loads `bytes` as a file, which must be refused for `reason` before any tensor is allocated.
inline void check_refused(const std::function<void(const std::string& path)>& load, const std::string& path,
                          const std::string& bytes, const std::string& reason) {
  CAPTURE(reason);
  put(path, bytes);
  reset_peak_memory();
  const std::string said = refusal<FileError>([&] { load(path); });
  CHECK(memory_stats().peak_bytes == memory_stats().live_bytes);
  CHECK(said.rfind(path, 0) == 0);
  CHECK_MESSAGE(said.find(reason) != std::string::npos, said);
}
inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = contiguous(a), y = contiguous(b);
  return x.dtype() == y.dtype() && x.shape() == y.shape() &&
         std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

inline std::vector<Tensor> samples() {
  return {randn({3, 4}),
          randn({2, 1, 3}, float64),
          randint(-5, 5, {4}),
          to(randint(-5, 5, {4, 1}), int32),
          gt(randn({5}), 0),
          scalar(2.5),
          zeros({0, 3}),
          transpose(randn({3, 4})),
          slice(randn({6}), 0, 1, 6, 2)};
}

}  // namespace attune::tests
