// The comparison's models as a user of Attune has them: training steps of BERT, T5 and two models of translation, GPT-2
// that writes. bench/torch/ has the other side: torch_models.cpp, torch_seq2seq.cpp and torch_gpt2.cpp.

#include "bench/attune_common.h"
#include "optim/optim.h"

namespace bench::attune_side {

namespace {

/// A model, a loss of `batch` sequences of `length`, and AdamW. `Inputs` has the sizes and the loss.
template <class M, class Inputs>
struct Training {
  Training() { start(model); }
  Tensor loss(std::int64_t batch, std::int64_t length) {
    return inputs.loss(model, [&](const Tensor& x) {
      const Tensor rows = slice(x, 0, 0, batch);
      return x.rank() == 1 ? rows : slice(rows, 1, 0, length);
    });
  }
  void step(std::int64_t batch, std::int64_t length) {
    loss(batch, length).backward();
    optimizer.step();
  }

  M model{Inputs::config()};
  Inputs inputs;
  optim::AdamW optimizer{model.parameters(), {.lr = 3e-4}};
};

template <class M, class Inputs>
bench::Workload training(const std::string& name) {
  return {name, [] {
            auto t = std::make_shared<Training<M, Inputs>>();
            return bench::Job{
                .step = [t] { t->step(Inputs::s.batch, Inputs::s.length); },
                .results =
                    [t] {
                      const Tensor loss = t->loss(Inputs::s.batch, Inputs::s.length);
                      loss.backward();
                      bench::Results r{{"loss", loss.to_vector<float>()}};
                      take_gradients(t->model, r);
                      return r;
                    },
                .touch = [t] { t->step(1, 8); },
            };
          }};
}

struct BertInputs {
  static constexpr auto s = bench::text;
  static nn::BertConfig config() {
    return {.vocabulary = s.vocabulary,
            .positions = s.length,
            .d_model = s.d,
            .d_ff = s.d_ff,
            .heads = s.heads,
            .layers = s.layers,
            .dropout = 0,
            .attention_dropout = 0,
            .padding_token = -1};
  }
  template <class Part>
  Tensor loss(const nn::Bert& model, const Part& part) const {
    return model.loss(model(part(tokens), {.token_types = part(types)}),
                      {.words = part(words), .next_sentence = part(follows)});
  }

  Tensor tokens = given_classes("tokens", {s.batch, s.length}, s.vocabulary);
  Tensor types = given_classes("types", {s.batch, s.length}, 2);
  Tensor words = index_tensor(bench::masked_classes("words", s.tokens(), s.vocabulary), {s.batch, s.length});
  Tensor follows = given_classes("follows", {s.batch}, 2);
};

struct T5Inputs {
  static constexpr auto s = bench::text;
  static nn::T5Config config() {
    return {.vocabulary = s.vocabulary,
            .d_model = s.d,
            .d_kv = s.head_dim(),
            .d_ff = s.d_ff,
            .heads = s.heads,
            .layers = s.layers,
            .activation = Activation::gelu_tanh,
            .gated = true,
            .dropout = 0,
            .tied = false};
  }
  template <class Part>
  Tensor loss(const nn::T5& model, const Part& part) const {
    const Tensor said = part(labels);
    return model.loss(model(part(source), model.shift_right(said)), said);
  }

  Tensor source = given_classes("source", {s.batch, s.length}, s.vocabulary);
  Tensor labels = given_classes("labels", {s.batch, s.length}, s.vocabulary);
};

// ---- translation

/// Loss of a model that is called by source and decoder's tokens.
struct TranslationInputs {
  static constexpr auto s = bench::translation;
  template <class M, class Part>
  Tensor loss(const M& model, const Part& part) const {
    const Tensor said = part(labels);
    return model.loss(model(part(source), model.shift_right(said)), said);
  }

  Tensor source = given_classes("source", {s.batch, s.length}, s.vocabulary);
  Tensor labels = given_classes("labels", {s.batch, s.length}, s.vocabulary);
};

struct AdditiveInputs : TranslationInputs {
  static nn::AdditiveSeq2SeqConfig config() {
    return {.source_vocabulary = s.vocabulary,
            .vocabulary = s.vocabulary,
            .d_embedding = s.d,
            .d_hidden = s.d,
            .d_maxout = s.d_maxout};
  }
};

struct TransformerInputs : TranslationInputs {
  static nn::TransformerConfig config() {
    return {.vocabulary = s.vocabulary,
            .d_model = s.d,
            .d_ff = s.d_ff,
            .heads = s.heads,
            .layers = s.layers,
            .positions = s.length,
            .dropout = 0,
            .label_smoothing = s.label_smoothing};
  }
};

// ---- GPT-2, writing

struct Writer {
  Writer() {
    start(model);
    model.eval();
    begin();
  }
  Tensor some_tokens(std::int64_t n) const { return given_classes("prompt", {1, n}, s.vocabulary); }
  void begin() {
    state = model.start();
    state.reserve(s.positions);
    token = reshape(argmax(model.step(some_tokens(s.prompt), state)), {1, 1});
  }
  /// The next tokens, each the likeliest; a new text when there are no more positions.
  void write() {
    if (state.length() + s.steps > s.positions) begin();
    for (std::int64_t i = 0; i < s.steps; ++i) token = reshape(argmax(model.step(token, state)), {1, 1});
  }
  Tensor prompt_pass() const {
    nn::Gpt2State fresh = model.start();
    fresh.reserve(s.long_prompt);
    return model.step(some_tokens(s.long_prompt), fresh);
  }
  /// The logits after the prompt and after each of a few given tokens.
  bench::Results results() const {
    nn::Gpt2State fresh = model.start();
    bench::Results r{{"prompt", model.step(some_tokens(s.prompt), fresh).to_vector<float>()}};
    const Tensor next = given_classes("next", {1, 4}, s.vocabulary);
    for (std::int64_t i = 0; i < 4; ++i)
      r.emplace_back("token" + std::to_string(i), model.step(slice(next, 1, i, i + 1), fresh).to_vector<float>());
    return r;
  }

  static constexpr auto s = bench::generation;
  nn::Gpt2 model{{.vocabulary = s.vocabulary,
                  .positions = s.positions,
                  .d_model = s.d,
                  .d_ff = s.d_ff,
                  .heads = s.heads,
                  .layers = s.layers}};
  nn::Gpt2State state;
  Tensor token;  // [1, 1], the next
};

bench::Workload writing(const std::string& name, std::int64_t items, void (*step)(Writer&)) {
  return {name,
          [step] {
            auto w = std::make_shared<Writer>();
            return bench::Job{.step = [w, step] { step(*w); }, .results = [w] { return w->results(); }, .touch = {}};
          },
          items};
}

}  // namespace

std::vector<bench::Workload> model_workloads() {
  return {training<nn::Bert, BertInputs>("bert_step"),
          training<nn::T5, T5Inputs>("t5_step"),
          training<nn::AdditiveSeq2Seq, AdditiveInputs>("additive_step"),
          training<nn::Transformer, TransformerInputs>("translation_step"),
          writing("generation", bench::generation.steps, [](Writer& w) { w.write(); }),
          writing("prompt", 1, [](Writer& w) { w.prompt_pass(); }),
          writing("forward", 1, [](Writer& w) {
            const NoGrad off;
            w.model(w.some_tokens(bench::generation.long_prompt));
          })};
}

}  // namespace bench::attune_side
