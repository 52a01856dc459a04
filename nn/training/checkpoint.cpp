#include "nn/training/checkpoint.h"

#include <fmt/format.h>

#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/internal/file_kind.h"

namespace attune::nn {

namespace {

using nlohmann::json;

using detail::checkpoint_entry;

struct File {
  File(const std::string& p, Here h) : path(p), here(h), content(load_safetensors(p, h)) {
    const auto at = content.metadata.find(checkpoint_entry);
    const json j = at == content.metadata.end() ? json() : json::parse(at->second, nullptr, false);
    if (!j.is_object()) none("no \"checkpoint\" in its metadata");
    try {
      info.step = j.at("step");
      info.steps = j.at("steps");
      for (const json& each : j.at("settings")) info.settings.emplace_back(each.at(0), each.at(1));
      j.at("parts").get_to(info.parts);
    } catch (const json::exception&) {
      none("malformed \"checkpoint\" in its metadata");
    }
    if (info.step < 0 || info.steps < 0) none("negative steps");
  }
  [[noreturn]] void none(const std::string& what) const {
    throw FileError(path + ": is no checkpoint of a training run (" + what + ")", here);
  }
  StateDict part(const std::string& name) const {
    StateDict state;
    for (auto at = content.tensors.lower_bound(name + "."); at != content.tensors.end(); ++at) {
      if (!at->first.starts_with(name + ".")) break;
      state[at->first.substr(name.size() + 1)] = at->second;
    }
    return state;
  }
  std::string path;
  Here here;
  SafetensorsFile content;
  CheckpointInfo info;
};

std::string listed(const std::vector<std::string>& names) {
  std::string s;
  for (const std::string& name : names) s += (s.empty() ? "\"" : ", \"") + name + "\"";
  return s.empty() ? "nothing" : s;
}

/// A copy that what is restored later does not change.
StateDict copied(const StateDict& state) {
  const NoGrad off;
  StateDict copy;
  for (const auto& [name, value] : state) copy[name] = clone(value.detach());
  return copy;
}

}  // namespace

std::string difference(const Settings& there, const Settings& here) {
  std::string text;
  const auto say = [&](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  const auto find = [](const Settings& in, const std::string& name) {
    const std::string* found = nullptr;
    for (const auto& [other, value] : in)
      if (other == name) found = &value;
    return found;
  };
  for (const auto& [name, value] : there) {
    const std::string* own = find(here, name);
    if (!own)
      say(fmt::format("{} {} there and none here", name, value));
    else if (*own != value)
      say(fmt::format("{} {} there and {} here", name, value, *own));
  }
  for (const auto& [name, value] : here)
    if (!find(there, name)) say(fmt::format("{} none there and {} here", name, value));
  return text;
}

CheckpointPart checkpoint_part(std::string name, Generator& generator) {
  return {std::move(name),
          [&generator]() -> StateDict {
            const RandomKey key = generator.state();
            return {{"key", tensor({std::bit_cast<std::int64_t>(key.seed), std::bit_cast<std::int64_t>(key.counter)},
                                   {2}, DType::int64)}};
          },
          [&generator](const StateDict& state) {
            const auto at = state.find("key");
            if (state.size() != 1 || at == state.end() || at->second.dtype() != DType::int64 ||
                at->second.shape() != Shape{2})
              throw ValueError("is no state of a random generator");
            const auto key = at->second.to_vector<std::int64_t>();
            generator.set_state({std::bit_cast<std::uint64_t>(key[0]), std::bit_cast<std::uint64_t>(key[1])});
          }};
}

void save_checkpoint(const std::string& path, const std::vector<CheckpointPart>& parts, const CheckpointInfo& info,
                     Here here) {
  std::map<std::string, Tensor> tensors;
  std::set<std::string> names;
  for (const CheckpointPart& part : parts) {
    if (part.name.empty() || part.name.find('.') != std::string::npos)
      throw ValueError("checkpoint: \"" + part.name + "\" is no name of a part, which has no dots", here);
    if (!names.insert(part.name).second)
      throw ValueError("checkpoint: two parts are named \"" + part.name + "\"", here);
    for (const auto& [name, value] : part.state()) tensors[part.name + "." + name] = value;
  }
  json settings = json::array();
  for (const auto& [name, value] : info.settings) settings.push_back({name, value});
  const json j{{"step", info.step}, {"steps", info.steps}, {"settings", settings}, {"parts", names}};
  save_safetensors(path, tensors, {{checkpoint_entry, j.dump()}}, here);
}

CheckpointInfo checkpoint_info(const std::string& path, Here here) { return File(path, here).info; }

CheckpointInfo load_checkpoint(const std::string& path, const std::vector<CheckpointPart>& parts, Here here) {
  const File file(path, here);
  const std::set<std::string> there(file.info.parts.begin(), file.info.parts.end());
  std::set<std::string> own;
  for (const CheckpointPart& part : parts) own.insert(part.name);
  if (there != own)
    throw FileError(path + ": has the parts " + listed({there.begin(), there.end()}) + ", and this run has " +
                        listed({own.begin(), own.end()}),
                    here);
  std::vector<std::pair<const CheckpointPart*, StateDict>> before;
  for (const CheckpointPart& part : parts) {
    before.emplace_back(&part, copied(part.state()));
    try {
      part.restore(file.part(part.name));
    } catch (const std::exception& e) {
      for (const auto& [earlier, state] : before) earlier->restore(state);
      const std::string what = e.what();
      throw FileError(path + ": its \"" + part.name + "\" does not fit: " + what.substr(0, what.find("\n  at ")), here);
    }
  }
  return file.info;
}

CheckpointInfo detail::load_part(const std::string& path, const CheckpointPart& part, Here here) {
  const File file(checkpoint_path(path, here), here);
  const StateDict state = file.part(part.name);
  if (state.empty()) throw FileError(file.path + ": has no \"" + part.name + "\" but " + listed(file.info.parts), here);
  try {
    part.restore(state);
  } catch (const Error& e) {
    const std::string what = e.what();
    throw FileError(file.path + ": its \"" + part.name + "\" does not fit: " + what.substr(0, what.find("\n  at ")),
                    here);
  }
  return file.info;
}

std::string checkpoint_path(const std::string& path, Here here) {
  if (!std::filesystem::is_directory(path)) return path;
  for (const char* name : {"best.safetensors", "checkpoint.safetensors"})
    if (std::string file = path + "/" + name; std::filesystem::exists(file)) return file;
  throw FileError(path + ": has no checkpoint in it (best.safetensors, checkpoint.safetensors)", here);
}

}  // namespace attune::nn
