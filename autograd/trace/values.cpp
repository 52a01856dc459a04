#include "autograd/trace/internal/values.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "autograd/ops/index.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune {

int Values::add(const Tensor& x) {
  if (!x.defined()) return -1;
  for (int known : by_place_[x.raw()]) {
    const Tensor& y = recording_.values[static_cast<std::size_t>(known)].whole;
    if (y.shape() == x.shape() && y.strides() == x.strides() && y.dtype() == x.dtype()) return known;
  }
  const int number = static_cast<int>(recording_.values.size());
  recording_.values.push_back({x.shape(), x.dtype(), summarise(x), x, {}});
  by_place_[x.raw()].push_back(number);
  added_.push_back(x);
  return number;
}

std::vector<int> Values::add(const Tensors& xs) {
  std::vector<int> numbers;
  for (const Tensor& x : xs) numbers.push_back(add(x));
  return numbers;
}

void Values::keep_slice(int value, const std::string& slice) {
  RecordedValue& v = recording_.values[static_cast<std::size_t>(value)];
  for (const auto& [text, kept] : v.slices)
    if (text == slice) return;
  if (v.whole.defined()) v.slices.emplace_back(slice, clone(part_of(v.whole, slice)));
}

void Values::settle() {
  const NoGrad off;
  std::vector<RecordedValue*> whole;
  for (RecordedValue& v : recording_.values)
    if (v.whole.defined()) whole.push_back(&v);
  const auto bytes = [](const RecordedValue* v) {
    return v->whole.numel() * static_cast<std::int64_t>(size_of(v->dtype));
  };
  std::stable_sort(whole.begin(), whole.end(), [&](auto* a, auto* b) { return bytes(a) < bytes(b); });
  std::int64_t spent = 0;
  for (RecordedValue* v : whole) {
    spent += bytes(v);
    v->whole = spent > budget_ ? Tensor() : v->whole;
  }
  // What is new may be the program's own memory, which it will change.
  for (const auto& [place, numbers] : by_place_)
    for (int n : numbers)
      if (Tensor& x = recording_.values[static_cast<std::size_t>(n)].whole; x.defined()) x = clone(x);
  recording_.summarised = std::count_if(recording_.values.begin(), recording_.values.end(),
                                        [](const RecordedValue& v) { return !v.whole.defined(); });
  by_place_.clear();
  added_.clear();
}

namespace {

[[noreturn]] void no_slice(const std::string& text, Here here) {
  throw ValueError("\"" + text + "\" is no index such as [0, 1:3, -1]", here);
}

/// One entry of the list: a number, or numbers around colons.
Index entry_of(const std::string& text, const std::string& whole, Here here) {
  std::vector<std::optional<std::int64_t>> numbers(1);
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == ':') {
      numbers.emplace_back();
      ++i;
    } else if (std::isdigit(static_cast<unsigned char>(c)) || c == '-') {
      char* end = nullptr;
      errno = 0;
      const long long n = std::strtoll(text.c_str() + i, &end, 10);
      const auto read = static_cast<std::size_t>(end - text.c_str());
      if (read == i || errno != 0 || numbers.back()) no_slice(whole, here);
      numbers.back() = n;
      i = read;
    } else {
      no_slice(whole, here);
    }
  }
  if (numbers.size() == 1) {
    if (!numbers[0]) no_slice(whole, here);
    return *numbers[0];
  }
  if (numbers.size() > 3) no_slice(whole, here);
  Slice s;
  s.start = numbers[0];
  s.stop = numbers[1];
  if (numbers.size() == 3 && numbers[2]) s.step = *numbers[2];
  return s;
}

}  // namespace

Tensor part_of(const Tensor& x, const std::string& slice, Here here) {
  std::string text;
  for (char c : slice)
    if (c != ' ') text += c;
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') no_slice(slice, here);
  text = text.substr(1, text.size() - 2);
  std::vector<Index> entries;
  for (std::size_t at = 0; at <= text.size() && !text.empty();) {
    std::size_t comma = text.find(',', at);
    if (comma == std::string::npos) comma = text.size();
    entries.push_back(entry_of(text.substr(at, comma - at), slice, here));
    at = comma + 1;
  }
  return entries.empty() ? x : index(x, entries, here);
}

}  // namespace attune
