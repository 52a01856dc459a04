// What the machine allows: for each workload of the comparison the time of its matrix products alone, through
// OpenBLAS's own threads, or of copying as many bytes as the workload must read and write, or of reading those it must
// read, on all threads.
//
// Products of many small matrices run in parallel over the matrices. A copy of n bytes counts 2 n: those it reads and
// those it writes. NAME walks through more memory than caches hold; NAME/cached through as much as the workload does,
// part of which caches may hold. Both are timed in whole parts a thread and in small pieces (NAME:pieces): the
// quicker counts.

#include <cblas.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>

#include "bench/driver.h"
#include "bench/workloads.h"

namespace {

// ---- matrix products

/// `batch` products op(A) op(B) of [m, k] and [k, n], run `times` times over.
struct Product {
  std::int64_t m, n, k;
  bool trans_a = false, trans_b = false;
  std::int64_t batch = 1, times = 1;
};
using Products = std::vector<Product>;

/// y = x W^T, dx = dy W and dW = dy^T x of a linear layer.
void add_linear(Products& all, std::int64_t rows, std::int64_t in, std::int64_t out, std::int64_t times = 1) {
  all.push_back({.m = rows, .n = out, .k = in, .trans_b = true, .times = times});
  all.push_back({.m = rows, .n = in, .k = out, .times = times});
  all.push_back({.m = out, .n = in, .k = rows, .trans_a = true, .times = times});
}

/// Attention of `batch` tiles of t queries and s keys: scores, y = P v, and backward dP = dy v^T, dv = P^T dy, dq = dS
/// k, dk = dS^T q; `again`: the scores once more, since keeping them would take n^2 memory.
void add_attention(Products& all, std::int64_t batch, std::int64_t t, std::int64_t s, std::int64_t d, bool again,
                   std::int64_t times = 1) {
  const std::int64_t scores = (again ? 3 : 2) * times;
  all.push_back({.m = t, .n = s, .k = d, .trans_b = true, .batch = batch, .times = scores});
  all.push_back({.m = t, .n = d, .k = s, .batch = batch, .times = 2 * times});
  all.push_back({.m = s, .n = d, .k = t, .trans_a = true, .batch = batch, .times = 2 * times});
}

Products gpt_products(const bench::GptSize& s) {
  Products all;
  add_linear(all, s.tokens(), s.d, 3 * s.d, s.layers);
  add_attention(all, s.batch * s.heads, s.length, s.length, s.head_dim(), false, s.layers);
  add_linear(all, s.tokens(), s.d, s.d, s.layers);
  add_linear(all, s.tokens(), s.d, s.d_ff(), s.layers);
  add_linear(all, s.tokens(), s.d_ff(), s.d, s.layers);
  add_linear(all, s.tokens(), s.d, s.vocabulary);
  return all;
}

/// The head of words is over all tokens; the pooler and the next sentence's are small.
Products bert_products() {
  constexpr auto s = bench::text;
  Products all;
  add_linear(all, s.tokens(), s.d, s.d, 4 * s.layers + 1);
  add_attention(all, s.batch * s.heads, s.length, s.length, s.head_dim(), false, s.layers);
  add_linear(all, s.tokens(), s.d, s.d_ff, s.layers);
  add_linear(all, s.tokens(), s.d_ff, s.d, s.layers);
  add_linear(all, s.tokens(), s.d, s.vocabulary);
  return all;
}

/// A layer of the encoder has one attention, of the decoder two.
Products t5_products() {
  constexpr auto s = bench::text;
  Products all;
  add_linear(all, s.tokens(), s.d, s.d, 3 * 4 * s.layers);
  add_attention(all, s.batch * s.heads, s.length, s.length, s.head_dim(), false, 3 * s.layers);
  add_linear(all, s.tokens(), s.d, s.d_ff, 2 * 2 * s.layers);  // gated
  add_linear(all, s.tokens(), s.d_ff, s.d, 2 * s.layers);
  add_linear(all, s.tokens(), s.d, s.vocabulary);
  return all;
}

Products exact_attention_products(std::int64_t n) {
  constexpr auto s = bench::attention;
  constexpr std::int64_t tile = 256;
  const std::int64_t tiles = n / tile * (n / tile + 1) / 2;  // on and below the diagonal
  Products all;
  add_linear(all, n, s.d, 3 * s.d);
  add_attention(all, s.heads * tiles, tile, tile, s.head_dim(), true);
  add_linear(all, n, s.d, s.d);
  return all;
}

/// Each query sees its own chunk and the one before; queries are keys, so there are two input projections.
Products lsh_attention_products(std::int64_t n) {
  constexpr auto s = bench::attention;
  Products all;
  add_linear(all, n, s.d, s.d, 3);
  add_attention(all, s.heads * s.hashes * (n / s.chunk), s.chunk, 2 * s.chunk, s.head_dim(), true);
  return all;
}

/// Chunks of 64 positions: a product of queries, keys and values takes four products of matrices, its gradients three
/// times as many.
Products linear_attention_products(std::int64_t n) {
  constexpr auto s = bench::attention;
  constexpr std::int64_t chunk = 64;
  Products all;
  add_linear(all, n, s.d, 3 * s.d);
  all.push_back({.m = chunk, .n = s.head_dim(), .k = s.head_dim(), .batch = s.heads * n / chunk, .times = 16});
  add_linear(all, n, s.d, s.d);
  return all;
}

/// A linear layer whose input comes a step of `batch` rows at a time, forward and backward. The weight's gradient is a
/// whole product.
void add_stepped(Products& all, std::int64_t steps, std::int64_t batch, std::int64_t in, std::int64_t out,
                 std::int64_t times = 1) {
  all.push_back({.m = batch, .n = out, .k = in, .trans_b = true, .times = steps * times});
  all.push_back({.m = batch, .n = in, .k = out, .times = steps * times});
  all.push_back({.m = out, .n = in, .k = steps * batch, .trans_a = true, .times = times});
}

/// The input's projection is known at once, the state's is not.
Products recurrent_products(std::int64_t gates) {
  constexpr auto s = bench::recurrent;
  const std::int64_t out = gates * s.d;
  Products all;
  add_linear(all, s.steps * s.batch, s.d, out);
  add_stepped(all, s.steps, s.batch, s.d, out);
  return all;
}

/// Gates and readout of words are known at once, what depends on the state before is not. The scores' products with a
/// vector and the weighted means of annotations are left out.
Products additive_products() {
  constexpr auto s = bench::translation;
  Products all;
  add_linear(all, s.tokens(), s.d, 3 * s.d, 3);  // of words: two directions of the encoder, the decoder
  add_stepped(all, s.length, s.batch, s.d, 3 * s.d, 3);
  add_linear(all, s.batch, s.d, s.d);                     // the first state
  add_linear(all, s.tokens(), 2 * s.d, s.d);              // annotations, to be compared
  add_stepped(all, s.length, s.batch, s.d, s.d);          // with states
  add_stepped(all, s.length, s.batch, 2 * s.d, 3 * s.d);  // contexts
  add_linear(all, s.tokens(), 4 * s.d, 2 * s.d_maxout);
  add_linear(all, s.tokens(), s.d_maxout, s.vocabulary);
  return all;
}

/// As T5's, with plain feed-forward parts.
Products translation_products() {
  constexpr auto s = bench::translation;
  Products all;
  add_linear(all, s.tokens(), s.d, s.d, 3 * 4 * s.layers);
  add_attention(all, s.batch * s.heads, s.length, s.length, s.head_dim(), false, 3 * s.layers);
  add_linear(all, s.tokens(), s.d, s.d_ff, 2 * s.layers);
  add_linear(all, s.tokens(), s.d_ff, s.d, 2 * s.layers);
  add_linear(all, s.tokens(), s.d, s.vocabulary);
  return all;
}

struct Matrices {
  const Product p;
  std::vector<float> a, b, c;

  explicit Matrices(const Product& product)
      : p(product),
        a(bench::numbers("a", kept() * p.m * p.k)),
        b(bench::numbers("b", kept() * p.k * p.n)),
        c(static_cast<std::size_t>(kept() * p.m * p.n)) {}
  /// Tiles are used again, as those of attention are: a hundred of them, no more memory than a cache holds.
  std::int64_t kept() const { return std::min<std::int64_t>(p.batch, 128); }

  void one(std::int64_t i) {
    const std::int64_t at = i % kept();
    cblas_sgemm(CblasRowMajor, p.trans_a ? CblasTrans : CblasNoTrans, p.trans_b ? CblasTrans : CblasNoTrans,
                static_cast<int>(p.m), static_cast<int>(p.n), static_cast<int>(p.k), 1, a.data() + at * p.m * p.k,
                static_cast<int>(p.trans_a ? p.m : p.k), b.data() + at * p.k * p.n,
                static_cast<int>(p.trans_b ? p.k : p.n), 0, c.data() + at * p.m * p.n, static_cast<int>(p.n));
  }
  void run() {
    for (std::int64_t t = 0; t < p.times; ++t) {
      if (p.batch == 1) {
        one(0);
        continue;
      }
#pragma omp parallel for schedule(static)
      for (std::int64_t i = 0; i < p.batch; ++i) one(i);
    }
  }
};

bench::Workload products(const std::string& name, const Products& all, std::int64_t items = 1) {
  return {name,
          [all] {
            auto matrices = std::make_shared<std::vector<Matrices>>();
            for (const Product& p : all) matrices->emplace_back(p);
            return bench::Job{.step =
                                  [matrices] {
                                    for (Matrices& m : *matrices) m.run();
                                  },
                              .results = {},
                              .touch = {}};
          },
          items};
}

// ---- copies

using Bytes = std::vector<char>;

/// Copies until `traffic` bytes are read and written, going round in memory of `footprint` bytes, both sides together.
bench::Workload copies(const std::string& name, std::int64_t traffic, std::int64_t footprint, bool pieces) {
  return {name + (pieces ? ":pieces" : ""), [traffic, half = footprint / 2, pieces] {
            auto from = std::make_shared<Bytes>(half, 'a'), to = std::make_shared<Bytes>(half);
            const auto step = [traffic, half, pieces, from, to, start = std::int64_t{0}]() mutable {
              for (std::int64_t left = traffic / 2; left > 0;) {
                const std::int64_t now = std::min(left, half - start);
                const std::int64_t piece = pieces ? 32768 : (now + 1) / 2;
#pragma omp parallel for schedule(static)
                for (std::int64_t at = start; at < start + now; at += piece)
                  std::memcpy(to->data() + at, from->data() + at,
                              static_cast<std::size_t>(std::min(piece, start + now - at)));
                left -= now;
                start = (start + now) % half;
              }
            };
            return bench::Job{.step = step, .results = {}, .touch = {}};
          }};
}

/// Reads as much memory as the weights of a generating model, once and in order.
bench::Workload reads(const std::string& name, std::int64_t elements, bool pieces) {
  return {name + (pieces ? ":pieces" : ""), [elements, pieces] {
            const std::int64_t words = elements * std::int64_t{sizeof(float)} / std::int64_t{sizeof(std::uint64_t)};
            auto from = std::make_shared<std::vector<std::uint64_t>>(static_cast<std::size_t>(words), 1);
            auto total = std::make_shared<std::atomic<std::uint64_t>>(0);  // so that it is not left out
            const auto step = [words, pieces, from, total] {
              const std::int64_t piece = pieces ? 32768 : (words + 1) / 2;
#pragma omp parallel for schedule(static)
              for (std::int64_t at = 0; at < words; at += piece) {
                const std::uint64_t* p = from->data() + at;
                const std::int64_t n = std::min(piece, words - at);
                std::uint64_t sums[32] = {};
                std::int64_t i = 0;
                for (; i + 32 <= n; i += 32)
                  for (std::int64_t l = 0; l < 32; ++l) sums[l] += p[i + l];
                for (; i < n; ++i) sums[0] += p[i];
                for (const std::uint64_t x : sums) *total += x;
              }
            };
            return bench::Job{.step = step, .results = {}, .touch = {}};
          }};
}

/// The least that an operation over `rows` reads and writes, and the memory it does so in, in matrices of that size.
/// Forward it reads x and writes y; backward it reads dy and what it needs of x or y, and writes dx. What [rows] or
/// [columns] hold is left out.
struct RowOperation {
  const char* name;
  std::int64_t traffic, footprint;
};
constexpr std::array row_operations{
    RowOperation{"softmax", 5, 4},        // x -> y; y, dy -> dx
    RowOperation{"layer_norm", 5, 4},     // x -> y; x, dy -> dx
    RowOperation{"gelu", 5, 4},           // x -> y; x, dy -> dx
    RowOperation{"dropout", 4, 4},        // x -> y; dy -> dx, with the mask drawn again
    RowOperation{"cross_entropy", 3, 2},  // x -> a loss; x -> dx
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Workload> all{
      products("gpt_step", gpt_products(bench::gpt)), products("small_gpt_step", gpt_products(bench::small_gpt)),
      products("bert_step", bert_products()),         products("t5_step", t5_products()),
      products("lstm", recurrent_products(4)),        products("gru", recurrent_products(3)),
      products("additive_step", additive_products()), products("translation_step", translation_products()),
  };
  for (const std::int64_t n : bench::exact_lengths)
    all.push_back(products("exact_attention/" + std::to_string(n), exact_attention_products(n), n));
  for (const std::int64_t n : bench::lsh_lengths)
    all.push_back(products("lsh_attention/" + std::to_string(n), lsh_attention_products(n), n));
  for (const std::int64_t n : bench::linear_lengths)
    all.push_back(products("linear_attention/" + std::to_string(n), linear_attention_products(n), n));
  constexpr std::int64_t beyond_caches = 512 << 20;
  constexpr std::int64_t matrix = bench::rows.rows * bench::rows.columns * std::int64_t{sizeof(float)};
  constexpr std::int64_t moments = bench::adam.tensors * bench::adam.numel * std::int64_t{sizeof(float)};
  for (const bool pieces : {false, true}) {
    for (const RowOperation& o : row_operations) {
      all.push_back(copies(o.name, o.traffic * matrix, beyond_caches, pieces));
      all.push_back(copies(o.name + std::string("/cached"), o.traffic * matrix, o.footprint * matrix, pieces));
    }
    all.push_back(reads("generation", bench::generation.weights(), pieces));
    all.push_back(copies("adamw", 7 * moments, beyond_caches, pieces));  // p, g, m, v -> p, m, v
  }
  return bench::run(argc, argv, "the machine's limits", all, [] { return 0.0; });
}
