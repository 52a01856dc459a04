// Safetensors: what is written is read back; bad files end in FileError and nothing else.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

void load_st(const std::string& path) { load_safetensors(path); }

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
  put(dir / "h", with_header(R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},)"
                             R"("h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
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
  const auto one = [&](const std::string& shape, const std::string& offsets, const std::string& dtype = "F32") {
    return with_header("{\"a\":" + entry(shape, offsets, dtype) + "}", eight);
  };
  std::uint64_t huge = 100'000'001;
  const std::pair<std::string, std::string> cases[] = {
      {"", "is no safetensors file but empty"},
      {"12", "is too short for a safetensors file: at least 8 bytes are expected, and it has 2"},
      {std::string(reinterpret_cast<char*>(&huge), 8) + "{}", "claims a header of 100000001 bytes"},
      {with_header("{}").substr(0, 9), "claims a header of 2 bytes and is only 9 long"},
      {with_header(" {}"), "the header does not begin with '{'"},
      {with_header("{\"a\":"), "the header is no JSON"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + ",\"a\":" + entry("[2]", "[0,8]") + "}", eight),
       "names \"a\" twice"},
      {with_header("{\"a\":" + entry("[2]", "[4,12]") + "}", eight + "1234"), "leaves a hole before it"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + ",\"b\":" + entry("[1]", "[4,8]") + "}", eight),
       "overlaps another one"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + "}", eight + "1"),
       "has bytes that belong to no tensor: 8 bytes of tensors are expected behind the header, and 9 are there"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + "}", "1234"),
       "is cut off: 8 bytes of tensors are expected behind the header, and 4 are there"},
      {one("[2]", "[8,0]"), "ends before it begins"},
      {one("[3]", "[0,8]"), "has 8 bytes for [3] F32"},
      {one("[4611686018427387904,4]", "[0,8]"), "has a shape whose bytes overflow 64 bits"},
      {one("[-2]", "[0,8]"), "has a size that is no natural number"},
      {one("[2.0]", "[0,8]"), "has a size that is no natural number"},
      {one("[1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"), "has no shape of at most 10 axes"},
      {one("[2]", "[0,8]", ""), "has an unexpected value for dtype"},
      {one("[2]", "[0,9]", "F33"), "is cut off: 9 bytes of tensors are expected behind the header, and 8 are there"},
      {with_header("{\"__metadata__\":{\"a\":1}}"), "__metadata__ holds something else than strings"},
      {with_header("[]"), "the header does not begin with '{'"},
      {with_header("{} {}"), "the header is no JSON"},
      {with_header("{\"a\":" + entry("[2]", "[0,8]") + "}" + std::string(1, '\0'), eight), "the header is no JSON"},
      {with_header("{\"\xff\":" + entry("[2]", "[0,8]") + "}", eight), "the header is no JSON"},
      // One name in two spellings.
      {with_header("{\"a\":" + entry("[0]", "[0,0]") + ",\"\\u0061\":" + entry("[0]", "[0,0]") + "}"),
       "names \"a\" twice"},
      {with_header(R"({"__metadata__":{},"__metadata__":{}})"), "names \"__metadata__\" twice"},
      {with_header(R"({"__metadata__":{"a":"1","a":"2"}})"), "names \"a\" twice in __metadata__"},
      {with_header(R"({"__metadata__":[]})"), "__metadata__ is no object"},
      {with_header(R"({"__metadata__":{"a":{}}})"), "__metadata__ holds something else than strings"},
      {with_header(R"({"a":1})"), "\"a\" must have dtype, shape and data_offsets"},
      {with_header(R"({"a":{}})"), "must have dtype, shape and data_offsets"},
      {with_header(R"({"a":{"dtype":"F32","shape":[2]}})"), "must have dtype, shape and data_offsets"},
      {with_header(R"({"a":{"dtype":"F32","shape":[2],"shape":[2]}})"), "gives \"shape\" twice"},
      {with_header(R"({"a":{"dtype":"F32","dtype":"F64"}})"), "gives \"dtype\" twice"},
      {with_header(R"({"a":{"dtype":"F32","more":0}})"), "must have dtype, shape and data_offsets"},
      {with_header(R"({"a":{"dtype":["F32"]}})"), "has an unexpected value for dtype"},
      {with_header(R"({"a":{"shape":2}})"), "has an unexpected value for shape"},
      {one("[[2]]", "[0,8]"), "has a size that is no natural number"},
      {one("[NaN]", "[0,8]"), "the header is no JSON"},
      {one("[1e999]", "[0,8]"), "the header is no JSON"},
      {one("[18446744073709551618]", "[0,8]"), "has a size that is no natural number"},
      {one("[9223372036854775808]", "[0,8]"), "has a size that is no natural number"},
      {one("[2]", "[0,8,8]"), "has no pair of data_offsets"},
      {one("[2]", "[0]"), "has no pair of data_offsets"},
      // No bytes, yet its strides would overflow.
      {with_header("{\"a\":" + entry("[0,4611686018427387904,4]", "[0,0]") + "}"),
       "has a shape whose bytes overflow 64 bits"},
      {with_header("{\"a\":" + entry("[2305843009213693952]", "[0,0]") + "}"),
       "has a shape whose bytes overflow 64 bits"},
      {with_header("{\"a\":" + std::string(1'000'000, '[')), "must have dtype, shape and data_offsets"},
      {with_header("{\"a\":{\"shape\":" + std::string(1'000'000, '[')), "has a size that is no natural number"},
      {std::string("\x40\0\0\0\0\0\0\0{", 9), "claims a header of 64 bytes and is only 9 long: it is cut off"},
      {std::string(8, '\xff') + "{}", "claims a header of 18446744073709551615 bytes"},
      {std::string(8, '\0'), "the header does not begin with '{'"},
  };
  for (const auto& [bytes, reason] : cases) check_refused(load_st, dir / "bad", bytes, reason);
}

TEST_CASE("safetensors: a bool of 2 is refused, a file of no tensors is not") {
  const Folder dir;
  put(dir / "b", with_header(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", "\1\2"));
  CHECK(refusal<FileError>([&] {
          load_safetensors(dir / "b");
        }).find("tensor \"a\" has a bool that is neither 0 nor 1") != std::string::npos);
  put(dir / "e", with_header("{}      "));
  CHECK(load_safetensors(dir / "e").tensors.empty());
  put(dir / "m", with_header(R"({"__metadata__":{"a":"b"}})"));
  CHECK(load_safetensors(dir / "m").metadata.at("a") == "b");
}

TEST_CASE("safetensors: the layout of the format's own tool, byte by byte") {
  const Folder dir;
  // Metadata first, then the tensors by falling width and then name; spaces up to a multiple of eight bytes. The
  // checksums are Python's zlib.crc32() of name, 0, dtype, 0, shape and elements.
  const std::string expected = with_header(
      R"({"__metadata__":{"attune.crc32":"a0fd7fc028e4222a024fa828040f690f","attune.crc32.metadata":"602676d3",)"
      R"("format":"pt"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[8,12]},)"
      R"("w":{"dtype":"F32","shape":[1,2],"data_offsets":[12,20]},)"
      R"("b":{"dtype":"BOOL","shape":[3],"data_offsets":[20,23]}})",
      std::string("\3\0\0\0\0\0\0\0", 8) + std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f\0\0\0\x40", 8) +
          std::string("\0\1\1", 3));
  const std::map<std::string, Tensor> tensors = {
      {"w", tensor({1, 2}, {1, 2})}, {"n", tensor({3}, {1}, int64)}, {"b", gt(tensor({0, 1, 2}), 0)}, {"a", scalar(1)}};
  save_safetensors(dir / "a", tensors, {{"format", "pt"}});
  CHECK(get(dir / "a") == expected);
  const SafetensorsFile back = load_safetensors(dir / "a");
  for (const auto& [name, t] : tensors) CHECK(same_bits(t, back.tensors.at(name)));
  save_safetensors(dir / "none", {});
  CHECK(get(dir / "none") ==
        with_header(
            R"({"__metadata__":{"attune.crc32":"","attune.crc32.metadata":"0cae4467 format","format":"pt"}}    )"));
}

TEST_CASE("safetensors: every half precision number; integers at both ends of their types") {
  const Folder dir;
  std::string halves;
  for (unsigned i = 0; i < 65536; ++i) {
    halves += static_cast<char>(i & 255);
    halves += static_cast<char>(i >> 8);
  }
  put(dir / "h", with_header(R"({"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}})", halves));
  const std::vector<double> h = load_safetensors(dir / "h").tensors.at("h").to_vector<double>();
  int wrong = 0;
  for (std::size_t i = 0; i < 65536; ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    const double size = exponent == 31 ? (fraction ? std::nan("") : INFINITY)
                        : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                       : std::ldexp(fraction, -24);
    const double expected = i & 0x8000 ? -size : size;
    wrong +=
        std::isnan(expected) ? !std::isnan(h[i]) : h[i] != expected || std::signbit(h[i]) != std::signbit(expected);
  }
  CHECK(wrong == 0);
  put(dir / "i",
      with_header(
          R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"I8","shape":[3],"data_offsets":)"
          R"([3,6]},"c":{"dtype":"U16","shape":[2],"data_offsets":[6,10]},"d":{"dtype":"I16","shape":[2],)"
          R"("data_offsets":[10,14]},"e":{"dtype":"U32","shape":[2],"data_offsets":[14,22]}})",
          std::string("\x00\x7f\xff\x00\x7f\x80", 6) + std::string("\x00\x00\xff\xff\xff\x7f\x00\x80", 8) +
              std::string("\x00\x00\x00\x00\xff\xff\xff\xff", 8)));
  const auto t = load_safetensors(dir / "i").tensors;
  const auto check = [&](const char* name, DType dtype, const std::vector<double>& values) {
    CHECK(t.at(name).dtype() == dtype);
    CHECK(t.at(name).to_vector<double>() == values);
  };
  check("a", int32, {0, 127, 255});
  check("b", int32, {0, 127, -128});
  check("c", int32, {0, 65535});
  check("d", int32, {32767, -32768});
  check("e", int64, {0, 4294967295.0});
}

TEST_CASE("safetensors: every flipped bit of a file is refused, in the elements by the name of the tensor") {
  const Folder dir;
  manual_seed(3);
  const std::map<std::string, Tensor> tensors = {
      {"weight", randn({2, 3})}, {"bias", randint(-5, 5, {3})}, {"mask", gt(randn({5}), 0)}, {"empty", zeros({0, 2})}};
  save_safetensors(dir / "good", tensors, {{"step", "12"}});
  const std::string good = get(dir / "good");
  const auto path = dir / "bad";
  const std::byte* const bytes = reinterpret_cast<const std::byte*>(good.data());
  const auto data = static_cast<std::size_t>(good[0] & 255) + (static_cast<std::size_t>(good[1] & 255) << 8) + 8;
  std::vector<std::byte> bad(bytes, bytes + good.size());
  int loaded = 0, nameless = 0;
  for (std::size_t i = 0; i < 8 * good.size(); ++i) {
    bad[i / 8] ^= std::byte{1} << i % 8;
    const io::Input file(path, bad);
    const std::string said = refusal<FileError>([&] { load_safetensors(file); });
    loaded += said.empty();
    if (i / 8 >= data) {
      const std::size_t at = i / 8 - data;
      const char* name = at < 24 ? "bias" : at < 48 ? "weight" : "mask";
      nameless += said.find("tensor \"" + std::string(name) + "\" is damaged") == std::string::npos;
    }
    bad[i / 8] ^= std::byte{1} << i % 8;
  }
  CHECK(loaded == 0);
  CHECK(nameless == 0);
  CHECK(load_safetensors(io::Input(path, bad)).tensors.size() == 4);
}

TEST_CASE("safetensors: metadata come back as they were given, with a format for others") {
  const Folder dir;
  using Metadata = std::map<std::string, std::string>;
  for (const Metadata& given : {Metadata{}, {{"a", "b"}}, {{"format", "pt"}}, {{"format", "np"}, {"z", ""}}}) {
    save_safetensors(dir / "a", {{"w", ones({2})}}, given);
    CHECK(load_safetensors(dir / "a").metadata == given);
    const std::string format = given.count("format") != 0 ? given.at("format") : "pt";
    CHECK(get(dir / "a").find("\"format\":\"" + format + "\"") != std::string::npos);
  }
  for (const char* key : {"attune.crc32", "attune.crc32.metadata"})
    CHECK_THROWS_AS(save_safetensors(dir / "a", {}, {{key, "0"}}), ValueError);
  // Another program may sort and space the header as it likes.
  std::string file = get(dir / "a");
  const std::size_t at = file.find("{\"__metadata__\":{") + 17, end = file.find("},", at);
  const std::string metadata = file.substr(at, end - at);
  const std::string header =
      R"({ "w" : {"shape":[2],"dtype":"F32","data_offsets":[0,8]}, "__metadata__" : {)" + metadata + "}}";
  put(dir / "b", with_header(header, file.substr(file.size() - 8)));
  CHECK(load_safetensors(dir / "b").metadata.at("format") == "np");
  // Two tensors of the same bytes are not each other.
  put(dir / "b",
      with_header(R"({ "v" : {"shape":[2],"dtype":"F32","data_offsets":[0,8]}, "__metadata__" : {)" + metadata + "}}",
                  file.substr(file.size() - 8)));
  CHECK(refusal<FileError>([&] { load_safetensors(dir / "b"); }).find("tensor \"v\" is damaged") != std::string::npos);
}

TEST_CASE("safetensors: a dtype that no tensor has is told, and the others are read") {
  const Folder dir;
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "C64", "F4", "SOMETHING_NEW"}) {
    put(dir / "a", with_header(std::string(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"f":{"dtype":")") +
                                   dtype + R"(","shape":[1,1],"data_offsets":[0,8]}})",
                               std::string(10, '\0') + "\x80\x3f"));
    const SafetensorsFile file = load_safetensors(dir / "a");
    CHECK(file.at("a").item() == 1);
    CHECK(file.tensors.size() == 1);
    CHECK(file.unreadable == std::map<std::string, std::string>{{"f", dtype}});
    CHECK(refusal<ValueError>([&] { file.at("f"); }) ==
          std::string("tensor \"f\" of the file has the dtype ") + dtype + ", which cannot be read");
    CHECK(refusal<ValueError>([&] { file.at("g"); }) == "the file has no tensor \"g\"");
  }
  const auto u64 = [&](const std::string& bytes) {
    put(dir / "u", with_header(R"({"u":{"dtype":"U64","shape":[1],"data_offsets":[0,8]}})", bytes));
    return load_safetensors(dir / "u");
  };
  CHECK(same_bits(u64("\1\2\3\4\5\6\7\x7f").at("u"), tensor({1}, {1}, int64) * 0 + std::int64_t{0x7f07060504030201}));
  CHECK(u64("\1\2\3\4\5\6\7\x80").unreadable.at("u") == "U64");
}

}  // namespace attune::tests
