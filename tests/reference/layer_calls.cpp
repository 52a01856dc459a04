// The calls of torch.nn.functional.

#include <stdexcept>

#include "tests/reference/calls.h"

namespace attune::tests {

namespace {

/// The reduction at position i, which PyTorch's deprecated size_average (at `average`) and reduce (before i) override.
Reduction reduction_at(Arguments& a, std::size_t i, std::size_t average) {
  const std::string name = a.text(i, "reduction", "mean");
  const std::size_t reduce = average == named_only ? named_only : i - 1;
  const bool has_average = a.has(average, "size_average") && !a.at(average, "size_average").is_null(),
             has_reduce = a.has(reduce, "reduce") && !a.at(reduce, "reduce").is_null();
  if (has_average || has_reduce) {
    if (!a.flag(reduce, "reduce", true)) return Reduction::none;
    return a.flag(average, "size_average", true) ? Reduction::mean : Reduction::sum;
  }
  if (name == "none") return Reduction::none;
  if (name == "sum") return Reduction::sum;
  if (name == "mean") return Reduction::mean;
  if (name == "batchmean") return Reduction::batch_mean;
  throw std::runtime_error("the reduction " + name + " is not known");
}

/// PyTorch's classes lie along axis 1, or 0 if there is no batch; Attune's along the last one.
Tensor classes_last(const Tensor& x) { return x.rank() < 2 ? x : movedim(x, {1}, {-1}); }

Tensors class_loss(Arguments& a, Tensor (*f)(const Tensor&, const Tensor&, const CrossEntropyOptions&, Here)) {
  const Tensor& target = a.tensor(1, "target");
  const CrossEntropyOptions options{.ignore_index = a.integer(4, "ignore_index", -100),
                                    .label_smoothing = a.number(7, "label_smoothing", 0),
                                    .reduction = reduction_at(a, 6, 3),
                                    .weight = a.optional_tensor(2, "weight")};
  const bool probabilities = target.dtype() == float64 || target.dtype() == float32;
  return {f(classes_last(a.tensor(0)), probabilities ? classes_last(target) : target, options, Here::current())};
}

Tensors convolution(Arguments& a) {
  const auto one = [&](std::size_t i, const char* name, std::int64_t otherwise) {
    const auto v = a.integers(i, name);
    if (v.size() > 1) throw std::runtime_error(std::string(name) + " has more than one number");
    return v.empty() ? otherwise : v[0];
  };
  Conv1dCall options{.stride = one(3, "stride", 1)};
  if (a.has(4, "padding") && a.at(4, "padding").value.is_string()) {
    const std::string padding = a.text(4, "padding", "");
    if (padding != "same" && padding != "valid") throw std::runtime_error("the padding " + padding + " is not known");
    options.padding = padding == "same" ? same_padding : valid_padding;
  } else {
    options.padding = one(4, "padding", 0);
  }
  options.dilation = one(5, "dilation", 1);
  options.groups = a.integer(6, "groups", 1);
  return {conv1d(a.tensor(0), a.tensor(1, "weight"), a.optional_tensor(2, "bias"), options)};
}

Tensors attention(Arguments& a) {
  const Tensor &query = a.tensor(0), &key = a.tensor(1, "key"), mask = a.optional_tensor(3, "attn_mask");
  const double p = a.number(4, "dropout_p", 0);
  a.flag(5, "need_attn_weights", false);  // PyTorch returns them either way
  AttentionOptions options{.dropout = p};
  // PyTorch's query i sees the keys up to i; Attune's is the i-th of the last queries.
  if (a.flag(6, "is_causal", false)) options.attention_mask = triu(ones({query.size(-2), key.size(-2)}, boolean), 1);
  if (mask.defined() && mask.dtype() == boolean)
    options.attention_mask = logical_not(mask);  // PyTorch's is true for the keys that are seen
  else if (mask.defined())
    options.bias = mask;
  const AttentionResult y = scaled_dot_product_attention(query, key, a.tensor(2, "value"), options, true);
  return {y.output, y.weights};
}

Tensors binary_loss(Arguments& a) {
  return {binary_cross_entropy_with_logits(a.tensor(0), a.tensor(1, "target"),
                                           {.reduction = reduction_at(a, 5, 3),
                                            .weight = a.optional_tensor(2, "weight"),
                                            .positive_weight = a.optional_tensor(6, "pos_weight")})};
}

Tensors table_rows(Arguments& a) {
  // The cases have the table first, as the tensor that is differentiated.
  const bool table_first = a.tensor(0).dtype() == float64 || a.tensor(0).dtype() == float32;
  const Tensor &first = a.tensor(0), &second = a.tensor(1, table_first ? "idx" : "weight");
  const Tensor &table = table_first ? first : second, &places = table_first ? second : first;
  std::int64_t padding =
      a.has(2, "padding_idx") && !a.at(2, "padding_idx").is_null() ? a.at(2, "padding_idx").integer() : table.size(0);
  if (padding < 0) padding += table.size(0);
  if (!a.optional_tensor(3, "max_norm").defined() && a.has(3, "max_norm") && !a.at(3, "max_norm").is_null())
    throw std::runtime_error("max_norm is not known");
  a.number(4, "norm_type", 2);
  a.flag(6, "sparse", false);
  if (a.flag(5, "scale_grad_by_freq", false)) throw std::runtime_error("scale_grad_by_freq is not known");
  return {embedding(table, places, padding == table.size(0) ? -1 : padding)};
}

Tensors normalized(Arguments& a) {
  const Shape shape(a.at(1, "normalized_shape").integers());
  Tensor weight = a.optional_tensor(2, "weight");
  if (!weight.defined()) weight = ones(shape, a.tensor(0).dtype());  // says which axes
  return {layer_norm(a.tensor(0), weight, a.optional_tensor(3, "bias"), a.number(4, "eps", 1e-5))};
}

}  // namespace

std::map<std::string, ReferenceCall> layer_calls() {
  return {
      {"nn.functional._scaled_dot_product_attention", attention},
      {"nn.functional.binary_cross_entropy_with_logits", binary_loss},
      {"nn.functional.conv1d", convolution},
      {"nn.functional.cosine_similarity",
       [](Arguments& a) -> Tensors {
         return {cosine_similarity(a.tensor(0), a.tensor(1, "x2"), a.axis(2, "dim", 1), a.number(3, "eps", 1e-8))};
       }},
      {"nn.functional.cross_entropy", [](Arguments& a) { return class_loss(a, cross_entropy); }},
      {"nn.functional.dropout",
       [](Arguments& a) -> Tensors {
         const double p = a.number(1, "p", 0.5);
         a.flag(3, "inplace", false);
         return {a.flag(2, "training", true) ? dropout(a.tensor(0), p) : clone(a.tensor(0))};
       }},
      {"nn.functional.elu", [](Arguments& a) -> Tensors { return {elu(a.tensor(0), a.number(1, "alpha", 1))}; }},
      {"nn.functional.embedding", table_rows},
      {"nn.functional.gelu",
       [](Arguments& a) -> Tensors {
         return {a.text(named_only, "approximate", "none") == "tanh" ? gelu_tanh(a.tensor(0)) : gelu(a.tensor(0))};
       }},
      {"nn.functional.glu",
       [](Arguments& a) -> Tensors {
         const Tensors halves = chunk(a.tensor(0), 2, a.axis(1, "dim", -1));
         return {halves[0] * sigmoid(halves[1])};
       }},
      {"nn.functional.huber_loss",
       [](Arguments& a) -> Tensors {
         return {
             huber_loss(a.tensor(0), a.tensor(1, "target"), a.number(3, "delta", 1), reduction_at(a, 2, named_only))};
       }},
      {"nn.functional.kl_div",
       [](Arguments& a) -> Tensors {
         return {kl_div(a.tensor(0), a.tensor(1, "target"), a.flag(5, "log_target", false), reduction_at(a, 4, 2))};
       }},
      {"nn.functional.l1_loss",
       [](Arguments& a) -> Tensors { return {l1_loss(a.tensor(0), a.tensor(1, "target"), reduction_at(a, 4, 2))}; }},
      {"nn.functional.layer_norm", normalized},
      {"nn.functional.leaky_relu",
       [](Arguments& a) -> Tensors { return {leaky_relu(a.tensor(0), a.number(1, "negative_slope", 0.01))}; }},
      {"nn.functional.linear",
       [](Arguments& a) -> Tensors {
         return {linear(a.tensor(0), a.tensor(1, "weight"), a.optional_tensor(2, "bias"))};
       }},
      {"nn.functional.logsigmoid", [](Arguments& a) -> Tensors { return {log_sigmoid(a.tensor(0))}; }},
      {"nn.functional.mse_loss",
       [](Arguments& a) -> Tensors { return {mse_loss(a.tensor(0), a.tensor(1, "target"), reduction_at(a, 4, 2))}; }},
      {"nn.functional.nll_loss", [](Arguments& a) { return class_loss(a, nll_loss); }},
      {"nn.functional.normalize",
       [](Arguments& a) -> Tensors {
         return {normalize(a.tensor(0), a.number(1, "p", 2), a.axis(2, "dim", 1), a.number(3, "eps", 1e-12))};
       }},
      {"nn.functional.prelu", [](Arguments& a) -> Tensors { return {prelu(a.tensor(0), a.tensor(1, "weight"))}; }},
      {"nn.functional.relu", [](Arguments& a) -> Tensors { return {relu(a.tensor(0))}; }},
      {"nn.functional.silu", [](Arguments& a) -> Tensors { return {silu(a.tensor(0))}; }},
      {"nn.functional.softplus",
       [](Arguments& a) -> Tensors {
         return {softplus(a.tensor(0), a.number(1, "beta", 1), a.number(2, "threshold", 20))};
       }},
  };
}

}  // namespace attune::tests
