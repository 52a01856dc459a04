#include "autograd/trace/internal/values.h"

#include <algorithm>

#include "autograd/ops/index.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/slice_text.h"
#include "autograd/trace/internal/summary.h"

namespace attune {

namespace {

/// Whether x's elements lie without gaps, in whatever order: another such view of as many has the same ones.
bool without_gaps(const Tensor& x) {
  std::vector<std::pair<std::int64_t, std::int64_t>> axes;  // stride, size
  for (int a = 0; a < x.rank(); ++a)
    if (x.shape()[a] != 1) axes.emplace_back(x.strides()[a], x.shape()[a]);
  std::sort(axes.begin(), axes.end());
  std::int64_t next = 1;
  for (const auto& [stride, size] : axes) {
    if (stride != next) return false;
    next *= size;
  }
  return true;
}

}  // namespace

int Values::add(const Tensor& x) {
  if (!x.defined()) return -1;
  const RecordedValue* other_view = nullptr;
  std::vector<int>& here = by_place_[x.raw()];
  for (int known : here) {
    const RecordedValue& v = recording_.values[static_cast<std::size_t>(known)];
    const Tensor& y = v.whole;
    if (y.dtype() != x.dtype()) continue;
    if (y.shape() == x.shape() && y.strides() == x.strides()) return known;
    if (y.numel() == x.numel() && without_gaps(x) && without_gaps(y)) other_view = &v;
  }
  const int number = static_cast<int>(recording_.values.size());
  Summary s = other_view ? other_view->summary : summarise_numbers(x);
  size_picture(s, x.shape());
  recording_.values.push_back({x.shape(), x.dtype(), std::move(s), x, {}});
  here.push_back(number);
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
  if (v.whole.defined()) v.slices.emplace_back(slice, clone(part_of(v.whole, slice, {})));
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
    if (spent <= budget_) continue;
    draw(v->summary, v->whole);
    v->whole = Tensor();
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

Tensor part_of(const Tensor& x, const std::string& slice, Here here) { return index(x, indices_of(slice), here); }

}  // namespace attune
