// The calls that index.

#include <algorithm>

#include "tests/reference/calls.h"

namespace attune::tests {

namespace {

Tensor nested_index(const Argument& list) {
  if (!list.is_list) return scalar(static_cast<double>(list.integer()), int64);
  Tensors rows;
  for (const Argument& item : list.items) rows.push_back(nested_index(item));
  return rows.empty() ? zeros({0}, int64) : stack(rows);
}

Index index_of(const Argument& a) {
  if (a.is_tensor()) return a.tensor;
  if (a.is_list) return nested_index(a);
  if (a.is_ellipsis) return ellipsis;
  if (a.is_slice) {
    Slice s;
    if (!a.items[0].is_null()) s.start = a.items[0].integer();
    if (!a.items[1].is_null()) s.stop = a.items[1].integer();
    if (!a.items[2].is_null()) s.step = a.items[2].integer();
    return s;
  }
  if (a.is_null()) return new_axis;
  return a.integer();
}
Indices indices_of(const Argument& a) {
  Indices all;
  // A Python list of integers is an index tensor, one with anything else in it a tuple.
  const bool integers =
      a.is_list && !a.is_tuple && !a.items.empty() &&
      std::all_of(a.items.begin(), a.items.end(), [](const Argument& i) { return i.value.is_number(); });
  if (!a.is_list || integers) return {index_of(a)};
  for (const Argument& i : a.items) all.push_back(index_of(i));
  return all;
}

/// (input, dim, start, end, step), or (input, key) with slices in it.
Tensors slice_call(Arguments& a) {
  if (a.has(1, "key") && (a.at(1, "key").is_slice || a.at(1, "key").is_list || a.at(1, "key").is_ellipsis))
    return {index(a.tensor(0), indices_of(a.at(1, "key")))};
  return {slice(a.tensor(0), a.axis(1, "dim", 0), a.integer(2, "start", 0), a.integer(3, "end", to_end),
                a.integer(4, "step", 1))};
}

}  // namespace

std::map<std::string, ReferenceCall> index_calls() {
  return {
      {"slice", slice_call},
      {"__getitem__", [](Arguments& a) -> Tensors { return {index(a.tensor(0), indices_of(a.at(1, "key")))}; }},
      {"gather",
       [](Arguments& a) -> Tensors { return {gather(a.tensor(0), a.axis(1, "dim", 0), a.tensor(2, "index"))}; }},
      {"index_add",
       [](Arguments& a) -> Tensors {
         return {index_add(a.tensor(0), a.axis(1, "dim", 0), a.tensor(2, "index"), a.tensor(3, "source"),
                           a.number(named_only, "alpha", 1))};
       }},
      {"index_copy",
       [](Arguments& a) -> Tensors {
         return {index_copy(a.tensor(0), a.axis(1, "dim", 0), a.tensor(2, "index"), a.tensor(3, "source"))};
       }},
      {"index_put",
       [](Arguments& a) -> Tensors {
         return {index_put(a.tensor(0), indices_of(a.at(1, "indices")), a.tensor(2, "values"),
                           a.flag(3, "accumulate", false))};
       }},
      {"index_select",
       [](Arguments& a) -> Tensors { return {index_select(a.tensor(0), a.axis(1, "dim", 0), a.tensor(2, "index"))}; }},
      {"scatter",
       [](Arguments& a) -> Tensors {
         const int axis = a.axis(1, "dim", 0);
         const Tensor& index = a.tensor(2, "index");
         const Argument& source = a.at(3, "src");
         return {source.is_tensor() ? scatter(a.tensor(0), axis, index, source.tensor)
                                    : scatter(a.tensor(0), axis, index, source.number())};
       }},
      {"scatter_add",
       [](Arguments& a) -> Tensors {
         return {scatter_add(a.tensor(0), a.axis(1, "dim", 0), a.tensor(2, "index"), a.tensor(3, "src"))};
       }},
      {"sort",
       [](Arguments& a) -> Tensors {
         a.flag(named_only, "stable", false);  // always
         const SortResult s = sort(a.tensor(0), a.axis(1, "dim", -1), a.flag(2, "descending", false));
         return {s.values, s.indices};
       }},
      {"take_along_dim",
       [](Arguments& a) -> Tensors {
         if (a.has(2, "dim") && !a.at(2, "dim").is_null())
           return {take_along_dim(a.tensor(0), a.tensor(1, "indices"), a.axis(2, "dim", 0))};
         return {take_along_dim(reshape(a.tensor(0), {-1}), reshape(a.tensor(1, "indices"), {-1}), 0)};
       }},
      {"topk",
       [](Arguments& a) -> Tensors {
         a.flag(4, "sorted", true);  // always
         const SortResult s = topk(a.tensor(0), a.integer(1, "k", 1), a.axis(2, "dim", -1), a.flag(3, "largest", true));
         return {s.values, s.indices};
       }},
  };
}

}  // namespace attune::tests
