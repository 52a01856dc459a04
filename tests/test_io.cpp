// Files and printing: what is written is read back; bad files end in FileError and nothing else.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "autograd/io/file.h"
#include "tests/plain.h"

namespace attune::tests {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("attune-test-" + std::to_string(std::random_device{}()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator{}));
  }

 private:
  fs::path path_;
};

void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
std::string get(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string with_header(const std::string& header, const std::string& data = "") {
  std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = contiguous(a), y = contiguous(b);
  return x.dtype() == y.dtype() && x.shape() == y.shape() &&
         std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

std::vector<Tensor> samples() {
  return {randn({3, 4}),
          randn({2, 1, 3}, float64),
          randint(-5, 5, {4}),
          to(randint(-5, 5, {4, 1}), int32),
          gt(randn({5}), 0),
          scalar(2.5),
          zeros({0, 3}),
          transpose(randn({3, 4})),
          slice(randn({6}), 0, 1, 6, 2)};
}

}  // namespace

TEST_CASE("safetensors: every dtype, rank 0, zero sizes and views come back; metadata too") {
  const Folder dir;
  std::map<std::string, Tensor> tensors;
  for (const Tensor& t : samples()) tensors["t" + std::to_string(tensors.size())] = t;
  save_safetensors(dir / "a", tensors, {{"format", "pt"}, {"note", "naïve \"quotes\""}});
  const SafetensorsFile back = load_safetensors(dir / "a");
  CHECK(back.metadata.at("note") == "naïve \"quotes\"");
  REQUIRE(back.tensors.size() == tensors.size());
  for (const auto& [name, t] : tensors) CHECK(same_bits(t, back.tensors.at(name)));
  CHECK(dir.files() == 1);  // no temporary file stays
  // Over the file that it came from.
  save_safetensors(dir / "a", back.tensors);
  CHECK(same_bits(load_safetensors(dir / "a").tensors.at("t0"), tensors.at("t0")));
}

TEST_CASE("safetensors: half precision becomes float32, short integers int32") {
  const Folder dir;
  put(dir / "h",
      with_header(
          R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
          R"("u":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}   )",
          std::string("\x00\x3c\x01\x00", 4) + std::string("\xc0\x3f\x80\xff", 4) + "\x07\xff"));
  const auto t = load_safetensors(dir / "h").tensors;
  CHECK(t.at("h").to_vector<double>() == std::vector<double>{1, 0x1p-24});
  CHECK(t.at("b").to_vector<double>() == std::vector<double>{1.5, -std::numeric_limits<double>::infinity()});
  CHECK(t.at("u").to_vector<double>() == std::vector<double>{7, 255});
}

TEST_CASE("safetensors: hostile files end in FileError, each with its reason") {
  const Folder dir;
  const auto entry = [](const std::string& shape, const std::string& offsets, const std::string& dtype = "F32") {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string eight(8, '\0');
  std::uint64_t huge = 100'000'001;
  const std::pair<std::string, std::string> cases[] = {
      {"", "is too short for a safetensors file"},
      {std::string(reinterpret_cast<char*>(&huge), 8) + "{}", "claims a header of 100000001 bytes"},
      {with_header("{}").substr(0, 9), "claims a header of 2 bytes and is only 9 long"},
      {with_header(" {}"), "the header does not begin with '{'"},
      {with_header("{\"a\":"), "the header is no JSON"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + ",\"a\":" + entry("[2]", "[0,8]") + "}", eight),
       "names \"a\" twice"},
      {with_header("{\"a\":" + entry("[2]", "[4,12]") + "}", eight + "1234"), "leaves a hole before it"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + ",\"b\":" + entry("[1]", "[4,8]") + "}", eight),
       "overlaps another one"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + "}", eight + "1"), "has bytes that belong to no tensor"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + "}", "1234"), "lies outside of the data"},
      {with_header("{\"a\":" + entry("[2]", "[8,0]") + "}", eight), "lies outside of the data"},
      {with_header("{\"a\":" + entry("[3]", "[0,8]") + "}", eight), "has 8 bytes for [3] F32"},
      {with_header("{\"a\":" + entry("[4611686018427387904,4]", "[0,8]") + "}", eight),
       "has a shape whose bytes overflow 64 bits"},
      {with_header("{\"a\":" + entry("[-2]", "[0,8]") + "}", eight), "has a size that is no natural number"},
      {with_header("{\"a\":" + entry("[2.0]", "[0,8]") + "}", eight), "has a size that is no natural number"},
      {with_header("{\"a\":" + entry("[1,1,1,1,1,1,1,1,2]", "[0,8]") + "}", eight), "has no shape of at most 8 axes"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]", "F33") + "}", eight), "has an unknown dtype \"F33\""},
      {with_header("{\"__metadata__\":{\"a\":1}}"), "__metadata__ holds something else than strings"},
      {with_header("[]"), "the header does not begin with '{'"},
  };
  for (const auto& [bytes, why] : cases) {
    const std::string reason = why;  // clang 14 captures no binding
    CAPTURE(reason);
    put(dir / "bad", bytes);
    const std::string said = refusal<FileError>([&] { load_safetensors(dir / "bad"); });
    CHECK(said.find(dir / "bad") == 0);
    CHECK(said.find(reason) != std::string::npos);
  }
}

TEST_CASE("files: a few thousand mutilated files give FileError or a tensor, never anything else") {
  const Folder dir;
  manual_seed(1);
  save_safetensors(dir / "good", {{"weights", randn({4, 3})}, {"index", arange(5)}}, {{"k", "v"}});
  save_npy(dir / "good.npy", randn({4, 3}));
  std::mt19937 random(7);
  for (const char* name : {"good", "good.npy"}) {
    const std::string good = get(dir / name);
    int refused = 0;
    for (int i = 0; i < 2000; ++i) {
      std::string bad = good;
      for (unsigned n = random() % 4 + 1; n > 0; --n) {
        const std::size_t at = random() % std::min<std::size_t>(bad.size(), 260);
        if (random() % 3 == 0)
          bad[at] = "{}[]\",:019-'()TF"[random() % 16];
        else
          bad[at] = static_cast<char>(random());
      }
      if (random() % 8 == 0) bad.resize(random() % bad.size());
      put(dir / "bad", bad);
      try {
        if (name[4] == '.')
          load_npy(dir / "bad");
        else
          load_safetensors(dir / "bad");
      } catch (const FileError&) {
        ++refused;
      }
    }
    CHECK(refused > 500);
  }
}

TEST_CASE("npy: round trips, Fortran order, and what numpy wrote") {
  const Folder dir;
  for (const Tensor& t : samples()) {
    save_npy(dir / "a.npy", t);
    CHECK(same_bits(t, load_npy(dir / "a.npy")));
    CHECK(fs::file_size(dir / "a.npy") % 64 == static_cast<std::size_t>(t.numel()) * size_of(t.dtype()) % 64);
  }
  // numpy.save of np.asfortranarray([[1, 2, 3], [4, 5, 6]], dtype='<i2')
  std::string header = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }";
  header += std::string(117 - header.size(), ' ') + "\n";
  const std::string start = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header;
  put(dir / "f.npy", start + std::string("\1\0\4\0\2\0\5\0\3\0\6\0", 12));
  CHECK(load_npy(dir / "f.npy").to_vector<double>() == std::vector<double>{1, 2, 3, 4, 5, 6});
  for (const auto& [bytes, reason] : std::initializer_list<std::pair<std::string, std::string>>{
           {start + "12345", "holds 5 bytes of data for [2, 3] <i2"},
           {"not a numpy file", "is no .npy file"},
           {std::string("\x93NUMPY\x09\x00", 8) + "\x01\x01", "has the unknown format version 9"},
           {std::string("\x93NUMPY\x01\x00\xff\xff", 10), "claims a header of 65535 bytes; at most 10000 are allowed"},
           {std::string("\x93NUMPY\x01\x00\x20\x00", 10), "ends inside the header"}}) {
    put(dir / "bad.npy", bytes);
    CHECK(refusal<FileError>([&, &b = reason] {
            load_npy(dir / "bad.npy");
            (void)b;
          }).find(reason) != std::string::npos);
  }
}

TEST_CASE("files: what is no readable or writable file says so, and the old bytes stay") {
  const Folder dir;
  CHECK(refusal<FileError>([&] { load_safetensors(dir / "none"); }) ==
        (dir / "none") + ": cannot be opened: No such file or directory");
  fs::create_directories(dir / "folder");
  CHECK(refusal<FileError>([&] { load_npy(dir / "folder"); }) == (dir / "folder") + ": is not a regular file");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(refusal<FileError>([&] { load_npy(dir / "pipe"); }) == (dir / "pipe") + ": is not a regular file");
  put(dir / "file", "old");
  CHECK(refusal<FileError>([&] { save_npy(dir / "file/below", zeros({2})); }).find("cannot be written") !=
        std::string::npos);
  CHECK(refusal<FileError>([&] { save_npy(dir / "folder", zeros({2})); }) ==
        (dir / "folder") + ": is not a regular file");
  // A writer that fails half-way leaves the old file and no other.
  const std::size_t before = dir.files();
  CHECK_THROWS_AS(io::write_atomically(dir / "file",
                                       [](const io::Sink& sink) {
                                         sink("new", 3);
                                         throw ValueError("half-way");
                                       }),
                  ValueError);
  CHECK(get(dir / "file") == "old");
  CHECK(dir.files() == before);
}

TEST_CASE("print: aligned, abridged, with what does not show") {
  CHECK(to_string(tensor({1, 2.5, -3})) == "tensor([ 1.0,  2.5, -3.0])");
  CHECK(to_string(tensor({1, 2, 30, 4}, {2, 2}, int64)) == "tensor([[ 1,  2],\n        [30,  4]], int64)");
  CHECK(to_string(scalar(7, int32)) == "tensor(7, int32)");
  CHECK(to_string(gt(tensor({1, -1}), 0)) == "tensor([ true, false], bool)");
  CHECK(to_string(zeros({0, 3})) == "tensor([], shape [0, 3])");
  CHECK(to_string(Tensor()) == "tensor(undefined)");
  CHECK(to_string(tensor({1e-9, 1})) == "tensor([1.00000e-09, 1.00000e+00])");
  CHECK(to_string(tensor({std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity(), 1})) ==
        "tensor([ nan, -inf,    1])");
  CHECK(to_string(arange(2000)) == "tensor([   0,    1,    2, ..., 1997, 1998, 1999], shape [2000], int64)");
  CHECK(to_string(transpose(tensor({1, 2, 3, 4}, {2, 2}))) == "tensor([[1, 3],\n        [2, 4]])");
  const Tensor x = tensor({1}).requires_grad_();
  CHECK(to_string(x) == "tensor([1], requires_grad)");
  CHECK(to_string(exp(x - 1)) == "tensor([1], from exp)");
}

}  // namespace attune::tests
