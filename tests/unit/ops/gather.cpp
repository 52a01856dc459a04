// Indexing against plain loops, over dense and strided inputs; indices at the edges and outside.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

const std::vector<Shape> shapes = {{5}, {1}, {3, 4}, {4, 0}, {0, 4}, {2, 3, 4}, {2, 1, 3}};

/// k positions in [0, n), with repeats, in no order.
std::vector<std::int64_t> positions(std::int64_t k, std::int64_t n, std::int64_t seed = 0) {
  std::vector<std::int64_t> p;
  for (std::int64_t i = 0; i < k; ++i) p.push_back((5 * i + i / 3 + seed) % n);
  return p;
}

/// An index tensor of x's shape, but with k positions along `axis`.
Tensor index_like(const Tensor& x, int axis, std::int64_t k) {
  Shape shape = x.shape();
  shape[axis] = k;
  return index_tensor(positions(numel(shape), x.size(axis)), shape);
}

/// f on every layout, axis and dtype of x; axes of no elements are left out.
void for_axes(const std::vector<DType>& dtypes, const std::function<void(const Tensor& x, int axis)>& f) {
  for (const Shape& shape : shapes)
    for (DType dtype : dtypes)
      for (const Tensor& x : layouts(to(shuffled(shape), dtype)))
        for (int axis = 0; axis < x.rank(); ++axis) {
          if (x.size(axis) == 0) continue;
          INFO("x ", x.shape().str(), " ", name_of(dtype), ", strides ", x.strides().str(), ", axis ", axis);
          f(x, axis);
        }
}

const std::vector<DType> all_dtypes = {float64, float32, int64, int32, boolean};

}  // namespace

TEST_CASE("index_select reads slices") {
  for_axes(all_dtypes, [](const Tensor& x, int axis) {
    for (std::int64_t k : {0, 1, 7}) {
      const std::vector<std::int64_t> at = positions(k, x.size(axis));
      const Tensor y = index_select(x, axis - x.rank(), index_tensor(at));
      REQUIRE(y.size(axis) == k);
      REQUIRE(y.dtype() == x.dtype());
      for_indices(y.shape(), [&](const Dims& i) {
        Dims from = i;
        from[axis] = at[static_cast<std::size_t>(i[axis])];
        REQUIRE(Plain(y)[i] == Plain(x)[from]);
      });
    }
  });
  const Tensor x = shuffled({4, 2});
  const Tensor strided = slice(index_tensor({3, 9, 0, 9, 3, 9}), 0, 0, to_end, 2);
  CHECK(same(index_select(x, 0, to(strided, int32)), stack({select(x, 0, 3), select(x, 0, 0), select(x, 0, 3)})));
  CHECK(index_select(zeros({0, 2}), 0, index_tensor({})).shape() == Shape{0, 2});
}

TEST_CASE("an index outside of its axis is an IndexError") {
  const Tensor x = zeros({4, 2});
  const auto message = [](const char* op, std::int64_t i) {
    return std::string("IndexError: ") + op + ": index " + std::to_string(i) + " is out of range for axis 0 of [4, 2]";
  };
  for (std::int64_t i : {std::int64_t{4}, std::int64_t{-1}, lowest, highest}) {
    const Tensor row = index_tensor({0, i}), whole = index_tensor({0, i}, {1, 2});
    CHECK(thrown([&] { index_select(x, 0, row); }) == message("index_select", i));
    CHECK(thrown([&] { index_add(x, 0, row, zeros({2, 2})); }) == message("index_add", i));
    CHECK(thrown([&] { gather(x, 0, whole); }) == message("gather", i));
    CHECK(thrown([&] { scatter_add(x, 0, whole, zeros({1, 2})); }) == message("scatter_add", i));
    CHECK(thrown([&] { embedding(x, row); }) == message("embedding", i));
    CHECK(thrown([&] { one_hot(row, 4); }) ==
          "IndexError: one_hot: index " + std::to_string(i) + " is out of range for 4 classes");
  }
  CHECK(thrown([&] {
          index_select(zeros({0, 2}), 0, index_tensor({0}));
        }) == "IndexError: index_select: index 0 is out of range for axis 0 of [0, 2]");
  CHECK(thrown([&] {
          index_select(x, 0, tensor({0.0, 1.0}));
        }) == "DTypeError: index_select: needs an integer index, got float32 [2]");
  CHECK(thrown([&] { index_select(x, 2, index_tensor({0})); }) ==
        "IndexError: index_select: axis 2 is out of range for [4, 2]");
  CHECK(thrown([&] {
          index_select(x, 0, index_tensor({0}, {1, 1}));
        }) == "ShapeError: index_select: the index must have at most one axis, got [1, 1]");
}

TEST_CASE("index_add adds slices, repeated ones too") {
  for_axes({float64, float32}, [](const Tensor& x, int axis) {
    for (std::int64_t k : {0, 1, 7}) {
      const std::vector<std::int64_t> at = positions(k, x.size(axis));
      Shape shape = x.shape();
      shape[axis] = k;
      for (const Tensor& source : layouts(shuffled(shape, x.dtype(), 2))) {
        Plain expected(x);
        for_indices(shape, [&](const Dims& i) {
          Dims to_place = i;
          to_place[axis] = at[static_cast<std::size_t>(i[axis])];
          expected[to_place] += Plain(source)[i];
        });
        const Tensor y = index_add(x, axis, index_tensor(at), source);
        REQUIRE_FALSE(y.same_storage(x));
        REQUIRE(same(y, expected));
      }
    }
  });
  CHECK(thrown([] {
          index_add(zeros({4, 2}), 0, index_tensor({1}), zeros({2, 2}));
        }) == "ShapeError: index_add: source [2, 2] must be [1, 2] for x [4, 2] and 1 indices");
  CHECK(thrown([] { index_add(zeros({4}), 0, index_tensor({1}), zeros({1}, float64)); }).rfind("DTypeError", 0) == 0);
  CHECK(thrown([] { index_add(zeros({4}, int64), 0, index_tensor({1}), zeros({1}, int64)); }).rfind("DTypeError", 0) ==
        0);
}

TEST_CASE("gather and scatter_add") {
  for_axes(all_dtypes, [](const Tensor& x, int axis) {
    for (std::int64_t k : {0, 1, 6})
      for (const Tensor& index : layouts(index_like(x, axis, k))) {
        const Plain at(index);
        const auto place = [&](const Dims& i) {
          Dims from = i;
          from[axis] = static_cast<std::int64_t>(at[i]);
          return from;
        };
        const Tensor y = gather(x, axis - x.rank(), index);
        REQUIRE(y.shape() == index.shape());
        REQUIRE(y.dtype() == x.dtype());
        for_indices(y.shape(), [&](const Dims& i) { REQUIRE(Plain(y)[i] == Plain(x)[place(i)]); });
        if (!is_floating(x.dtype())) continue;
        const Tensor source = transpose(shuffled({k, index.numel() / std::max<std::int64_t>(k, 1)}, x.dtype()));
        const Tensor shaped = reshape(source, index.shape());
        Plain expected(x);
        for_indices(index.shape(), [&](const Dims& i) { expected[place(i)] += Plain(shaped)[i]; });
        REQUIRE(same(scatter_add(x, axis, index, shaped), expected));
      }
  });
  CHECK(gather(scalar(3), 0, index_tensor({0}, Shape{})).item() == 3);
  CHECK(thrown([] {
          gather(zeros({4, 2}), 0, index_tensor({0, 1, 2}, {1, 3}));
        }) ==
        "ShapeError: gather: index [1, 3] must have the rank of x [4, 2] and at most its sizes, except along axis 0");
  CHECK(thrown([] {
          gather(zeros({4, 2}), 0, index_tensor({0, 1}));
        }) ==
        "ShapeError: gather: index [2] must have the rank of x [4, 2] and at most its sizes, except along axis 0");
  CHECK(thrown([] {
          scatter_add(zeros({4}), 0, index_tensor({0, 1, 2}), zeros({2}));
        }) == "ShapeError: scatter_add: source [2] is smaller than index [3]");
}

TEST_CASE("an index changed after it was used is noticed") {
  Tensor index = index_tensor({0, 1});
  const Tensor x = zeros({3}).requires_grad_();
  const Tensor y = sum(index_select(x, 0, index));
  fill_(index, 2);
  CHECK(thrown([&] { y.backward(); }).rfind("GradError: index_select", 0) == 0);
}

TEST_CASE("embedding reads rows, and its padding row gets no gradient") {
  const Tensor table = shuffled({5, 3});
  for (const Tensor& t : layouts(table)) {
    const Tensor y = embedding(t, index_tensor({4, 0, 0, 2}, {2, 1, 2}));
    REQUIRE(y.shape() == Shape{2, 1, 2, 3});
    CHECK(same(reshape(y, {4, 3}), index_select(table, 0, index_tensor({4, 0, 0, 2}))));
  }
  CHECK(same(embedding(table, index_tensor({3}, Shape{})), select(table, 0, 3)));
  CHECK(embedding(table, index_tensor({}, Shape{0, 2})).shape() == Shape{0, 2, 3});
  CHECK(embedding(zeros({5, 0}), index_tensor({1, 2})).shape() == Shape{2, 0});
  const Tensor index = index_tensor({4, 0, 0, 2}, {2, 2});
  const auto rows_used = [&](std::int64_t padding) {
    return gradient([&](const Tensor& t) { return embedding(t, index, padding); }, table);
  };
  CHECK(same(rows_used(-1), Plain(expand(tensor({2, 0, 1, 0, 1}, {5, 1}, float64), {5, 3}))));
  CHECK(same(rows_used(0), Plain(expand(tensor({0, 0, 1, 0, 1}, {5, 1}, float64), {5, 3}))));
  CHECK(same(gradient([&](const Tensor& t) { return embedding(t, index_tensor({})); }, table), zeros({5, 3}, float64)));
  CHECK(thrown([&] { embedding(zeros({5}), index); }) == "ShapeError: embedding: the table must be [rows, d], got [5]");
  CHECK(thrown([&] { embedding(table, index, 5); }) ==
        "IndexError: embedding: padding_index = 5 is neither -1 nor a row of [5, 3]");
  CHECK(thrown([&] { embedding(zeros({5, 3}, int64), index); }).rfind("DTypeError: embedding", 0) == 0);
}

TEST_CASE("the gradient of a large embedding is the same at any number of threads") {
  const std::int64_t n = 50, k = 20000;
  const Tensor index = index_tensor(positions(k, n, 3)), dy = reshape(sin(to(arange(k * 8), float32)), {k, 8});
  const auto run = [&] { return gradient([&](const Tensor& t) { return embedding(t, index); }, zeros({n, 8}), dy); };
  const int threads = num_threads();
  const Tensor first = run();
  set_num_threads(threads == 1 ? 3 : 1);
  CHECK(same(first, run()));
  set_num_threads(threads);
  Plain expected({n, 8});
  const Plain g(dy), at(index);
  for_indices(g.shape, [&](const Dims& i) { expected[{static_cast<std::int64_t>(at[{i[0]}]), i[1]}] += g[i]; });
  CHECK(close(first, expected, 1e-4));
}

TEST_CASE("one_hot") {
  CHECK(same(one_hot(index_tensor({2, 0}), 3), {2, 3}, {0, 0, 1, 1, 0, 0}));
  for (DType dtype : all_dtypes) {
    const Tensor y = one_hot(index_tensor({1, 3, 0, 1}, {2, 2}), 4, dtype);
    CHECK(y.dtype() == dtype);
    CHECK(same(y, {2, 2, 4}, {0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0}));
  }
  CHECK(same(one_hot(index_tensor({1}, Shape{}), 2), {2}, {0, 1}));
  CHECK(one_hot(index_tensor({}), 4).shape() == Shape{0, 4});
  CHECK(one_hot(index_tensor({}), 0).shape() == Shape{0, 0});
  CHECK(thrown([] { one_hot(index_tensor({0}), -1); }) == "ValueError: one_hot: classes = -1 is negative");
}

TEST_CASE("sort is stable along any axis, in both directions") {
  for_axes(all_dtypes, [](const Tensor& x, int axis) {
    for (bool descending : {false, true}) {
      const auto [values, indices] = sort(x, axis - x.rank(), descending);
      REQUIRE(values.dtype() == x.dtype());
      REQUIRE(indices.dtype() == int64);
      const Plain v(values), at(indices), p(x);
      for_indices(x.shape(), [&](const Dims& i) {
        Dims from = i;
        from[axis] = static_cast<std::int64_t>(at[i]);
        REQUIRE(v[i] == p[from]);
        if (i[axis] == 0) return;
        Dims before = i;
        --before[axis];
        REQUIRE((descending ? v[before] >= v[i] : v[before] <= v[i]));
        if (v[before] == v[i]) REQUIRE(at[before] < at[i]);
      });
      CHECK(same(argsort(x, axis, descending), indices));
    }
  });
  const Tensor x = tensor({3, not_a_number, -inf, inf, not_a_number, 3});
  CHECK(same(sort(x).values, {6}, {-inf, 3, 3, inf, not_a_number, not_a_number}));
  CHECK(argsort(x).to_vector<double>() == Values{2, 0, 5, 3, 1, 4});
  CHECK(argsort(x, 0, true).to_vector<double>() == Values{1, 4, 3, 0, 5, 2});
  CHECK(sort(scalar(3)).values.item() == 3);
  CHECK(sort(scalar(3)).indices.item() == 0);
  CHECK(sort(zeros({0, 2}), 0).values.shape() == Shape{0, 2});
  CHECK(thrown([] { sort(zeros({2}), 1); }) == "IndexError: sort: axis 1 is out of range for [2]");
}

TEST_CASE("the gradient of sort goes back to where its elements came from") {
  const Tensor x = tensor({3, 1, 2, 5, 9, 4}, {2, 3}, float64), dy = tensor({1, 2, 3, 4, 5, 6}, {2, 3}, float64);
  CHECK(same(gradient([](const Tensor& t) { return sort(t).values; }, x, dy), {2, 3}, {3, 1, 2, 5, 6, 4}));
  CHECK(same(gradient([](const Tensor& t) { return sort(t, 0, true).values; }, x, dy), {2, 3}, {4, 5, 6, 1, 2, 3}));
  CHECK(same(gradient([](const Tensor& t) { return sort(t).values; }, scalar(2)), Shape{}, {1}));
  Tensor leaf = clone(x).requires_grad_();
  CHECK_FALSE(sort(leaf).indices.requires_grad());
  CHECK_FALSE(argsort(leaf).requires_grad());
}

TEST_CASE("topk gives the largest in falling order") {
  const Tensor x = tensor({3, 1, 2, 5, 9, 4}, {2, 3}, float64);
  const SortResult two = topk(x, 2);
  CHECK(same(two.values, {2, 2}, {3, 2, 9, 5}));
  CHECK(same(two.indices, {2, 2}, {0, 2, 1, 0}));
  CHECK(same(topk(x, 1, 0).values, {1, 3}, {5, 9, 4}));
  CHECK(topk(x, 0).values.shape() == Shape{2, 0});
  CHECK(same(topk(x, 3).values, sort(x, -1, true).values));
  CHECK(same(gradient([](const Tensor& t) { return topk(t, 2).values; }, x), {2, 3}, {1, 0, 1, 1, 1, 0}));
  CHECK(same(topk(tensor({1, not_a_number}), 1).values, {1}, {not_a_number}));
  CHECK(thrown([&] { topk(x, 4); }) == "ValueError: topk: k = 4 is not in [0, 3] for axis -1 of [2, 3]");
  CHECK(thrown([&] { topk(x, -1); }) == "ValueError: topk: k = -1 is not in [0, 3] for axis -1 of [2, 3]");
}
