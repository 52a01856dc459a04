// Translation by the three models of its story: one final state (vanilla: Sutskever et al. 2014), attention over all
// states (additive: Bahdanau et al. 2015), queries, keys and values without recurrence (transformer: Vaswani et al.
// 2017). Without --data the language is dates as people write them, to be said as ISO 8601 does, several in a sentence.
//
//     translate --model vanilla && translate --model vanilla --reverse-source && translate --model additive
//     translate --model additive --translate "they met on march 3 , 1984"
//     translate --model transformer --data multi30k --width 256    # train.de, train.en, val.de, ..., line by line
//
// Expect: one or two minutes a model on the dates, then BLEU by the length of the source of all models trained into
// --out: the vanilla model falls with length, less if the source is reversed. Alignments are drawn, words on both axes.
#include <tuple>

#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/dates.h"
#include "examples/support/language.h"
#include "examples/support/text.h"
#include "examples/support/translation.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

struct Options : examples::RunFlags {
  Options() : RunFlags{.out = "translate_out", .steps = 3000, .save_every = 500} {}
  std::string model = "additive", data, source = "de", target = "en", tokenizer = "word", decoder = "exact", translate;
  std::int64_t vocabulary = 8000, dates = 3, batch_tokens = 2000, positions = 256, evaluate = 500, warmup = 200;
  std::int64_t width = 128, embedding = 64, layers = 2, heads = 4, beam = 5;
  double dropout = 0.1, lr = 2e-3, clip = 1, length_penalty = 1;
  bool reverse_source = false, published_start = false, pre_norm = false;

  std::string name() const {
    return model + (reverse_source ? "_reversed" : "") + (published_start ? "_published" : "") +
           (pre_norm ? "_pre_norm" : "") + (decoder == "exact" ? "" : "_" + decoder);
  }
  std::string folder() const { return out + "/" + name(); }
};

std::unique_ptr<examples::Translator> make_model(const Options& o, const examples::Languages& l) {
  manual_seed(static_cast<std::uint64_t>(o.seed));
  const std::int64_t from = l.source->size(), to = l.target->size();
  if (o.model == "vanilla") {
    nn::VanillaSeq2SeqConfig c{.source_vocabulary = from, .vocabulary = to, .d_embedding = o.embedding};
    c.d_hidden = o.width, c.layers = o.layers, c.reverse_source = o.reverse_source, c.dropout = o.dropout;
    c.start_token = l.start;
    return std::make_unique<examples::TranslatorOf<nn::VanillaSeq2Seq>>(c);
  }
  if (o.model == "transformer") {
    nn::TransformerConfig c{.vocabulary = from, .target_vocabulary = to, .d_model = o.width, .d_ff = 4 * o.width};
    c.heads = o.heads, c.layers = o.layers, c.positions = o.positions, c.pre_norm = o.pre_norm, c.dropout = o.dropout;
    c.start_token = l.start;
    if (o.decoder == "linear") c.decoder_mechanism = LinearAttentionOptions{};
    if (o.decoder == "performer") c.decoder_mechanism = nn::PerformerOptions{.softmax_epsilon = 0};
    return std::make_unique<examples::TranslatorOf<nn::Transformer>>(c);
  }
  nn::AdditiveSeq2SeqConfig c{.source_vocabulary = from, .vocabulary = to, .d_embedding = o.embedding};
  c.d_hidden = o.width, c.d_maxout = o.width / 2, c.dropout = o.dropout, c.start_token = l.start;
  if (o.published_start) c.start = nn::Seq2SeqStart::published;
  return std::make_unique<examples::TranslatorOf<nn::AdditiveSeq2Seq>>(c);
}

examples::Texts read_texts(const Options& o) {
  if (!o.data.empty()) return examples::read_texts(o.data, o.source, o.target);
  const auto seed = 3 * static_cast<std::uint64_t>(o.seed);
  return {examples::written_dates(20'000, o.dates, seed),
          examples::written_dates(500, o.dates, seed + 1),
          {examples::written_dates(1000, o.dates, seed + 2)}};
}

examples::Search search_of(const Options& o, std::int64_t beams) {
  return {beams, o.length_penalty, o.model == "transformer", o.positions, o.batch_tokens};
}

int train(const examples::CommandLine& line, const Options& o) {
  const examples::Texts texts = line.or_refuse([&] { return read_texts(o); });
  const examples::Languages languages =
      line.or_refuse([&] { return examples::Languages(texts.training, o.tokenizer == "bpe", o.vocabulary); });
  const auto pairs = line.or_refuse([&] { return languages.pairs(texts.training, o.positions); });
  const auto held = line.or_refuse([&] { return languages.pairs(texts.validation, o.positions); });
  for (const auto& test : texts.tests) line.or_refuse([&] { return languages.pairs(test, o.positions); });
  const nn::BatchOptions how{
      .max_tokens = std::max(o.batch_tokens, o.positions), .group = 50, .seed = static_cast<std::uint64_t>(o.seed)};
  auto batches = line.or_refuse([&] { return nn::pair_batches(pairs.first, pairs.second, how); });
  auto validation = nn::pair_batches(held.first, held.second, how);
  const std::vector<nn::Sequence> probe(held.first.begin(),
                                        held.first.begin() + std::min<std::ptrdiff_t>(300, std::ssize(held.first)));
  const auto model = line.or_refuse([&] { return make_model(o, languages); });
  nn::Module& module = model->module();
  const bool noam = o.model == "transformer";
  optim::Adam optimizer(module.parameters(),
                        {.lr = o.lr,
                         .beta2 = noam ? 0.98 : 0.999,
                         .schedule = noam ? optim::noam(o.width, o.warmup) : optim::cosine(o.steps, o.warmup, 0.05)});
  nn::RunOptions options = examples::run_options(line, o);
  options.best = "bleu", options.larger_is_better = true;
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.folder(), options); });
  run->track("model", module);
  run->track("optimizer", optimizer);
  run->track("data", batches);
  languages.save(o.folder());
  print("{}: {} parameters, vocabularies of {} and {}, {} pairs\n", o.name(), module.parameter_count(),
        languages.source->size(), languages.target->size(), pairs.first.size());
  while (run->next()) {
    const Tensor loss = model->loss(batches.next(), Reduction::mean);
    loss.backward();
    optim::clip_grad_norm(module.parameters(), o.clip);
    optimizer.step();
    run->log({{"loss", loss.item()}});
    if (!run->every(o.evaluate)) continue;
    const auto said = examples::translations(*model, languages, probe, search_of(o, 1));
    run->log({{"validation", examples::mean_loss(*model, validation)},
              {"bleu", examples::bleu_of(said, {texts.validation.target.begin(),
                                                texts.validation.target.begin() + std::ssize(said)})}});
  }
  if (run->interrupted()) return run->exit_code();
  print("{:.0f} s; the best of its checkpoints:\n", run->seconds());
  nn::load_from_checkpoint(o.folder(), "model", module);
  examples::report(*model, languages, texts.tests, o.out, o.name(), search_of(o, o.beam));
  const auto curve = [&](const std::string& of) { return examples::Curve{of, run->history(of)}; };
  if (examples::draw_curves(o.folder() + "/curves.png", o.name(),
                            {noam ? "loss (nats a token; training: smoothed labels)" : "loss (nats a token)",
                             {curve("loss"), curve("validation")}},
                            {"BLEU of validation, greedy", {curve("bleu")}, "[0:100]"}))
    print("Losses and BLEU: {}/curves.png\n", o.folder());
  return 0;
}

int translate(examples::CommandLine& line, Options& o) {
  const std::string checkpoint = line.or_refuse([&] { return nn::checkpoint_path(o.folder()); });
  line.take(line.or_refuse([&] { return nn::checkpoint_info(checkpoint); }).settings);
  const examples::Languages languages = line.or_refuse([&] { return examples::Languages(o.folder()); });
  if (examples::words_of(o.translate).empty()) line.refuse("--translate: there is no text");
  const nn::Sequence source = languages.source_of(o.translate);
  if (std::ssize(source) > o.positions)
    line.refuse(fmt::format("--translate: the text has {} tokens, more than the {} positions of the model",
                            source.size(), o.positions));
  for (const std::string& word : examples::words_of(o.translate))
    if (const auto ids = languages.source->encode(word); ids.size() == 1 && ids[0] == languages.source->special().unk)
      fmt::print(stderr, "translate: the model does not know the word \"{}\"\n", word);
  const auto model = line.or_refuse([&] { return make_model(o, languages); });
  line.or_refuse([&] { nn::load_from_checkpoint(checkpoint, "model", model->module()); });
  const std::string said = examples::translations(*model, languages, {source}, search_of(o, o.beam))[0];
  print("{}\n", said);
  examples::draw_alignments(*model, languages, o.folder() + "/translated", o.translate, said);
  return 0;
}

void add_options(examples::CommandLine& line, Options& o) {
  constexpr std::int64_t most = 1 << 20;
  line.add("--model", o.model, "`vanilla`, `additive` or `transformer`", {"vanilla", "additive", "transformer"});
  line.add("--data", o.data, "a folder with train.SOURCE, train.TARGET, val.*, test*.*; without it: written dates");
  line.add("--source", o.source, "ending of the files to translate from");
  line.add("--target", o.target, "ending of the files to translate into");
  line.add("--tokenizer", o.tokenizer, "`word`: between spaces; `bpe`: byte-pair encoding", {"word", "bpe"});
  line.add("--vocabulary", o.vocabulary, 260, most, "tokens of each side, the most frequent");
  line.add("--dates", o.dates, 1, 20, "dates in a sentence at the most, without --data");
  line.add("--batch-tokens", o.batch_tokens, 1, most, "tokens of a batch, padding included; dates: 1,000");
  line.add("--positions", o.positions, 4, most, "tokens of the longest line");
  line.add("--evaluate", o.evaluate, 1, most, "steps between validations");
  line.add("--width", o.width, 2, most, "of hidden states");
  line.add("--embedding", o.embedding, 1, most, "of the recurrent models' words");
  line.add("--layers", o.layers, 1, 1000, "of the vanilla model and of the Transformer; dates: 1");
  line.add("--heads", o.heads, 1, most, "of the Transformer, which divide the width");
  line.add("--decoder", o.decoder,
           "attention of the Transformer's decoder to its own words; others than `exact` keep sums",
           {"exact", "linear", "performer"});
  line.add("--dropout", o.dropout, 0, 0.99, "while training; dates: 0");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate; dates: 0.005; the Transformer: 0.3, times that of its paper");
  line.add("--warmup", o.warmup, 1, most, "steps of linear warm-up; a cosine follows, or the Transformer's root");
  line.add("--clip", o.clip, 1e-6, 1e6, "norm that gradients are cut to");
  line.flag("--reverse-source", o.reverse_source, "the vanilla model reads the last word first");
  line.flag("--published-start", o.published_start, "the additive model begins with weights as small as published");
  line.flag("--pre-norm", o.pre_norm, "the Transformer's norms come before its sublayers");
  line.add("--beam", o.beam, 1, 1000, "hypotheses of the search; 1: greedy", false);
  line.add("--length-penalty", o.length_penalty, -10, 10, "exponent of the length in a hypothesis' score", false);
  line.add("--translate", o.translate, "translate this by the model trained into --out, and train nothing", {}, false);
  line.add_run(o);
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("translate",
                             "Trains a model of translation. `dates: x`: without --data x is the default; "
                             "--steps are then 2,000, of the vanilla model 6,000.");
  Options o;
  add_options(line, o);
  return line.run(argc, argv, [&] {
    for (const auto& [flag, set, model] : {std::tuple{"--reverse-source", o.reverse_source, "vanilla"},
                                           {"--published-start", o.published_start, "additive"},
                                           {"--pre-norm", o.pre_norm, "transformer"},
                                           {"--decoder", o.decoder != "exact", "transformer"}})
      if (set && o.model != model) line.refuse(fmt::format("{} is for --model {}", flag, model));
    const bool dates = o.data.empty();
    if (!dates && line.given("--dates")) line.refuse("--dates does not go with --data");
    if (dates) examples::unless_given(line, {{"--layers", o.layers, 1}, {"--batch-tokens", o.batch_tokens, 1000}});
    if (dates) examples::unless_given(line, {{"--steps", o.steps, o.model == "vanilla" ? 6000 : 2000}});
    if (dates && !line.given("--dropout")) o.dropout = 0;
    if (!line.given("--lr")) o.lr = o.model == "transformer" ? 0.3 : dates ? 5e-3 : 2e-3;
    if (!line.given("--warmup") && o.warmup >= o.steps) o.warmup = std::max<std::int64_t>(1, o.steps / 2);
    return line.given("--translate") ? translate(line, o) : train(line, o);
  });
}
