// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): element i of a stream is a function of (seed,
// counter, i) alone, so any mask can be drawn again exactly, by any number of threads.
#pragma once

#include <array>
#include <cstdint>

namespace attune {

/// One drawing: where a block of random numbers begins. Keep it to draw the same numbers again.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t counter = 0;
};

/// A stream of keys. Copyable; its whole state is the pair (seed, counter), which `state()` and `set_state()`
/// save and restore.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : key_{seed, 0} {}
  void seed(std::uint64_t seed) { key_ = {seed, 0}; }
  RandomKey state() const { return key_; }
  void set_state(RandomKey key) { key_ = key; }
  /// The key of the next drawing; every drawing has its own counter and up to 2^64 elements.
  RandomKey next();

 private:
  friend class KeySource;
  RandomKey advance() {
    RandomKey k = key_;
    ++key_.counter;
    return k;
  }
  RandomKey key_;
};

/// Stands between every generator of this thread and those who draw: to note the keys, or to give noted ones again.
class KeySource {
 public:
  virtual RandomKey draw(Generator& g) = 0;

 protected:
  ~KeySource() = default;
  static RandomKey advance(Generator& g) { return g.advance(); }
  static KeySource* replace(KeySource* source) noexcept;  ///< null: none; returns the one before
};

/// The process's default generator (seed 0 at the start); `manual_seed` seeds it. Not for use
/// from several threads at once.
Generator& default_generator();
void manual_seed(std::uint64_t seed);

/// The four 32-bit words of block `block` of a drawing: Philox4x32-10 with key = seed and 128-bit
/// counter (block, key.counter).
std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t block);

}  // namespace attune
