#include "nn/models/bert_parts.h"

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "nn/models/internal/bert_like.h"

namespace attune::nn {

BertClassifier::BertClassifier(std::int64_t d_model, std::int64_t labels, Activation activation, double p, Here here)
    : Module(here),
      dropout(child<Dropout>("dropout", p)),
      dense(child<Linear>("dense", d_model, d_model, LinearOptions{.activation = activation})),
      out_proj(child<Linear>("out_proj", d_model, labels)) {}

Tensor BertClassifier::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "BertClassifier", here);
  return scope.out(out_proj(dropout(dense(dropout(scope.in(input))))));
}

bool detail::has_words(BertHeads heads) {
  return heads == BertHeads::pretraining || heads == BertHeads::masked_words || heads == BertHeads::next_word;
}

void detail::check_beside_tokens(const char* model, const char* what, const Tensor& given, const Tensor& tokens,
                                 Here here) {
  if (given.defined() && given.shape() != tokens.shape())
    throw ShapeError(std::string(model) + ": " + what + " " + given.shape().str() + " must be " + tokens.shape().str(),
                     here);
}

const detail::Names<BertProblem>& detail::bert_problems() {
  static const Names<BertProblem> all{{"", BertProblem::by_labels},
                                      {"regression", BertProblem::regression},
                                      {"single_label_classification", BertProblem::one_label},
                                      {"multi_label_classification", BertProblem::several_labels}};
  return all;
}

namespace {

/// Of logits [b, labels], [b, n, labels], or [b, 1] of choices.
Tensor label_loss(const char* model, BertHeads heads, BertProblem problem, const Tensor& y, const Tensor& target,
                  Reduction reduction, Here here) {
  const auto classes = [&](const Tensor& logits) {
    return cross_entropy(logits, target, {.reduction = reduction}, here);
  };
  if (heads == BertHeads::token_labels) return classes(y);
  if (heads == BertHeads::choices) {
    if (target.rank() != 1 || target.size(0) < 1 || y.size(0) % target.size(0) != 0)
      throw ShapeError(std::string(model) + ": labels " + target.shape().str() + " do not divide the " +
                           std::to_string(y.size(0)) + " choices",
                       here);
    return classes(reshape(y, {target.size(0), y.size(0) / target.size(0)}));
  }
  if (problem == BertProblem::by_labels)
    problem = y.size(-1) == 1                  ? BertProblem::regression
              : target.dtype() == DType::int64 ? BertProblem::one_label
                                               : BertProblem::several_labels;
  if (problem == BertProblem::one_label) return classes(y);
  if (problem == BertProblem::several_labels)
    return binary_cross_entropy_with_logits(y, target, {.reduction = reduction}, here);
  return mse_loss(y.size(-1) == 1 && target.rank() == 1 ? reshape(y, {y.size(0)}) : y, target, reduction, here);
}

/// The mean of the losses of where an answer begins and ends.
Tensor span_loss(const char* model, const Tensor& spans, const BertTargets& targets, Reduction reduction, Here here) {
  if (!targets.starts.defined() || !targets.ends.defined())
    throw ValueError(std::string(model) + ": an answer has a start and an end", here);
  const auto loss_of = [&](std::int64_t which, const Tensor& target) {
    const Tensor outside = ge(target, spans.size(1));
    return cross_entropy(select(spans, 2, which), where(outside, full_like(target, -100), target),
                         {.reduction = reduction}, here);
  };
  return (loss_of(0, targets.starts) + loss_of(1, targets.ends)) / 2;
}

}  // namespace

Tensor detail::bert_loss(const char* model, BertHeads heads, BertProblem problem, const BertResult& result,
                         const BertTargets& targets, Reduction reduction, Here here) {
  Tensor all;
  const auto add = [&](const char* what, const Tensor& logits, const Tensor& target, const auto& loss_of) {
    if (!target.defined()) return;
    if (!logits.defined()) throw ValueError(std::string(model) + ": there is no head for the targets " + what, here);
    if (all.defined() && reduction == Reduction::none)
      throw ValueError(std::string(model) + ": several targets have no loss of one shape; reduce them", here);
    const Tensor loss = loss_of();
    all = all.defined() ? all + loss : loss;
  };
  add("words", result.words, targets.words, [&] {
    return heads == BertHeads::next_word ? next_token_loss(model, result.words, targets.words, reduction, here)
                                         : cross_entropy(result.words, targets.words, {.reduction = reduction}, here);
  });
  add("next_sentence", result.next_sentence, targets.next_sentence,
      [&] { return cross_entropy(result.next_sentence, targets.next_sentence, {.reduction = reduction}, here); });
  add("labels", result.labels, targets.labels,
      [&] { return label_loss(model, heads, problem, result.labels, targets.labels, reduction, here); });
  const Tensor& span = targets.starts.defined() ? targets.starts : targets.ends;
  add("starts and ends", result.spans, span, [&] { return span_loss(model, result.spans, targets, reduction, here); });
  if (!all.defined()) throw ValueError(std::string(model) + ": a loss needs targets", here);
  return all;
}

void detail::under(Published& file, const std::string& top, const std::vector<std::string>& heads) {
  file.rename([&](const std::string& name) {
    if (name.starts_with(top)) return name;
    for (const std::string& head : heads)
      if (name.starts_with(head)) return name;
    return top + name;
  });
  file.drop("embeddings.position_ids", "0, 1, 2, ...",
            [](const Tensor& x) { return all(eq(reshape(x, {x.numel()}), arange(x.numel()))); });
}

}  // namespace attune::nn
