#include "examples/support/long_tasks.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/random.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/modes.h"

namespace examples {

using namespace attune;

TaskBatch twice(std::int64_t b, std::int64_t n, std::int64_t symbols, Generator& g) {
  const Tensor w = randint(1, symbols + 1, {b, n / 2 - 1}, g), zero = zeros({b, 1}, int64);
  return {cat({zero, w, zero, w}, 1), cat({full({b, n / 2}, -100, int64), w, full({b, 1}, -100, int64)}, 1), {}};
}

double accuracy(const Tensor& logits, const TaskBatch& x) {
  const NoGrad off;
  const Tensor asked = to(ne(x.labels, -100), float32), right = to(eq(argmax(logits), x.labels), float32);
  return (sum(asked * right) / sum(asked)).item();
}

namespace {

TaskBatch duplication(std::int64_t b, std::int64_t n, Generator& g) { return twice(b, n, 32, g); }

/// Appends an expression of at most `room` tokens: digits 0 .. 9, MAX, MIN, MED and SM (the sum modulo 10) from 10 on,
/// 14 its end; and to `labels` its value at its end, -100 before. Returns the value.
int expression(std::mt19937_64& random, std::size_t room, std::vector<std::int64_t>& to,
               std::vector<std::int64_t>& labels) {
  const auto append = [&](std::int64_t token, std::int64_t label) {
    to.push_back(token);
    labels.push_back(label);
  };
  if (room < 4) {
    append(static_cast<std::int64_t>(random() % 10), -100);
    return static_cast<int>(to.back());
  }
  const std::size_t f = random() % 4, count = 2 + std::min<std::size_t>(random() % 4, room - 4);
  const std::size_t end = to.size() + room - 1;
  append(10 + static_cast<std::int64_t>(f), -100);
  std::vector<int> values;
  for (std::size_t i = count; i > 0; --i) {
    const std::size_t share = (end - to.size()) / i;
    values.push_back(expression(random, random() % 3 == 0 ? 1 : share, to, labels));
  }
  std::sort(values.begin(), values.end());
  const int sum = std::accumulate(values.begin(), values.end(), 0);
  const int value = f == 0 ? values.back() : f == 1 ? values.front() : f == 2 ? values[count / 2] : sum % 10;
  append(14, value);
  return value;
}

TaskBatch listops(std::int64_t b, std::int64_t n, Generator& g) {
  std::mt19937_64 random(
      static_cast<std::uint64_t>(randint(0, std::int64_t{1} << 60, {1}, g).to_vector<std::int64_t>()[0]));
  std::vector<std::int64_t> all, values;
  for (std::int64_t i = 0; i < b; ++i) {
    const auto room = static_cast<std::size_t>(n);
    expression(random, room / 2 + random() % (room - room / 2 + 1), all, values);
    all.resize(static_cast<std::size_t>((i + 1) * n), 15);
    values.resize(all.size(), -100);
  }
  const Tensor tokens = tensor(all, {b, n}, int64);
  return {tokens, tensor(values, {b, n}, int64), eq(tokens, 15)};
}

TaskBatch retrieval(std::int64_t b, std::int64_t n, Generator& g) {
  constexpr std::int64_t keys = 4, symbols = 8, blanks = 1;
  const std::int64_t questions = n / 8, part = (n - questions) / keys;
  const auto draw = [&](std::int64_t most, std::int64_t count) { return randint(0, most, {b, count}, g); };
  const Tensor asked = draw(keys, questions), symbol = draw(symbols, keys);
  Tensor tokens = cat({draw(blanks, n - questions), asked + (blanks + keys * symbols)}, 1);
  const auto at = draw(part, keys).to_vector<std::int64_t>(), turn = draw(keys, 1).to_vector<std::int64_t>(),
             what = symbol.to_vector<std::int64_t>();
  auto* const t = tokens.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < b; ++i)
    for (std::int64_t key = 0; key < keys; ++key) {
      const auto own = static_cast<std::size_t>(i * keys + key);
      const std::int64_t place = (key + turn[static_cast<std::size_t>(i)]) % keys;
      t[i * n + place * part + at[own]] = blanks + key * symbols + what[own];
    }
  return {tokens, cat({full({b, n - questions}, -100, int64), gather(symbol, 1, asked)}, 1), {}};
}

}  // namespace

const std::vector<LongTask>& long_tasks() {
  static const std::vector<LongTask> all{{"duplication", 33, true, duplication},
                                         {"listops", 16, false, listops},
                                         {"retrieval", 1 + 4 * 8 + 4, false, retrieval}};
  return all;
}

}  // namespace examples
