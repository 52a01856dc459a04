// Trains a T5 (Raffel et al. 2019) of v1.1's form: first it fills in spans that are taken out of a text, then the same
// model learns tasks told by a prefix: `copy: qkz` is answered by `qkz`, `reverse: qkz` by `zkq`, `sort: qkz` by `kqz`.
// Words are random letters, which nobody can know by heart; every tenth step goes on filling in spans.
// Expect: within three minutes on two cores over 95 % of fresh words are answered without a mistake in each task.
#include <algorithm>

#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/print.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;
using Words = std::vector<std::string>;
using Batches = nn::Batches<nn::PairBatch>;

namespace {

const Words tasks{"copy", "reverse", "sort"};

struct Options : examples::RunFlags {
  Options() : RunFlags{.out = "t5_out", .steps = 3500, .save_every = 500} {}
  std::int64_t pretrain = 300, batch = 32, window = 64, letters = 8, width = 64;
  double lr = 2e-3;
  std::string data, tokenizer;
};

/// SentencePiece's, or the characters of the text and the tasks behind T5's special tokens.
std::unique_ptr<nn::Tokenizer> tokenizer_of(const Options& o, const std::string& text) {
  if (!o.tokenizer.empty())
    return std::make_unique<nn::SentencePieceTokenizer>(nn::SentencePieceTokenizer::load(o.tokenizer));
  Words special{"<pad>", "</s>", "<unk>"};
  for (int i = 100; i-- > 0;) special.push_back(fmt::format("<extra_id_{}>", i));
  return std::make_unique<nn::CharTokenizer>(text + "copy: reverse: sort: abcdefghijklmnopqrstuvwxyz", special);
}

/// Windows of a text without some spans, and what was in them.
Batches corrupted(const nn::Tokens& tokens, const nn::Tokenizer& tokenizer, const Options& o) {
  std::vector<nn::Sequence> sources, targets;
  for (std::int64_t at = 0; at + o.window <= tokens.size(); at += o.window) {
    const nn::Sequence window = tokens.ids(at, o.window).to_vector<std::int64_t>();
    const auto c = nn::corrupt_spans(window, {.first_sentinel = tokenizer.id_of("<extra_id_0>")});
    sources.push_back(c.input);
    targets.push_back(c.target);
  }
  return nn::pair_batches(sources, targets, {.batch = o.batch, .seed = static_cast<std::uint64_t>(o.seed)});
}

/// Questions about words of 2 and more random letters, the tasks in turn, and their answers.
Batches questions(std::int64_t n, std::int64_t batch, const nn::Tokenizer& t, const Options& o) {
  std::vector<nn::Sequence> sources, targets;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::string& task = tasks[static_cast<std::size_t>(i) % tasks.size()];
    std::string word;
    const auto letters = static_cast<std::int64_t>(randint(2, o.letters + 1, {}).item());
    for (const auto c : randint('a', 'z' + 1, {letters}).to_vector<std::int64_t>()) word += static_cast<char>(c);
    sources.push_back(t.encode(task + ": " + word + "</s>"));
    if (task == "reverse") std::reverse(word.begin(), word.end());
    if (task == "sort") std::sort(word.begin(), word.end());
    targets.push_back(t.encode(word + "</s>"));
  }
  return nn::pair_batches(sources, targets, {.batch = batch, .seed = static_cast<std::uint64_t>(o.seed)});
}

int train(const examples::CommandLine& line, const Options& o) {
  manual_seed(static_cast<std::uint64_t>(o.seed));
  const std::string text = line.or_refuse([&] { return examples::read_text(o.data); });
  const auto tokenizer = line.or_refuse([&] { return tokenizer_of(o, text); });
  const auto parts = nn::split(nn::Tokens(tokenizer->encode(text), tokenizer->size()), 0.95);
  auto spans = corrupted(parts.first, *tokenizer, o), held_out = corrupted(parts.second, *tokenizer, o);
  auto words = questions(100'000, o.batch, *tokenizer, o), fresh = questions(600, 300, *tokenizer, o);
  nn::T5Config c{.vocabulary = tokenizer->size(), .d_model = o.width, .d_kv = 16, .d_ff = 2 * o.width, .heads = 4};
  c.layers = 2;
  c.activation = Activation::gelu_tanh;
  c.gated = true;
  c.tied = false;
  c.dropout = 0;
  nn::T5 model(c);
  // A bias tells positions, which has to become large before any place is looked at: it learns faster than the rest.
  optim::AdamW optimizer(
      optim::groups_by_name(model.named_parameters(), {{.which = "relative_attention_bias", .lr = 20 * o.lr}}),
      {.lr = o.lr, .beta2 = 0.98, .weight_decay = 0, .schedule = optim::cosine(o.steps + 100, 100, 0.05)});
  const auto loss_of = [&](const nn::PairBatch& b) {
    return model.loss(model(b.source, model.shift_right(b.labels), {.key_padding_mask = b.source_mask}), b.labels);
  };
  const auto answers = [&](const nn::PairBatch& b, std::int64_t beams) {
    const nn::GenerateOptions how{.max_length = b.target.size(1) + 1, .eos = 1, .pad = 0, .beams = beams};
    return nn::generate(model, b.source, how, b.source_mask).sequences;
  };
  const auto text_of = [&](const Tensor& rows, std::int64_t row) {
    nn::Sequence ids = select(rows, 0, row).to_vector<std::int64_t>();
    std::erase_if(ids, [](std::int64_t id) { return id < 2; });  // padding, the end
    return tokenizer->decode(ids);
  };
  const auto judged = [&](std::int64_t beams) {  // the share of right answers in each task, in %, and spans' loss
    nn::Metrics all{{"copy", 0}, {"reverse", 0}, {"sort", 0}, {"validation", loss_of(*held_out.begin()).item()}};
    for (const nn::PairBatch& b : fresh) {
      const Words said = nn::decode_batch(*tokenizer, answers(b, beams), true);
      const Words expected = nn::decode_batch(*tokenizer, b.target, true);
      for (std::size_t i = 0; i < said.size(); ++i)
        all[static_cast<std::size_t>(b.rows[i]) % 3].second += said[i] == expected[i] ? 0.5 : 0;
    }
    return all;
  };
  nn::Run run(o.out, examples::run_options(line, o));
  run.track("model", model);
  run.track("optimizer", optimizer);
  run.track("spans", spans);
  run.track("words", words);
  while (run.next()) {
    const bool fills = run.step() <= o.pretrain || run.step() % 10 == 0;
    const Tensor loss = loss_of(fills ? spans.next() : words.next());
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    run.log({{fills ? "spans" : "tasks", loss.item()}});
    if (run.every(250)) run.log(judged(1));
  }
  if (run.interrupted()) return run.exit_code();
  const nn::Metrics greedy = judged(1), search = judged(4);
  print("\n200 fresh words of each, in % without a mistake:{:>9}{:>10}\n", "greedy", "4 beams");
  for (std::size_t i = 0; i < 3; ++i) print("{:46}{:10.1f}{:10.1f}\n", tasks[i], greedy[i].second, search[i].second);
  for (const nn::PairBatch& b : {*fresh.begin(), *held_out.begin()})
    for (const Tensor said = answers(b, 4); const std::int64_t row : nn::Sequence{0, 1, 2})
      if (row < said.size(0)) print("\n{}\n  -> {}\n", text_of(b.source, row), text_of(said, row));
  const auto curve = [&](const std::string& of) { return examples::Curve{of, run.history(of)}; };
  if (examples::draw_curves(o.out + "/curves.png", "T5: spans filled in, then three tasks",
                            {"loss (nats a token)", {curve("spans"), curve("tasks"), curve("validation")}},
                            {"words right (%)", {curve("copy"), curve("reverse"), curve("sort")}, "[0:102]"}))
    print("\nLosses and accuracy: {}/curves.png\n", o.out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("t5", "Trains a T5: spans to fill in, then one model for `copy:`, `reverse:`, `sort:`.");
  Options o;
  line.add("--pretrain", o.pretrain, 0, 1 << 30, "steps of filling in spans; the others are of the tasks");
  line.add("--batch", o.batch, 1, 1 << 20, "pairs in a batch");
  line.add("--letters", o.letters, 2, 100, "of the longest word");
  line.add("--width", o.width, 4, 1 << 16, "of the model");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add("--data", o.data, "a text to take spans out of");
  line.add("--tokenizer", o.tokenizer, "a SentencePiece model; otherwise tokens are characters");
  line.add_run(o);
  return line.run(argc, argv, [&] { return train(line, o); });
}
