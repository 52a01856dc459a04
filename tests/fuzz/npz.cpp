// An .npz archive of two arrays whose checksums fit, stored or deflated.
#include "autograd/io/internal/zip.h"
#include "autograd/io/npy.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  if (bytes.empty()) return;
  const bool deflate = (bytes[0] & std::byte{1}) != std::byte{};
  const std::size_t split = std::min<std::size_t>(static_cast<std::size_t>(bytes[0] >> 1) * 8, bytes.size() - 1);
  std::string archive;
  const io::Sink sink = [&](const void* p, std::int64_t n) {
    archive.append(static_cast<const char*>(p), static_cast<std::size_t>(n));
  };
  io::ZipWriter zip(sink);
  const auto add = [&](const char* name, Bytes member) {
    const auto n = static_cast<std::int64_t>(member.size());
    zip.add(name, n, deflate, [&](const io::Sink& to) { to(member.data(), n); });
  };
  add("a.npy", bytes.subspan(1, split));
  add("b.npy", bytes.subspan(1 + split));
  zip.finish();
  tried([&] { load_npz(io::Input("file", std::as_bytes(std::span(archive)))); });
}
