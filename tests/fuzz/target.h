// What fuzzers share. A fuzzer calls the library with whatever bytes there are: it may return or throw attune::Error;
// another exception, a crash, what the sanitizers see, and taking seconds are findings.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/memory.h"
#include "autograd/runtime/parallel.h"

namespace attune::fuzz {

using Bytes = std::span<const std::byte>;

template <class F>
void tried(F&& f) {
  try {
    f();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): which is an answer
  }
}

/// A file of given bytes without a disk, for what is read by its path.
class MemoryFile {
 public:
  explicit MemoryFile(Bytes bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Small choices out of the bytes; zeros when they have run out.
class Choices {
 public:
  explicit Choices(Bytes bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto v = static_cast<std::uint8_t>(bytes_[0]);
    bytes_ = bytes_.subspan(1);
    return v;
  }
  int below(int n) { return byte() % n; }
  /// Mostly near zero; now and then at the ends of the type.
  std::int64_t integer() {
    const std::uint8_t v = byte();
    switch (v) {
      case 0x7f: return INT64_MAX;
      case 0x80: return INT64_MIN;
      case 0x7e: return INT64_MAX - below(4);
      case 0x81: return INT64_MIN + below(4);
      default: return static_cast<std::int8_t>(v) / 8;
    }
  }
  std::string rest() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  Bytes bytes_;
};

void run(Bytes bytes);  // each fuzzer's own

}  // namespace attune::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool ready = [] {
    attune::set_num_threads(1);
    attune::set_memory_budget(std::int64_t{1} << 28);
    return true;
  }();
  if (ready) attune::fuzz::run({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
