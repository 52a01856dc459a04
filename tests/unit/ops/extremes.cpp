// Numbers at and beyond the ends: axes, indices, lengths, counts and steps of any size give the documented exception.

#include <doctest/doctest.h>

#include <limits>
#include <utility>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t smallest = std::numeric_limits<std::int64_t>::min();

/// The type of what f throws, "" if it throws nothing. No call may take more than a little memory.
std::string outcome(const std::function<void()>& f) {
  set_memory_budget(memory_stats().live_bytes + (16 << 20));
  std::string type;
  try {
    f();
  } catch (const MemoryError&) {
    type = "MemoryError";
  } catch (const std::exception&) {
    const std::string text = thrown(f);
    type = text.substr(0, text.find(':'));
  }
  set_memory_budget(0);
  return type;
}

/// An axis beyond two axes, as one beyond three.
int of_three(int axis) { return axis == 2 ? 3 : axis == -3 ? -4 : axis; }

struct Call {
  std::string name;
  std::function<void(std::int64_t)> f;
  std::string expected;  ///< at both ends of the integers
};

}  // namespace

// Long: a table of the operations that take an axis.
TEST_CASE("extremes: axes beyond the rank are IndexErrors of every operation that takes one") {
  const Tensor x = zeros({2, 3}), square = zeros({2, 2}), at = index_tensor({0, 0}, {1, 2}), i = index_tensor({0});
  const std::vector<std::pair<std::string, std::function<void(int)>>> calls{
      {"size", [&](int a) { x.size(a); }},
      {"sum", [&](int a) { sum(x, {a}); }},
      {"mean", [&](int a) { mean(x, {a}); }},
      {"prod", [&](int a) { prod(x, {a}); }},
      {"amax", [&](int a) { amax(x, {a}); }},
      {"amin", [&](int a) { amin(x, {a}); }},
      {"var", [&](int a) { var(x, {a}); }},
      {"var_mean", [&](int a) { var_mean(x, {a}); }},
      {"std_dev", [&](int a) { std_dev(x, {a}); }},
      {"norm", [&](int a) { norm(x, {a}); }},
      {"vector_norm", [&](int a) { vector_norm(x, 3, {a}); }},
      {"nansum", [&](int a) { nansum(x, {a}); }},
      {"logsumexp", [&](int a) { logsumexp(x, {a}); }},
      {"argmax", [&](int a) { argmax(x, a); }},
      {"argmin", [&](int a) { argmin(x, a); }},
      {"max", [&](int a) { max(x, a); }},
      {"min", [&](int a) { min(x, a); }},
      {"cumsum", [&](int a) { cumsum(x, a); }},
      {"cumprod", [&](int a) { cumprod(x, a); }},
      {"softmax", [&](int a) { softmax(x, a); }},
      {"log_softmax", [&](int a) { log_softmax(x, a); }},
      {"normalize", [&](int a) { normalize(x, 2, a); }},
      {"cosine_similarity", [&](int a) { cosine_similarity(x, x, a); }},
      {"sort", [&](int a) { sort(x, a); }},
      {"argsort", [&](int a) { argsort(x, a); }},
      {"topk", [&](int a) { topk(x, 1, a); }},
      {"topk_mask", [&](int a) { topk_mask(x, 1, a); }},
      {"index_select", [&](int a) { index_select(x, a, i); }},
      {"index_add",
       [&](int a) {
         index_add(x, a, i, zeros({1, 3}));
       }},
      {"index_copy",
       [&](int a) {
         index_copy(x, a, i, zeros({1, 3}));
       }},
      {"gather", [&](int a) { gather(x, a, at); }},
      {"scatter", [&](int a) { scatter(x, a, at, 1); }},
      {"scatter_add",
       [&](int a) {
         scatter_add(x, a, at, zeros({1, 2}));
       }},
      {"take_along_dim", [&](int a) { take_along_dim(x, at, a); }},
      {"slice", [&](int a) { slice(x, a, 0, 1); }},
      {"slice_scatter",
       [&](int a) {
         slice_scatter(x, {2, 3}, a, 0);
       }},
      {"select", [&](int a) { select(x, a, 0); }},
      {"narrow", [&](int a) { narrow(x, a, 0, 1); }},
      {"split", [&](int a) { split(x, {2}, a); }},
      {"chunk", [&](int a) { chunk(x, 2, a); }},
      {"unbind", [&](int a) { unbind(x, a); }},
      {"cat",
       [&](int a) {
         cat({x, x}, a);
       }},
      {"stack",
       [&](int a) {
         stack({x, x}, of_three(a));
       }},
      {"flip", [&](int a) { flip(x, {a}); }},
      {"roll", [&](int a) { roll(x, 1, a); }},
      {"roll along several", [&](int a) { roll(x, Dims{1}, Dims{a}); }},
      {"pad", [&](int a) { pad(x, a, 1, 1); }},
      {"repeat_interleave", [&](int a) { repeat_interleave(x, 2, a); }},
      {"repeat_interleave by counts", [&](int a) { repeat_interleave(x, i + 1, a); }},
      {"squeeze", [&](int a) { squeeze(x, a); }},
      {"unsqueeze", [&](int a) { unsqueeze(x, of_three(a)); }},
      {"transpose", [&](int a) { transpose(x, 0, a); }},
      {"permute",
       [&](int a) {
         permute(x, {0, a});
       }},
      {"movedim", [&](int a) { movedim(x, {0}, {a}); }},
      {"flatten", [&](int a) { flatten(x, 0, a); }},
      {"unfold", [&](int a) { unfold(x, a, 1, 1); }},
      {"diagonal", [&](int a) { diagonal(square, 0, 0, a); }},
  };
  for (const auto& [name, f] : calls)
    for (const int axis : {2, -3, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
      const std::string label = name + " " + std::to_string(axis);
      CHECK_MESSAGE(outcome([&, &call = f] { call(axis); }) == "IndexError", label);
    }
  for (const std::int64_t axis : {largest, smallest}) CHECK(outcome([&] { sum(x, {axis}); }) == "IndexError");
}

// Long: a table of the arguments that count or measure.
TEST_CASE("extremes: lengths, counts, steps and offsets at the ends of the integers") {
  const Tensor x = zeros({2, 3}), none = zeros({0, 3}), signal = zeros({1, 1, 8}), w = zeros({1, 1, 2});
  const Tensor heads = zeros({1, 8, 1, 2});
  Generator g(1);
  const auto lsh = [](const auto& change) {
    LshOptions o;
    o.chunk = 2;
    change(o);
    return o;
  };
  const auto local = [](const auto& change) {
    LocalOptions o;
    o.chunk = 2;
    o.ring = true;
    change(o);
    return o;
  };
  const auto attend = [&](const LocalOptions& o) { local_attention(heads, heads, heads, o); };
  const auto hash = [&](const LshOptions& o) {
    lsh_attention(heads, heads, lsh_buckets(heads, lsh_rotations(o, 1, 1, 2, 8, float32, g), o), o);
  };
  const std::string fine;
  // A call that takes one end and refuses the other names both outcomes: "smallest / largest".
  const std::vector<Call> calls{
      {"select", [&](auto n) { select(x, 0, n); }, "IndexError"},
      {"narrow from", [&](auto n) { narrow(x, 0, n, 1); }, "IndexError"},
      {"narrow to", [&](auto n) { narrow(x, 0, 0, n); }, "IndexError"},
      {"slice from", [&](auto n) { slice(x, 0, n, 2); }, fine},
      {"slice to", [&](auto n) { slice(x, 0, 0, n); }, fine},
      {"slice step", [&](auto n) { slice(x, 0, 0, 2, n); }, "ValueError / "},
      {"slice_scatter from",
       [&](auto n) {
         slice_scatter(x, {4, 3}, 0, n);
       },
       "ShapeError"},
      {"slice_scatter step",
       [&](auto n) {
         slice_scatter(x, {4, 3}, 0, 0, n);
       },
       "ValueError / ShapeError"},
      {"index slice", [&](auto n) { index(x, {Slice{.start = n, .stop = n}}); }, fine},
      {"index step", [&](auto n) { index(x, {Slice{.step = n}}); }, "ValueError / "},
      {"split",
       [&](auto n) {
         split(x, {n, n});
       },
       "ShapeError"},
      {"chunk", [&](auto n) { chunk(x, n); }, "ValueError / "},
      {"chunk of nothing", [&](auto n) { chunk(none, n); }, "ValueError"},
      {"roll", [&](auto n) { roll(x, n, 0); }, fine},
      {"pad before", [&](auto n) { pad(x, 0, n, 0); }, "ValueError"},
      {"pad after", [&](auto n) { pad(x, 0, 0, n); }, "ValueError"},
      {"constant_pad",
       [&](auto n) {
         constant_pad(x, {n, n});
       },
       "ValueError"},
      {"repeat",
       [&](auto n) {
         repeat(x, {n, 1});
       },
       "ValueError / ShapeError"},
      {"repeat of nothing",
       [&](auto n) {
         repeat(none, {1, n});
       },
       "ValueError / ShapeError"},
      {"repeat_interleave", [&](auto n) { repeat_interleave(x, n, 0); }, "ValueError / ShapeError"},
      {"repeat_interleave by counts",
       [&](auto n) {
         repeat_interleave(x, index_tensor({n, n}), 0);
       },
       "ValueError / ShapeError"},
      {"repeat_interleave by one count", [&](auto n) { repeat_interleave(zeros({1}), index_tensor({n}), 0); },
       "ValueError / ShapeError"},
      {"reshape",
       [&](auto n) {
         reshape(x, {n, n});
       },
       "ShapeError"},
      {"expand",
       [&](auto n) {
         expand(zeros({1, 1}), {n, n});
       },
       "ShapeError"},
      {"flatten",
       [&](auto n) {
         flatten(view_of(none, {0, n, n}, {1, 1, 1}, 0), 1, 2);
       },
       "ShapeError"},
      {"unfold size", [&](auto n) { unfold(x, 0, n, 1); }, "ValueError"},
      {"unfold step", [&](auto n) { unfold(x, 0, 1, n); }, "ValueError / "},
      {"unfold dilation", [&](auto n) { unfold(x, 0, 2, 1, n); }, "ValueError"},
      {"diagonal", [&](auto n) { diagonal(x, n); }, fine},
      {"diag_embed", [&](auto n) { diag_embed(x, n); }, "ValueError"},
      {"tril", [&](auto n) { tril(x, n); }, fine},
      {"triu", [&](auto n) { triu(x, n); }, fine},
      {"topk", [&](auto n) { topk(x, n); }, "ValueError"},
      {"embedding padding", [&](auto n) { embedding(x, index_tensor({0}), n); }, "IndexError"},
      {"one_hot", [&](auto n) { one_hot(index_tensor({0}), n); }, "ValueError / ShapeError"},
      {"segment_sum",
       [&](auto n) {
         segment_sum(x, index_tensor({0, 0}), n);
       },
       "ValueError / ShapeError"},
      {"empty", [&](auto n) { empty({n}); }, "ShapeError"},
      {"zeros",
       [&](auto n) {
         zeros({n, n});
       },
       "ShapeError"},
      {"randn", [&](auto n) { randn({n}); }, "ShapeError"},
      {"randperm", [&](auto n) { randperm(n); }, "ValueError / ShapeError"},
      {"randint", [&](auto n) { randint(smallest, n, {4}); }, "ValueError / "},
      {"arange", [&](auto n) { arange(n); }, "ValueError / ShapeError"},
      {"eye", [&](auto n) { eye(n); }, "ValueError / ShapeError"},
      {"conv1d stride", [&](auto n) { conv1d(signal, w, {}, {.stride = n}); }, "ValueError / "},
      {"conv1d padding", [&](auto n) { conv1d(signal, w, {}, {.padding = n}); }, "ValueError"},
      {"conv1d dilation", [&](auto n) { conv1d(signal, w, {}, {.dilation = n}); }, "ValueError"},
      {"conv1d groups", [&](auto n) { conv1d(signal, w, {}, {.groups = n}); }, "ValueError / ShapeError"},
      {"Linear", [&](auto n) { nn::Linear(n, 2); }, "ValueError / ShapeError"},
      {"Embedding", [&](auto n) { nn::Embedding(n, 2); }, "ValueError / ShapeError"},
      {"local before", [&](auto n) { attend(local([&](auto& o) { o.chunks_before = n; })); }, "ValueError"},
      {"local after", [&](auto n) { attend(local([&](auto& o) { o.chunks_after = n; })); }, "ValueError"},
      {"local before, no ring", [&](auto n) { attend(local([&](auto& o) { o.chunks_before = n, o.ring = false; })); },
       "ValueError / "},
      {"local chunk", [&](auto n) { attend(local([&](auto& o) { o.chunk = n; })); }, "ValueError / "},
      {"lsh before", [&](auto n) { hash(lsh([&](auto& o) { o.chunks_before = n; })); }, "ValueError"},
      {"lsh after", [&](auto n) { hash(lsh([&](auto& o) { o.chunks_after = n; })); }, "ValueError"},
      {"lsh chunk", [&](auto n) { hash(lsh([&](auto& o) { o.chunk = n; })); }, "ValueError / "},
      {"lsh hashes", [&](auto n) { hash(lsh([&](auto& o) { o.hashes = n; })); }, "ValueError"},
      {"lsh buckets", [&](auto n) { hash(lsh([&](auto& o) {
                                      o.buckets = {n - n % 2, 2};
                                    })); }, "ValueError"},
      {"lsh max_length",
       [&](auto n) {
         hash(lsh([&](auto& o) {
           o.max_length = n;
           o.bucket_count = BucketCount::power_of_two;
         }));
       },
       fine},
      {"lsh length", [&](auto n) { lsh_bucket_factors(LshOptions{}, n); }, "ValueError"},
  };
  for (const Call& call : calls) {
    const std::size_t both = call.expected.find(" / ");
    const std::string first = call.expected.substr(0, both);
    const std::string last = both == std::string::npos ? first : call.expected.substr(both + 3);
    CHECK_MESSAGE(outcome([&] { call.f(smallest); }) == first, call.name);
    CHECK_MESSAGE(outcome([&] { call.f(largest); }) == last, call.name);
  }
}

TEST_CASE("extremes: a window that reaches beyond both ends sees everything, and one too long is refused by name") {
  Generator g(1);
  const Tensor x = randn({1, 8, 1, 2}, float64, g);
  LocalOptions far{.chunk = 2, .chunks_before = largest, .chunks_after = largest, .causal = false, .ring = false};
  LocalOptions enough{.chunk = 2, .chunks_before = 3, .chunks_after = 3, .causal = false, .ring = false};
  CHECK(local_attention(x, x, x, far).to_vector<double>() == local_attention(x, x, x, enough).to_vector<double>());
  const Tensor signal = randn({1, 1, 8}, float64, g), w = randn({1, 1, 2}, float64, g);
  CHECK(conv1d(signal, w, {}, {.stride = largest}).to_vector<double>() ==
        conv1d(signal, w, {}, {.stride = 8}).to_vector<double>());
  far.ring = true;
  CHECK(refusal<ValueError>([&] { local_attention(x, x, x, far); }) ==
        "local_attention: chunks_before = 9223372036854775807 and chunks_after = 9223372036854775807 make a window of "
        "more than 16777216 keys");
  CHECK(refusal<ValueError>([] {
          chunk(zeros({0, 2}), 1'000'000'000);
        }) == "chunk: n = 1000000000 empty pieces of [0, 2] are more than 65536");
  CHECK(refusal<ValueError>([] {
          lsh_bucket_factors({.hashes = 4, .buckets = {1 << 30, 2}}, 64);
        }) == "lsh_bucket_factors: hashes = 4 with bucket counts [1073741824, 2] make more than 2147483647 buckets");
}

}  // namespace attune::tests
