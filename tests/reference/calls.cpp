#include "tests/reference/calls.h"

#include <algorithm>
#include <stdexcept>

namespace attune::tests {

namespace {

template <Tensor (*F)(const Tensor&, Here)>
Tensors unary(Arguments& a) {
  return {F(a.tensor(0), Here::current())};
}
/// Both sides of (input, other), either of which may be a number; two numbers make a double, as in PyTorch.
std::pair<Tensor, Tensor> both_sides(Arguments& a, const std::string& name) {
  const Argument &x = a.at(0), &y = a.at(1, name);
  const DType dtype = x.is_tensor() ? x.tensor.dtype() : y.is_tensor() ? y.tensor.dtype() : float64;
  return {x.as_tensor(dtype), y.as_tensor(dtype)};
}
template <Tensor (*F)(const Operand&, const Operand&, Here)>
Tensors of_two(Arguments& a, const std::string& name) {
  const auto [x, y] = both_sides(a, name);
  return {F(x, y, Here::current())};
}
template <Tensor (*F)(const Operand&, const Operand&, Here)>
Tensors binary(Arguments& a) {
  return of_two<F>(a, "other");
}
/// A dtype is read if it is the one of the cases.
void expect_no_other_dtype(Arguments& a, std::size_t i) {
  if (a.text(i, "dtype", "float64") != "float64") throw std::runtime_error("only dtype float64 is known");
}
/// (input, axes, keepdim)
template <Tensor (*F)(const Tensor&, const Dims&, bool, Here)>
Tensors reduction(Arguments& a) {
  expect_no_other_dtype(a, named_only);
  return {F(a.tensor(0), a.integers(1, "dim"), a.flag(2, "keepdim", false), Here::current())};
}
/// (input, axis)
template <Tensor (*F)(const Tensor&, std::int64_t, Here)>
Tensors along_axis(Arguments& a) {
  expect_no_other_dtype(a, 2);
  return {F(a.tensor(0), a.axis(1, "dim", -1), Here::current())};
}
template <ExtremeResult (*F)(const Tensor&, std::int64_t, bool, Here)>
Tensors extremes(Arguments& a) {
  const ExtremeResult e = F(a.tensor(0), a.axis(1, "dim", 0), a.flag(2, "keepdim", false), Here::current());
  return {e.values, e.indices};
}
/// The second one's name is one of these.
Tensors matrix_product(Arguments& a) {
  for (const char* name : {"mat2", "vec", "tensor"})
    if (a.has(1, name)) return {matmul(a.tensor(0), a.tensor(1, name))};
  return {matmul(a.tensor(0), a.tensor(1, "other"))};
}
Tensors add_product(Arguments& a) {
  const bool batches = a.has(named_only, "batch1") || a.has(named_only, "batch2");
  return {addmm(a.tensor(0), a.tensor(1, batches ? "batch1" : "mat1"), a.tensor(2, batches ? "batch2" : "mat2"),
                a.number(named_only, "beta", 1), a.number(named_only, "alpha", 1))};
}

/// var and std: (input, dim, unbiased, keepdim) or (input, unbiased) or by name.
struct Moments {
  Dims axes;
  double correction = 1;
  bool keep;
};
Moments moments(Arguments& a) {
  Moments m;
  if (a.size() > 1 && a.at(1).value.is_boolean()) {
    m.correction = a.at(1).value.get<bool>();
  } else {
    m.axes = a.integers(1, "dim");
    if (a.has(2, "unbiased")) m.correction = a.flag(2, "unbiased", true);
  }
  if (a.has(named_only, "correction")) m.correction = a.number(named_only, "correction", 1);
  m.keep = a.flag(3, "keepdim", false);
  return m;
}

Tensors list_at(Arguments& a, std::size_t i) {
  Tensors xs;
  for (const Argument& x : a.at(i).items) xs.push_back(x.tensor);
  return xs;
}

/// -1 counts what is left, as everywhere in PyTorch; a shape as one list or as many arguments.
Shape shape_at(Arguments& a, std::size_t i, const std::string& name) { return Shape(a.rest(i, name)); }

Tensors squeeze_call(Arguments& a) {
  if (!a.has(1, "dim")) return {squeeze(a.tensor(0))};
  const Tensor& x = a.tensor(0);
  const int axis = a.axis(1, "dim", 0);
  if (x.rank() == 0 || x.size(axis) != 1) return {reshape(x, x.shape())};  // PyTorch leaves such an axis alone
  return {squeeze(x, axis)};
}

/// (input, dims, dims) of permute, where no axes mean a tensor of rank 0.
Tensors pad_call(Arguments& a) {
  if (a.text(2, "mode", "constant") != "constant") throw std::runtime_error("only constant padding is known");
  return {constant_pad(a.tensor(0), a.at(1, "pad").integers(), a.number(3, "value", 0))};
}

/// transpose, whose axes may be 0 or -1 of a rank-0 tensor.
Tensors transpose_call(Arguments& a) {
  const int i = a.axis(1, "dim0", 0), j = a.axis(2, "dim1", 0);
  return {a.tensor(0).rank() == 0 ? reshape(a.tensor(0), {}) : transpose(a.tensor(0), i, j)};
}

Tensors clamp_call(Arguments& a) {
  Tensor y = a.tensor(0);
  if (a.has(1, "min") && !a.at(1, "min").is_null())
    y = a.at(1, "min").is_tensor() ? clamp_min(y, a.tensor(1, "min")) : clamp_min(y, a.at(1, "min").number());
  if (a.has(2, "max") && !a.at(2, "max").is_null())
    y = a.at(2, "max").is_tensor() ? clamp_max(y, a.tensor(2, "max")) : clamp_max(y, a.at(2, "max").number());
  return {y};
}

Tensors scaled(Arguments& a, bool add_it) {
  const double alpha = a.number(named_only, "alpha", 1);
  const auto [x, other] = both_sides(a, "other");
  const Tensor term = alpha == 1 ? other : alpha * other;
  return {add_it ? x + term : x - term};
}

std::map<std::string, ReferenceCall> elementwise_calls() {
  return {
      {"abs", unary<abs>},
      {"add", [](Arguments& a) { return scaled(a, true); }},
      {"addcmul",
       [](Arguments& a) -> Tensors {
         return {
             addcmul(a.tensor(0), a.tensor(1, "tensor1"), a.tensor(2, "tensor2"), a.number(named_only, "value", 1))};
       }},
      {"atan2", binary<atan2>},
      {"clamp", clamp_call},
      {"clamp_max", [](Arguments& a) { return of_two<clamp_max>(a, "max"); }},
      {"clamp_min", [](Arguments& a) { return of_two<clamp_min>(a, "min"); }},
      {"clone", unary<clone>},
      {"contiguous", unary<contiguous>},
      {"cos", unary<cos>},
      {"div.no_rounding_mode", binary<div>},
      {"div.trunc_rounding",
       [](Arguments& a) -> Tensors {
         const std::string mode = a.text(named_only, "rounding_mode", "");
         if (!mode.empty() && mode != "trunc") throw std::runtime_error("only trunc rounding is known");
         return mode.empty() ? binary<div>(a) : binary<div_trunc>(a);
       }},
      {"erf", unary<erf>},
      {"exp", unary<exp>},
      {"exp2", unary<exp2>},
      {"expm1", unary<expm1>},
      {"floor", unary<floor>},
      {"lerp",
       [](Arguments& a) -> Tensors {
         const Tensor& x = a.tensor(0);
         return {lerp(x, a.tensor(1, "end"), a.at(2, "weight").as_tensor(x.dtype()))};
       }},
      {"log", unary<log>},
      {"log1p", unary<log1p>},
      {"log2", unary<log2>},
      {"logaddexp", binary<logaddexp>},
      {"logit", [](Arguments& a) -> Tensors { return {logit(a.tensor(0), a.number(1, "eps", 0))}; }},
      {"masked_fill",
       [](Arguments& a) -> Tensors {
         const Tensor& x = a.tensor(0);
         return {masked_fill(x, a.tensor(1, "mask"), a.at(2, "value").as_tensor(x.dtype()))};
       }},
      {"masked_select", [](Arguments& a) -> Tensors { return {masked_select(a.tensor(0), a.tensor(1, "mask"))}; }},
      {"maximum", binary<maximum>},
      {"minimum", binary<minimum>},
      {"mul", binary<mul>},
      {"neg", unary<neg>},
      {"pow", [](Arguments& a) { return of_two<pow>(a, "exponent"); }},
      {"reciprocal", unary<reciprocal>},
      {"round", unary<round>},
      {"rsqrt", unary<rsqrt>},
      {"sigmoid", unary<sigmoid>},
      {"sign", unary<sign>},
      {"sin", unary<sin>},
      {"sqrt", unary<sqrt>},
      {"square", unary<square>},
      {"sub", [](Arguments& a) { return scaled(a, false); }},
      {"tan", unary<tan>},
      {"tanh", unary<tanh>},
      // PyTorch's case has the condition second.
      {"where",
       [](Arguments& a) -> Tensors { return {where(a.tensor(1, "condition"), a.tensor(0), a.tensor(2, "other"))}; }},
      {"xlogy", binary<xlogy>},
  };
}

std::map<std::string, ReferenceCall> reduction_calls() {
  return {
      {"addmm", add_product},
      {"amax", reduction<amax>},
      {"amin", reduction<amin>},
      {"baddbmm", add_product},
      {"bmm", matrix_product},
      {"cumprod", along_axis<cumprod>},
      {"cumsum", along_axis<cumsum>},
      {"dot", matrix_product},
      {"einsum",
       [](Arguments& a) -> Tensors {
         const std::string text = a.at(1, "equation").value.get<std::string>();
         return {einsum(text, list_at(a, 0))};
       }},
      {"inner", [](Arguments& a) -> Tensors { return {inner(a.tensor(0), a.tensor(1, "other"))}; }},
      {"linalg.vector_norm",
       [](Arguments& a) -> Tensors {
         expect_no_other_dtype(a, named_only);
         return {vector_norm(a.tensor(0), a.number(1, "ord", 2), a.integers(2, "dim"), a.flag(3, "keepdim", false))};
       }},
      {"log_softmax", along_axis<log_softmax>},
      {"logsumexp", reduction<logsumexp>},
      {"matmul", matrix_product},
      {"max.reduction_no_dim", [](Arguments& a) -> Tensors { return {amax(a.tensor(0))}; }},
      {"max.reduction_with_dim", extremes<max>},
      {"mean", reduction<mean>},
      {"min.reduction_with_dim", extremes<min>},
      {"mm", matrix_product},
      {"mv", matrix_product},
      {"nansum", reduction<nansum>},
      {"outer", [](Arguments& a) -> Tensors { return {outer(a.tensor(0), a.tensor(1, "vec2"))}; }},
      {"prod", reduction<prod>},
      {"softmax", along_axis<softmax>},
      {"std",
       [](Arguments& a) -> Tensors {
         const Moments m = moments(a);
         return {std_dev(a.tensor(0), m.axes, m.correction, m.keep)};
       }},
      {"sum", reduction<sum>},
      {"tensordot",
       [](Arguments& a) -> Tensors {
         const Tensor &x = a.tensor(0), &y = a.tensor(1, "b");
         if (!a.has(2, "dims") || !a.at(2, "dims").is_list)
           return {tensordot(x, y, static_cast<int>(a.integer(2, "dims", 2)))};
         const std::vector<Argument>& dims = a.at(2, "dims").items;
         return {tensordot(x, y, dims[0].integers(), dims[1].integers())};
       }},
      {"var",
       [](Arguments& a) -> Tensors {
         const Moments m = moments(a);
         return {var(a.tensor(0), m.axes, m.correction, m.keep)};
       }},
      {"var_mean",
       [](Arguments& a) -> Tensors {
         const Moments m = moments(a);
         const VarMeanResult both = var_mean(a.tensor(0), m.axes, m.correction, m.keep);
         return {both.var, both.mean};
       }},
  };
}

std::map<std::string, ReferenceCall> movement_calls() {
  return {
      {"broadcast_to", [](Arguments& a) -> Tensors { return {expand(a.tensor(0), shape_at(a, 1, "size"))}; }},
      {"cat", [](Arguments& a) -> Tensors { return {cat(list_at(a, 0), a.axis(1, "dim", 0))}; }},
      {"chunk", [](Arguments& a) { return chunk(a.tensor(0), a.integer(1, "chunks", 1), a.axis(2, "dim", 0)); }},
      {"constant_pad_nd",
       [](Arguments& a) -> Tensors {
         return {constant_pad(a.tensor(0), a.at(1, "pad").integers(), a.number(2, "value", 0))};
       }},
      {"diag_embed",
       [](Arguments& a) -> Tensors {
         return {diag_embed(a.tensor(0), a.integer(1, "offset", 0), a.axis(2, "dim1", -2), a.axis(3, "dim2", -1))};
       }},
      {"diagonal",
       [](Arguments& a) -> Tensors {
         return {diagonal(a.tensor(0), a.integer(1, "offset", 0), a.axis(2, "dim1", 0), a.axis(3, "dim2", 1))};
       }},
      {"expand", [](Arguments& a) -> Tensors { return {expand(a.tensor(0), shape_at(a, 1, "size"))}; }},
      {"flatten",
       [](Arguments& a) -> Tensors {
         return {flatten(a.tensor(0), a.axis(1, "start_dim", 0), a.axis(2, "end_dim", -1))};
       }},
      {"flip", [](Arguments& a) -> Tensors { return {flip(a.tensor(0), a.rest(1, "dims"))}; }},
      {"movedim",
       [](Arguments& a) -> Tensors {
         return {movedim(a.tensor(0), a.at(1, "source").integers(), a.at(2, "destination").integers())};
       }},
      {"narrow",
       [](Arguments& a) -> Tensors {
         return {narrow(a.tensor(0), a.axis(1, "dim", 0), a.integer(2, "start", 0), a.integer(3, "length", 0))};
       }},
      {"nn.functional.pad.constant", pad_call},
      {"permute", [](Arguments& a) -> Tensors { return {permute(a.tensor(0), a.rest(1, "dims"))}; }},
      {"repeat", [](Arguments& a) -> Tensors { return {repeat(a.tensor(0), a.rest(1, "repeats"))}; }},
      {"repeat_interleave",
       [](Arguments& a) -> Tensors {
         const Argument& counts = a.at(1, "repeats");
         a.integer(named_only, "output_size", 0);  // follows from the counts
         const Tensor x = a.has(2, "dim") && !a.at(2, "dim").is_null() ? a.tensor(0) : reshape(a.tensor(0), {-1});
         const int axis = a.axis(2, "dim", 0);
         return {counts.is_tensor() ? repeat_interleave(x, counts.tensor, axis)
                                    : repeat_interleave(x, counts.integer(), axis)};
       }},
      {"reshape", [](Arguments& a) -> Tensors { return {reshape(a.tensor(0), shape_at(a, 1, "size"))}; }},
      {"roll",
       [](Arguments& a) -> Tensors {
         return {roll(a.tensor(0), Dims(a.integers(1, "shifts")), a.integers(2, "dims"))};
       }},
      {"select",
       [](Arguments& a) -> Tensors { return {select(a.tensor(0), a.axis(1, "dim", 0), a.integer(2, "index", 0))}; }},
      {"split",
       [](Arguments& a) -> Tensors {
         const int axis = a.axis(2, "dim", 0);
         const Argument& size = a.at(1, "split_size_or_sections");
         if (size.is_list) return split(a.tensor(0), size.integers(), axis);
         std::vector<std::int64_t> sizes;
         for (std::int64_t left = a.tensor(0).size(axis); left > 0; left -= sizes.back())
           sizes.push_back(std::min(left, size.integer()));
         return split(a.tensor(0), sizes, axis);
       }},
      {"split_with_sizes",
       [](Arguments& a) { return split(a.tensor(0), a.at(1, "split_sizes").integers(), a.axis(2, "dim", 0)); }},
      {"squeeze", squeeze_call},
      {"stack", [](Arguments& a) -> Tensors { return {stack(list_at(a, 0), a.axis(1, "dim", 0))}; }},
      {"transpose", transpose_call},
      {"tril", [](Arguments& a) -> Tensors { return {tril(a.tensor(0), a.integer(1, "diagonal", 0))}; }},
      {"triu", [](Arguments& a) -> Tensors { return {triu(a.tensor(0), a.integer(1, "diagonal", 0))}; }},
      {"unbind", [](Arguments& a) { return unbind(a.tensor(0), a.axis(1, "dim", 0)); }},
      {"unfold",
       [](Arguments& a) -> Tensors {
         return {unfold(a.tensor(0), a.axis(1, "dimension", 0), a.integer(2, "size", 1), a.integer(3, "step", 1))};
       }},
      {"unsqueeze", [](Arguments& a) -> Tensors { return {unsqueeze(a.tensor(0), a.axis(1, "dim", 0))}; }},
      {"view", [](Arguments& a) -> Tensors { return {reshape(a.tensor(0), shape_at(a, 1, "size"))}; }},
  };
}

}  // namespace

std::map<std::string, ReferenceCall> index_calls();  // index_calls.cpp
std::map<std::string, ReferenceCall> layer_calls();  // layer_calls.cpp

const std::map<std::string, ReferenceCall>& reference_calls() {
  static const std::map<std::string, ReferenceCall> calls = [] {
    std::map<std::string, ReferenceCall> all;
    for (const auto& family : {elementwise_calls(), reduction_calls(), movement_calls(), index_calls(), layer_calls()})
      all.insert(family.begin(), family.end());
    return all;
  }();
  return calls;
}

}  // namespace attune::tests
