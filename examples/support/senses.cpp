#include "examples/support/senses.h"

#include <algorithm>
#include <array>

#include "autograd/ops/random.h"
#include "examples/support/text.h"

namespace examples {

namespace {

using Words = std::vector<std::string>;

/// Words of two senses, and what is met beside each.
const std::array<std::array<std::string, 3>, 6> senses{{{"bank", "loan cash debt", "boat mud reeds"},
                                                        {"bat", "ball glove pitcher", "cave wings insect"},
                                                        {"bass", "guitar drum song", "lake hook trout"},
                                                        {"crane", "steel crew tower", "marsh nest heron"},
                                                        {"seal", "wax letter stamp", "ice whale harbour"},
                                                        {"spring", "coil metal bolt", "april bloom rain"}}};
/// The word W between two hints, so that a reader in either direction needs its sense beyond it.
const Words patterns{"the C by the W was near a D",   "we saw the C at the W and the D",
                     "there is a C in the W for a D", "a C on this W has its D",
                     "no C without a W and a D",      "that C is of the W like every D",
                     "the old C and the W with a D",  "by the C he spoke of a W and of the D"};

}  // namespace

Questions ask(std::int64_t n) {
  const auto draw = [](std::int64_t below) { return attune::randint(0, below, {}).item<std::int64_t>(); };
  Questions all;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t word = draw(std::ssize(senses)), sense = draw(2);
    const auto& entry = senses[static_cast<std::size_t>(word)];
    const Words beside = words_of(entry[static_cast<std::size_t>(1 + sense)]);
    Words sentence = words_of(patterns[static_cast<std::size_t>(draw(std::ssize(patterns)))]);
    all.places.push_back(std::find(sentence.begin(), sentence.end(), "W") - sentence.begin());
    all.answers.push_back(2 * word + sense);
    for (std::string& w : sentence) {
      if (w == "W") w = entry[0];
      if (w == "C" || w == "D") w = beside[static_cast<std::size_t>(draw(std::ssize(beside)))];
    }
    all.sentences.push_back(std::move(sentence));
  }
  return all;
}

}  // namespace examples
