#include <algorithm>
#include <deque>
#include <mutex>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/words.h"
#include "autograd/trace/recorder.h"

namespace attune {

namespace {

struct Named {
  Tensor x;  // keeps the elements, so that no others come to stand in their place
  std::vector<std::string> words;
};

/// The latest; a program that names each batch's words does not grow.
struct Registry {
  std::mutex mutex;
  std::deque<Named> latest;
};
Registry& registry() {
  static auto* all = new Registry;
  return *all;
}

/// A node keeps a copy of a constant of real numbers.
bool is_traced_copy(const Tensor& copy, const Tensor& x) {
  constexpr std::int64_t most = 1 << 16;
  return x.shape() == copy.shape() && x.dtype() == copy.dtype() && is_floating(x.dtype()) && x.numel() <= most &&
         x.to_vector<double>() == copy.to_vector<double>();
}

}  // namespace

void name_words(const Tensor& x, std::vector<std::string> words, Here here) {
  if (!x.defined()) throw ValueError("name_words: the tensor is undefined", here);
  const Shape& shape = x.shape();
  const auto n = static_cast<std::int64_t>(words.size());
  if (std::none_of(shape.begin(), shape.end(), [n](std::int64_t size) { return size == n; }))
    throw ValueError("name_words: " + std::to_string(n) + " words for a tensor " + shape.str(), here);
  constexpr std::size_t most = 64;
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.latest.push_front({x.detach(), std::move(words)});
  if (all.latest.size() > most) all.latest.pop_back();
}

std::vector<std::string> words_of(const Tensor& x) {
  if (!x.defined()) return {};
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const Named& n : all.latest)
    if (n.x.same_storage(x) || is_traced_copy(x, n.x)) return n.words;
  return {};
}

}  // namespace attune
