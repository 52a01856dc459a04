#include "examples/support/long_tasks.h"

#include <algorithm>
#include <random>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
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

/// Appends an expression of at most `most` tokens: digits 0 .. 9, MAX, MIN, MED and SM (the sum modulo 10) from 10 on,
/// 14 its end. Returns its value.
int expression(std::mt19937_64& random, std::size_t most, int depth, std::vector<std::int64_t>& to) {
  if (most < 7 || depth == 0)  // of five operands
    return static_cast<int>(to.emplace_back(static_cast<std::int64_t>(random() % 10)));
  const std::size_t f = random() % 4, count = 2 + random() % 4;
  to.push_back(10 + static_cast<std::int64_t>(f));
  std::vector<int> values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(expression(random, (most - 2) / count, random() % 3 == 0 ? 0 : depth - 1, to));
  to.push_back(14);
  std::sort(values.begin(), values.end());
  int sum = 0;
  for (const int v : values) sum += v;
  return f == 0 ? values.back() : f == 1 ? values.front() : f == 2 ? values[count / 2] : sum % 10;
}

TaskBatch listops(std::int64_t b, std::int64_t n, Generator& g) {
  std::mt19937_64 random(
      static_cast<std::uint64_t>(randint(0, std::int64_t{1} << 60, {1}, g).to_vector<std::int64_t>()[0]));
  std::vector<std::int64_t> all;
  Tensor labels = full({b, n}, -100, int64);
  for (std::int64_t i = 0; i < b; ++i) {
    std::vector<std::int64_t> row{15};  // where the answer stands
    labels.mutable_data<std::int64_t>()[i * n] = expression(random, static_cast<std::size_t>(n) - 1, 4, row);
    row.resize(static_cast<std::size_t>(n), 16);
    all.insert(all.end(), row.begin(), row.end());
  }
  const Tensor tokens = tensor(all, {b, n}, int64);
  return {tokens, labels, eq(tokens, 16)};
}

TaskBatch retrieval(std::int64_t b, std::int64_t n, Generator& g) {
  constexpr std::int64_t asked = 4, symbols = 8, noise = 16;
  Tensor tokens = randint(0, noise, {b, n}, g), labels = full({b, n}, -100, int64);
  const auto draw = [&](std::int64_t most) { return randint(0, most, {b, asked}, g).to_vector<std::int64_t>(); };
  const std::int64_t part = (n - asked) / asked;
  const auto at = draw(part), symbol = draw(symbols), turn = draw(asked), order = draw(asked);
  auto* const t = tokens.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < b; ++i)
    for (std::int64_t j = 0; j < asked; ++j) {
      const std::size_t first = static_cast<std::size_t>(i * asked), own = first + static_cast<std::size_t>(j);
      const std::int64_t place = (j + turn[first]) % asked, end = i * n + n - asked + (j + order[first]) % asked;
      t[i * n + place * part + at[own]] = noise + j * symbols + symbol[own];
      t[end] = noise + asked * symbols + j;
      labels.mutable_data<std::int64_t>()[end] = symbol[own];
    }
  return {tokens, labels, {}};
}

}  // namespace

const std::vector<LongTask>& long_tasks() {
  static const std::vector<LongTask> all{{"duplication", 33, true, duplication},
                                         {"listops", 17, false, listops},
                                         {"retrieval", 16 + 4 * 8 + 4, false, retrieval}};
  return all;
}

}  // namespace examples
